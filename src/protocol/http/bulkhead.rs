//! A request's place within the limit of its route.
//!
//! Problem: a limit that is there to leave places at the listener to others has to count places. A
//! connection of HTTP/1.1 is one request's, so it counts requests. One of HTTP/2 carries a hundred,
//! of this route and of others, in one place: if each of them counted, a service that is well would
//! be refused while nearly all places are free. So such a connection counts once for each route of
//! which it has requests, however many. A limit that was written counts requests, on whatever they
//! come.
//!
//! It is a flag and no guard of its own: an exchange has no room to spare, and its own `Drop`
//! leaves the route. A tunnel that outlives it takes the place along.

use std::cell::RefCell;
use std::rc::Rc;

use super::exchange::Exchange;
use super::respond::Cause;
use crate::snapshot::{Bulkhead, Within};

/// The routes of which requests are under way on a connection of HTTP/2, as far as they are limited
/// by places, and how many of each. There are no more of them than it has streams.
#[derive(Debug, Default)]
pub(super) struct Routes(RefCell<Vec<(Within, u32)>>);

/// The place of a tunnel, until it is dropped.
#[derive(Debug)]
pub(super) struct Stay {
    routes: Option<Rc<Routes>>,
    bulkhead: Bulkhead,
}

impl Exchange<'_> {
    /// Takes a place within the limit of the route; false if there is none.
    pub(super) fn enters_route(&self) -> bool {
        let Some(bulkhead) = &self.route.bulkhead else {
            return true;
        };
        self.is_within.set(match self.shared_place(bulkhead) {
            Some(routes) => routes.enter(bulkhead),
            None => bulkhead.enter(),
        });
        self.is_within.get()
    }

    /// Whether its connection may go on: not where it was turned away so that others find a place.
    pub(super) fn keeps_its_connection(&self) -> bool {
        let was_turned_away = self.record.cause.get() == Some(Cause::ConcurrencyLimitReached);
        let bulkhead = self.route.bulkhead.as_ref();
        !was_turned_away || bulkhead.is_none_or(|bulkhead| !bulkhead.is_for_others())
    }

    /// Its place, for the tunnel that it becomes.
    pub(super) fn stay_within(&self) -> Option<Stay> {
        let bulkhead = self.route.bulkhead.as_ref()?;
        self.is_within.take().then(|| Stay {
            routes: self.shared_place(bulkhead).cloned(),
            bulkhead: bulkhead.clone(),
        })
    }

    /// Gives its place back, if it still has one.
    pub(super) fn leave_route(&self) {
        if let Some(bulkhead) = self.route.bulkhead.as_ref()
            && self.is_within.take()
        {
            leave(self.shared_place(bulkhead), bulkhead);
        }
    }

    /// Where it shares a place with others, and places are what counts.
    fn shared_place(&self, bulkhead: &Bulkhead) -> Option<&Rc<Routes>> {
        let routes = self.connection.client.routes();
        routes.filter(|_| bulkhead.is_for_others())
    }
}

impl Routes {
    /// Counts a request in, unless it is the first of its route here and there is no place.
    fn enter(&self, bulkhead: &Bulkhead) -> bool {
        let mut routes = self.0.borrow_mut();
        let known = routes
            .iter_mut()
            .find(|(within, _)| bulkhead.counts(within));
        if let Some((_, requests)) = known {
            *requests += 1;
            return true;
        }
        let enters = bulkhead.enter();
        if enters {
            routes.push((bulkhead.stay(), 1));
        }
        enters
    }

    /// Counts one out that was counted in.
    fn leave(&self, bulkhead: &Bulkhead) {
        let mut routes = self.0.borrow_mut();
        let known = routes
            .iter()
            .position(|(within, _)| bulkhead.counts(within));
        let Some(place) = known else {
            return;
        };
        routes[place].1 -= 1;
        if routes[place].1 == 0 {
            drop(routes.swap_remove(place));
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        leave(self.routes.as_ref(), &self.bulkhead);
    }
}

fn leave(routes: Option<&Rc<Routes>>, bulkhead: &Bulkhead) {
    match routes {
        Some(routes) => routes.leave(bulkhead),
        None => bulkhead.leave(),
    }
}
