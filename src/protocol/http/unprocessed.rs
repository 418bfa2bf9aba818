//! Requests of which an endpoint surely took no notice (`REFUSED_STREAM`, or GOAWAY that leaves
//! them out).
//!
//! Such a request may be sent again whatever its method (RFC 9113 §8.7), and that is no attempt:
//! the endpoint did nothing with it. But where does it go, and how often?
//!
//! - A server that ends its connections after a few dozen requests says GOAWAY in the midst of a
//!   burst. Somebody is served on each connection, so the next one is as good, and waiting requests
//!   come to their turn; where there are other endpoints, they go there after some of these.
//! - One that refuses a stream, or ends a connection on which it took nothing, may do so again. One
//!   more connection tells whether it was the connection. Then it is the endpoint, and the request
//!   goes to another one, as an attempt; where there is no other, it stays a little longer. An
//!   endpoint that sheds load in this way must not get the same requests over and over: beyond the
//!   first time the retry budget is asked. One that took nothing at all, on new connections, is
//!   left alone for a while, or each request would need another attempt.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use tokio::time::Instant;

use crate::pool::Shared;
use crate::snapshot::Retries;
use crate::upstream::{Pick, Upstream};

/// What one request has met.
#[derive(Debug, Default)]
pub(super) struct Unprocessed {
    /// Connections that go on and did not take it.
    avoided: RefCell<Vec<Weak<Shared>>>,
    /// The endpoint asked last, by the id of its live state.
    endpoint: Cell<u64>,
    /// How often that one did not take it.
    refusals: Cell<u32>,
    /// How often the connection was used up by others.
    used_up: Cell<u32>,
}

/// How often a request may go on at one endpoint.
#[derive(Debug, Clone, Copy)]
struct Most {
    refusals: u32,
    used_up: u32,
}

impl Unprocessed {
    /// Connections that the request should not be on again.
    pub(super) fn avoided(&self) -> Vec<Weak<Shared>> {
        self.avoided.borrow().clone()
    }

    /// Takes in that a connection took no notice of the request, and tells whether that goes on
    /// another one to the same endpoint; if at all, by `may_go_on`. Then it is counted, and so is
    /// it where the retry budget forbids that.
    pub(super) fn goes_on(
        &self,
        shared: &Rc<Shared>,
        (upstream, retries, pick): (&Upstream, &Retries, &Pick),
        may_go_on: bool,
    ) -> bool {
        let is_used_up = shared.is_used_up();
        if !is_used_up {
            self.avoided.borrow_mut().push(Rc::downgrade(shared));
        }
        if may_go_on && self.may_once_more(shared, is_used_up, upstream) {
            if self.is_free(is_used_up) || upstream.retry_budget().withdraw(Instant::now()) {
                shared.endpoint().unprocessed();
                return true;
            }
            retries.budget_exhausted.inc();
        }
        if !is_used_up {
            shared.refused_one(pick.of());
        }
        false
    }

    fn may_once_more(&self, shared: &Shared, is_used_up: bool, upstream: &Upstream) -> bool {
        let endpoint = shared.endpoint();
        let id = endpoint.live.id();
        if self.endpoint.replace(id) != id {
            self.refusals.set(0);
            self.used_up.set(0);
        }
        let has_others = upstream.has_others(endpoint, Instant::now());
        let most = if has_others { WITH_OTHERS } else { ALONE };
        if is_used_up {
            self.used_up.set(self.used_up.get() + 1);
            return self.used_up.get() <= most.used_up;
        }
        let refusals = self.refusals.get() + 1;
        self.refusals.set(refusals);
        refusals <= most.refusals
    }

    /// Whether it goes on without asking the retry budget.
    fn is_free(&self, is_used_up: bool) -> bool {
        is_used_up || self.refusals.get() == 1
    }
}

/// Where others may be asked. One refusal more tells whether it was the connection.
const WITH_OTHERS: Most = Most {
    refusals: 1,
    used_up: 10,
};

/// Where there is no other. A server that is being replaced says GOAWAY on several connections in
/// a row; and where it takes dozens of requests on each, many end one after the other before all
/// that a worker has waiting have got their turn.
const ALONE: Most = Most {
    refusals: 5,
    used_up: 100,
};
