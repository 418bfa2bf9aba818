//! How much of the proxy one route may have at once.
//!
//! Problem: requests of a route whose endpoints hang, or whose clients are slow, pile up, and what
//! they hold is missing elsewhere. A ship does not sink by one leak that is behind a bulkhead: with
//! a limit of its own a route turns away its own requests, before anything was done for them, and
//! nobody else's. Where none is written, it may not have all places of a listener that has other
//! routes (`config/room`): then places are counted, of which a connection of HTTP/2 has one for all
//! its requests, and who is turned away gives up its place there too.
//!
//! The count belongs to the route's name: a reload keeps it. Of a limit that was written it is one
//! for all listeners, and each listener has its own of its places. A route is counted while it has
//! a limit, so that those without pay nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use super::Snapshot;
use super::unnamed::of_listener;
use crate::config::Config;

/// The limit of one route.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    in_flight: Arc<AtomicU32>,
    most: u32,
    /// Whether it was written, or is what its listeners leave to one route.
    is_written: bool,
}

/// What a request within its route's limit has become, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct Within {
    in_flight: Arc<AtomicU32>,
}

/// Those of the routes that have one.
pub(super) type Bulkheads = BTreeMap<Key, Bulkhead>;

/// The name of a route, and that of the listener whose places are counted.
type Key = (String, Option<String>);

/// The counts of all routes that have had a limit, for as long as anything is counted by them: also
/// of those that have none now, since a limit may be put back.
pub(super) type Counts = BTreeMap<Key, Weak<AtomicU32>>;

impl Bulkhead {
    /// Counts a request in, unless there are as many as may be. Whoever does so owes
    /// [`Self::leave`] or [`Self::stay`] once.
    pub fn enter(&self) -> bool {
        let one_more = |count| (count < self.most).then_some(count + 1);
        let order = Ordering::Relaxed;
        self.in_flight.fetch_update(order, order, one_more).is_ok()
    }

    /// Counts a request out that was counted in.
    pub fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// The count of a request that was counted in, for what outlives it.
    pub fn stay(&self) -> Within {
        Within {
            in_flight: Arc::clone(&self.in_flight),
        }
    }

    /// Whether this is the count of that.
    pub fn counts(&self, within: &Within) -> bool {
        Arc::ptr_eq(&self.in_flight, &within.in_flight)
    }

    /// What is within it: requests, or places that they have ([`Self::is_for_others`]).
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether as many are within as may be.
    pub fn is_full(&self) -> bool {
        self.in_flight() >= self.most
    }

    /// Whether it is there to keep places free for others. Then it counts places, of which many
    /// requests on one connection have one together, and who is turned away shall not keep his.
    pub fn is_for_others(&self) -> bool {
        !self.is_written
    }

    /// How many may be.
    pub fn most(&self) -> u32 {
        self.most
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Those of a configuration, with the counts of the snapshot in force.
pub(super) fn bulkheads(config: &Config, previous: Option<&Snapshot>) -> (Bulkheads, Counts) {
    let mut counts = previous.map_or_else(Counts::new, |previous| previous.counts.clone());
    counts.retain(|_, count| count.strong_count() > 0);
    let mut limited = Bulkheads::new();
    let mut add = |key: Key, most: Option<u32>| {
        let Some(most) = most else {
            return;
        };
        let known = counts.get(&key).and_then(Weak::upgrade);
        let in_flight = known.unwrap_or_default();
        counts.insert(key.clone(), Arc::downgrade(&in_flight));
        let bulkhead = Bulkhead {
            in_flight,
            most,
            is_written: key.1.is_none(),
        };
        limited.insert(key, bulkhead);
    };
    for (name, route) in &config.route {
        add((name.clone(), None), route.max_in_flight);
        for listener in &config.listener {
            let places = config.places(name, route, listener);
            add((name.clone(), Some(listener.0.clone())), places);
        }
    }
    for (name, listener) in &config.listener {
        let places = config.places_unrouted(name, listener);
        add((of_listener(name), Some(name.clone())), places);
    }
    (limited, counts)
}

/// The one of a route at a listener.
pub(super) fn bulkhead_of(bulkheads: &Bulkheads, name: &str, listener: &str) -> Option<Bulkhead> {
    let written = bulkheads.get(&(name.to_owned(), None));
    let key = || (name.to_owned(), Some(listener.to_owned()));
    written.or_else(|| bulkheads.get(&key())).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_within_as_may_be_and_the_count_comes_back() {
        let bulkhead = Bulkhead {
            in_flight: Arc::default(),
            most: 2,
            is_written: true,
        };
        assert!(bulkhead.enter() && bulkhead.enter() && !bulkhead.enter());
        let tunnel = bulkhead.stay();
        assert_eq!(bulkhead.in_flight(), 2, "who is refused is not counted");
        // What a reload has made of it counts the same.
        let lowered = Bulkhead {
            most: 1,
            ..bulkhead.clone()
        };
        let raised = Bulkhead {
            most: 3,
            ..bulkhead
        };
        assert!(!lowered.enter() && raised.enter());
        raised.leave();
        lowered.leave();
        assert!(!lowered.enter());
        drop(tunnel);
        assert_eq!(raised.in_flight(), 0);
        assert!(lowered.enter());
    }
}
