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
#[derive(Debug, Default)]
pub struct TcpSampler {
    watching: Arc<Watching>,
    table: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    places: Vec<Option<Entry>>,
    free: Vec<u32>,
    /// Who is asked next.
    next: usize,
    last_turn: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    watched: Arc<Watched>,
    measures: Arc<TcpMeasures>,
    /// When it was asked last.
    asked: Instant,
    segments: u32,
    retransmits: u32,
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
    fn take(&self, info: &TcpInfo, segments: u32, retransmits: u32) {
        if let Some(round_trip) = info.round_trip {
            self.round_trip.observe(round_trip);
        }
        if let Some(rate) = info.delivery_rate {
            self.delivery_rate.observe_number(rate as f64);
        }
        self.segments.add(segments.into());
        self.retransmits.add(retransmits.into());
    }
}

impl TcpSampler {
    /// Has a connection watched. Where a worker watches many already it is not, and neither is one
    /// that is no TCP.
    pub fn watch(&self, stream: &mut Stream, measures: Arc<TcpMeasures>) {
        let mut table = self.table.borrow_mut();
        let Some(place) = table.place() else {
            return;
        };
        let Some(watched) = stream.watch(place, &self.watching) else {
            return table.free.push(place);
        };
        table.places[place as usize] = Some(Entry {
            watched,
            measures,
            asked: Instant::now(),
            segments: 0,
            retransmits: 0,
        });
    }

    /// Takes in what was said by those that have ended, and asks some of those that are open. To be
    /// called several times a second; does nothing in between.
    pub fn look(&self, now: Instant) {
        let mut table = self.table.borrow_mut();
        for (place, last) in self.watching.take_closed() {
            table.end(place, last);
        }
        if table.last_turn.is_some_and(|last| now < last + TURN) {
            return;
        }
        table.last_turn = Some(now);
        self.watching.allow(ENDS_PER_TURN);
        table.ask(now);
    }
}

impl Table {
    /// A free place; `None` if there is none.
    fn place(&mut self) -> Option<u32> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        let place = u32::try_from(self.places.len()).ok()?;
        (self.places.len() < AT_MOST).then(|| {
            self.places.push(None);
            place
        })
    }

    fn end(&mut self, place: u32, last: Option<TcpInfo>) {
        let entry = self.places.get_mut(place as usize).and_then(Option::take);
        if let Some(mut entry) = entry {
            entry.take(last);
            self.free.push(place);
        }
    }

    /// Asks those whose time has come, as many as one turn may.
    fn ask(&mut self, now: Instant) {
        let (mut asked, all) = (0, self.places.len());
        for _ in 0..all.min(LOOKS_PER_TURN) {
            let entry = &mut self.places[self.next % all];
            self.next = (self.next + 1) % all;
            let Some(entry) = entry else { continue };
            if now.saturating_duration_since(entry.asked) < EVERY {
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

impl Entry {
    fn take(&mut self, info: Option<TcpInfo>) {
        let Some(info) = info else {
            return;
        };
        let segments = info.segments.wrapping_sub(self.segments);
        let retransmits = info.retransmits.wrapping_sub(self.retransmits);
        (self.segments, self.retransmits) = (info.segments, info.retransmits);
        // What was silent has nothing new to say.
        if segments > 0 {
            self.measures.take(&info, segments, retransmits);
        }
    }
}

/// Connections that a worker watches at most; a hundred bytes each.
const AT_MOST: usize = 16_384;

/// A connection that lasts is asked this often, if it is its turn.
const EVERY: Duration = Duration::from_secs(5);

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
