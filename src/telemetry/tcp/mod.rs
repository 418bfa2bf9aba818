//! The network between this instance and others, as the kernel sees it.
//!
//! Each worker has a sampler, and has it watch its connections. Now and then it asks the kernel
//! about some of them, in turn, and about each that ends: never about more than so many a second,
//! whatever the number of connections and however short they are. What it is told goes to those
//! whom the connection belongs to: its listener, or its endpoint.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::{Counter, Family, Handle as _, Histogram, Registry};
use crate::net::{Stream, TcpInfo, Watched, Watching};

/// Where the samples of the connections of one listener, or of one endpoint, go.
#[derive(Debug, Clone)]
pub struct TcpMeasures {
    round_trip: Histogram,
    delivery_rate: Histogram,
    segments: Counter,
    retransmits: Counter,
}

/// The families of these measures.
#[derive(Debug)]
pub struct TcpFamilies {
    /// Round trips in seconds.
    pub round_trip: &'static Family,
    /// Bytes a second.
    pub delivery_rate: &'static Family,
    /// Segments that were sent.
    pub segments: &'static Family,
    /// Those of them that were sent again.
    pub retransmits: &'static Family,
}

/// Asks the kernel about the connections of one worker.
#[derive(Debug)]
pub struct TcpSampler {
    watching: Arc<Watching>,
    table: RefCell<Table>,
}

#[derive(Debug)]
struct Table {
    places: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Connections that were watched so far.
    count: u32,
    /// Who is asked next.
    next: usize,
    last_turn: Option<Instant>,
    /// Who makes room, where so many are watched.
    random: fastrand::Rng,
    at_most: u32,
    /// From when on milliseconds are counted.
    epoch: Instant,
}

/// What tells a connection from those that had, or will have, the same place: it, and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    place: u32,
    count: u32,
}

/// Small: every connection has one.
#[derive(Debug)]
struct Entry {
    /// Of its name.
    count: u32,
    /// When it was asked last, in milliseconds of the table. Wraps.
    asked: u32,
    watched: Arc<Watched>,
    measures: Arc<TcpMeasures>,
    known: Known,
}

/// What the kernel said last. Wraps, times too: what is wanted is what has come since.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    segments: u32,
    retransmits: u32,
    /// Microseconds.
    busy: u32,
    /// Microseconds.
    held_up: u32,
}

impl TcpMeasures {
    /// Resolves the handles.
    pub fn new(
        registry: &Registry,
        families: &TcpFamilies,
        labels: &[(&'static str, &str)],
    ) -> Self {
        Self {
            round_trip: registry.histogram(families.round_trip, labels),
            delivery_rate: registry.histogram(families.delivery_rate, labels),
            segments: registry.counter(families.segments, labels),
            retransmits: registry.counter(families.retransmits, labels),
        }
    }

    /// Whether all found room.
    pub fn is_whole(&self) -> bool {
        let histograms = [&self.round_trip, &self.delivery_rate];
        let counters = [&self.segments, &self.retransmits];
        histograms.into_iter().all(Histogram::is_own) && counters.into_iter().all(Counter::is_own)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a rate is far below 2^53 bytes a second"
    )]
    fn take(&self, info: &TcpInfo, since: &Known) {
        if let Some(round_trip) = info.round_trip {
            self.round_trip.observe(round_trip);
        }
        // Who was held up by a slow receiver says nothing of the network.
        let was_held_up = since.held_up > since.busy / HELD_UP_PART;
        if let Some(rate) = info.delivery_rate.filter(|_| !was_held_up) {
            self.delivery_rate.observe_number(rate as f64);
        }
        self.segments.add(since.segments.into());
        self.retransmits.add(since.retransmits.into());
    }
}

impl TcpSampler {
    /// Watches nothing yet.
    pub fn new(random: fastrand::Rng) -> Self {
        Self::with_room(random, AT_MOST)
    }

    fn with_room(random: fastrand::Rng, at_most: u32) -> Self {
        Self {
            watching: Arc::default(),
            table: RefCell::new(Table {
                places: Vec::new(),
                free: Vec::new(),
                count: 0,
                next: 0,
                last_turn: None,
                random,
                at_most,
                epoch: Instant::now(),
            }),
        }
    }

    /// Has a connection watched, if it is one of TCP. Where a worker watches as many as it may,
    /// another one is not watched from then on: those that came first, and rest, would be all that
    /// is ever heard of.
    pub fn watch(&self, stream: &mut Stream, measures: Arc<TcpMeasures>) {
        let mut table = self.table.borrow_mut();
        let name = table.name();
        let Some(watched) = stream.watch(name.number(), &self.watching) else {
            return table.give_back(name.place);
        };
        let asked = table.millis(Instant::now());
        table.places[name.place as usize] = Some(Entry {
            count: name.count,
            asked,
            watched,
            measures,
            known: Known::default(),
        });
    }

    /// Takes in what was said by those that have ended, and asks some of those that are open. To be
    /// called several times a second; does nothing in between.
    pub fn look(&self, now: Instant) {
        let mut table = self.table.borrow_mut();
        for (number, last) in self.watching.take_closed() {
            table.end(Name::of(number), last);
        }
        if table.last_turn.is_some_and(|last| now < last + TURN) {
            return;
        }
        table.last_turn = Some(now);
        self.watching.allow(ENDS_PER_TURN);
        table.ask(now);
    }
}

impl Default for TcpSampler {
    /// Who makes room is the same each time.
    fn default() -> Self {
        Self::new(fastrand::Rng::with_seed(0))
    }
}

impl Table {
    /// The name of the next connection, at a free place or at one that another had.
    fn name(&mut self) -> Name {
        self.count = self.count.wrapping_add(1);
        let place = self.free.pop().unwrap_or_else(|| {
            let fresh = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
            if fresh >= self.at_most {
                return self.random.u32(..self.at_most);
            }
            self.places.push(None);
            fresh
        });
        Name {
            place,
            count: self.count,
        }
    }

    /// Somebody has no use for his place, unless another has it.
    fn give_back(&mut self, place: u32) {
        if self.places[place as usize].is_none() {
            self.free.push(place);
        }
    }

    fn end(&mut self, name: Name, last: Option<TcpInfo>) {
        let Some(place) = self.places.get_mut(name.place as usize) else {
            return;
        };
        // It may have had to make room for another.
        if let Some(mut entry) = place.take_if(|entry| entry.count == name.count) {
            entry.take(last);
            self.free.push(name.place);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.epoch).as_millis() as u32
    }

    /// Asks those whose time has come, as many as one turn may.
    fn ask(&mut self, now: Instant) {
        let (mut asked, all, now) = (0, self.places.len(), self.millis(now));
        for _ in 0..all.min(LOOKS_PER_TURN) {
            let entry = &mut self.places[self.next % all];
            self.next = (self.next + 1) % all;
            let Some(entry) = entry else { continue };
            if now.wrapping_sub(entry.asked) < EVERY {
                continue;
            }
            entry.asked = now;
            entry.take(entry.watched.info());
            asked += 1;
            if asked == OPEN_PER_TURN {
                return;
            }
        }
    }
}

impl Name {
    fn of(number: u64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the place is the lower half of the number"
        )]
        Self {
            place: number as u32,
            count: (number >> 32) as u32,
        }
    }

    fn number(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.place)
    }
}

impl Entry {
    fn take(&mut self, info: Option<TcpInfo>) {
        let Some(info) = info else {
            return;
        };
        let now = Known::of(&info);
        let since = now.since(std::mem::replace(&mut self.known, now));
        // What was silent has nothing new to say.
        if since.segments > 0 {
            self.measures.take(&info, &since);
        }
    }
}

impl Known {
    #[expect(clippy::cast_possible_truncation, reason = "it wraps")]
    fn of(info: &TcpInfo) -> Self {
        Self {
            segments: info.segments,
            retransmits: info.retransmits,
            busy: info.busy as u32,
            held_up: info.held_up as u32,
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            segments: self.segments.wrapping_sub(before.segments),
            retransmits: self.retransmits.wrapping_sub(before.retransmits),
            busy: self.busy.wrapping_sub(before.busy),
            held_up: self.held_up.wrapping_sub(before.held_up),
        }
    }
}

/// Connections that a worker watches at most; a hundred bytes each.
const AT_MOST: u32 = 16_384;

/// A sample of the rate counts if less than one part in so many of the time that there was
/// something to send was spent waiting for the receiver: then the network was the limit.
const HELD_UP_PART: u32 = 10;

/// Milliseconds after which a connection that lasts is asked again, if it is its turn.
const EVERY: u32 = 5_000;

/// How often the sampler asks at all.
const TURN: Duration = Duration::from_millis(200);

/// Open connections that are asked at a turn: 250 a second, which is a thousandth of a core.
const OPEN_PER_TURN: usize = 50;

/// The same of those that end.
const ENDS_PER_TURN: u32 = 50;

/// Places that are looked at for them.
const LOOKS_PER_TURN: usize = 1_024;

/// Upper bounds of round trips in seconds: from a machine to the next rack up to another continent.
pub const ROUND_TRIPS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// Upper bounds of rates in bytes a second: from a bad mobile network up to 80 Gbit/s.
pub const DELIVERY_RATES: &[f64] = &[1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

#[cfg(test)]
mod tests;
