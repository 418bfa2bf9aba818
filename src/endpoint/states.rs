//! The live states of all endpoints, found by the upstream's name and the address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::time::Instant;

use super::live::{Epoch, Told};
use super::{IdleRequests, Line, Live, ProbeRequests, Suspects};
use crate::net::Address;
use crate::queue::Queue;

/// Hands the live state of an endpoint from build to build.
///
/// It owns none of them: a state lives as long as an endpoint, a request or a connection holds it.
/// So a build that is refused leaves nothing behind, and a removed endpoint is forgotten when its
/// last request ends.
#[derive(Debug)]
pub struct LiveStates {
    epoch: Epoch,
    next_id: AtomicU64,
    told: Told,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    by_upstream: HashMap<Box<str>, OfUpstream>,
    entries: usize,
    sweep_at: usize,
}

/// What is known of one upstream's endpoints.
#[derive(Debug, Default)]
struct OfUpstream {
    queue: Weak<Queue<Line>>,
    in_flight: Weak<AtomicU32>,
    by_address: HashMap<Address, Weak<Live>>,
}

impl LiveStates {
    /// Knows no endpoint yet.
    pub fn new() -> Self {
        Self {
            epoch: Epoch::before(Instant::now()),
            next_id: AtomicU64::new(1),
            told: Told::default(),
            known: Mutex::new(Known {
                by_upstream: HashMap::new(),
                entries: 0,
                sweep_at: FIRST_SWEEP,
            }),
        }
    }

    /// The state of this endpoint of this upstream: the one in use, or a new one.
    pub fn get_or_create(&self, upstream: &str, address: &Address) -> Arc<Live> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = known
            .by_upstream
            .get(upstream)
            .and_then(|known| known.by_address.get(address))
            .and_then(Weak::upgrade)
        {
            return live;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let shared = (known.in_flight(upstream), known.queue(upstream));
        let live = Arc::new(Live::new(id, self.epoch, shared, self.told.clone()));
        known.insert(upstream, address, &live);
        live
    }

    /// Who waits for an endpoint of this upstream.
    pub fn queue(&self, upstream: &str) -> Arc<Queue<Line>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.queue(upstream)
    }

    /// What is in flight at all endpoints of this upstream.
    pub fn in_flight(&self, upstream: &str) -> Arc<AtomicU32> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.in_flight(upstream)
    }

    /// The endpoints of this upstream that somebody has, by their addresses.
    pub(crate) fn of(&self, upstream: &str) -> Vec<(Address, Arc<Live>)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let of_upstream = known.by_upstream.get(upstream);
        let entries = of_upstream
            .into_iter()
            .flat_map(|known| known.by_address.iter());
        entries
            .filter_map(|(address, live)| Some((address.clone(), live.upgrade()?)))
            .collect()
    }

    /// Where workers ask for probes.
    pub fn probe_requests(&self) -> &Arc<ProbeRequests> {
        &self.told.requests
    }

    /// Where workers tell of endpoints that fail.
    pub fn suspects(&self) -> &Arc<Suspects> {
        &self.told.suspects
    }

    /// Where workers ask for connections that rest with others.
    pub fn idle_requests(&self) -> &IdleRequests {
        &self.told.idle_requests
    }
}

impl Default for LiveStates {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    fn insert(&mut self, upstream: &str, address: &Address, live: &Arc<Live>) {
        if self.entries >= self.sweep_at {
            self.sweep();
        }
        let of_upstream = self.of_upstream(upstream);
        let before = of_upstream
            .by_address
            .insert(address.clone(), Arc::downgrade(live));
        if before.is_none() {
            self.entries += 1;
        }
    }

    fn queue(&mut self, upstream: &str) -> Arc<Queue<Line>> {
        let of_upstream = self.of_upstream(upstream);
        of_upstream.queue.upgrade().unwrap_or_else(|| {
            let queue = Arc::default();
            of_upstream.queue = Arc::downgrade(&queue);
            queue
        })
    }

    fn in_flight(&mut self, upstream: &str) -> Arc<AtomicU32> {
        let of_upstream = self.of_upstream(upstream);
        of_upstream.in_flight.upgrade().unwrap_or_else(|| {
            let in_flight = Arc::default();
            of_upstream.in_flight = Arc::downgrade(&in_flight);
            in_flight
        })
    }

    fn of_upstream(&mut self, upstream: &str) -> &mut OfUpstream {
        self.by_upstream.entry(upstream.into()).or_default()
    }

    /// Drops what nobody holds any more. Done each time the table has doubled, so that it costs a
    /// constant per endpoint.
    fn sweep(&mut self) {
        let mut entries = 0;
        self.by_upstream.retain(|_, known| {
            known.by_address.retain(|_, live| live.strong_count() > 0);
            entries += known.by_address.len();
            !known.by_address.is_empty() || known.queue.strong_count() > 0
        });
        self.entries = entries;
        self.sweep_at = (entries * 2).max(FIRST_SWEEP);
    }
}

/// Entries below which sweeping is not worth it.
const FIRST_SWEEP: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Address {
        let octets = (0x0a00_0000 + number).to_be_bytes();
        Address::Ip((octets, 80).into())
    }

    #[test]
    fn the_same_key_is_the_same_state_while_it_is_held() {
        let states = LiveStates::new();
        let first = states.get_or_create("api", &address(1));
        assert_eq!(states.get_or_create("api", &address(1)).id(), first.id());
        assert_ne!(states.get_or_create("site", &address(1)).id(), first.id());
        assert_ne!(states.get_or_create("api", &address(2)).id(), first.id());
        let gone = first.id();
        drop(first);
        assert_ne!(states.get_or_create("api", &address(1)).id(), gone);
    }

    #[test]
    fn the_table_does_not_grow_with_endpoints_that_came_and_went() {
        let states = LiveStates::new();
        let kept: Vec<_> = (0..100)
            .map(|number| states.get_or_create("api", &address(number)))
            .collect();
        for number in 1_000..20_000 {
            states.get_or_create("api", &address(number));
        }
        let entries = states.known.lock().expect("not poisoned").entries;
        assert!(
            entries <= FIRST_SWEEP,
            "{entries} entries for {} endpoints",
            kept.len()
        );
    }
}
