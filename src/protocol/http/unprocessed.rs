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
//!   goes to another one, as an attempt; where there is no other, it stays a little longer.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use crate::pool::{Call, Shared};

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

    /// Takes in that a call was not processed. Whether the request may go on another connection to
    /// the same endpoint; `has_others`: there are further endpoints.
    pub(super) fn goes_on(&self, call: &Call, has_others: bool) -> bool {
        let Some(shared) = call.shared() else {
            return false;
        };
        let endpoint = call.endpoint().live.id();
        if self.endpoint.replace(endpoint) != endpoint {
            self.refusals.set(0);
            self.used_up.set(0);
        }
        let most = if has_others { WITH_OTHERS } else { ALONE };
        let (count, most) = if shared.is_used_up() {
            (&self.used_up, most.used_up)
        } else {
            self.avoided.borrow_mut().push(Rc::downgrade(shared));
            (&self.refusals, most.refusals)
        };
        count.set(count.get() + 1);
        let goes_on = count.get() <= most;
        if goes_on {
            call.endpoint().unprocessed();
        }
        goes_on
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
