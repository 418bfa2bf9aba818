//! Metrics: counters, gauges and histograms that cost a request about ten instructions each.
//!
//! Problem: a counter that all workers add to moves a cache line between cores for every request,
//! and a registry that is asked by name costs more than routing. Here a handle is resolved once and
//! points at cells of which every worker has its own, so an add is a load and a store without a
//! lock prefix; only a scrape sums them up.
//!
//! Why not `prometheus-client`: it writes `OpenMetrics` only, while the text format 0.0.4 is what
//! most scrapers still ask for; its histogram takes a lock for every observation; and it has no way
//! to let the series of a removed upstream go. The encoder for both formats is a page ([`Format`]).
//!
//! Use: declare a [`Family`] as a `static` next to what it measures, ask the [`Registry`] for a
//! handle when a snapshot is built, and hold it. A series lives as long as its handles. Asking
//! again for labels that live gives the same cells: a new snapshot is built before the old one
//! is dropped, so a reload loses no count. How many there may be, and what happens to the
//! rest, says `room`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cells::{Cells, Slots};
use room::{Place, Room};
use state::State;

mod cells;
mod encode;
mod handle;
mod kept;
mod late;
mod room;
mod state;

pub use cells::set_worker_shard;
pub use encode::Format;
pub use handle::{Counter, Gauge, Handle, Histogram};
pub use kept::Counts;
pub use late::Late;

/// A metric's name, meaning and kind: what all its series have in common.
#[derive(Debug)]
pub struct Family {
    /// Name, with the unit and, for a counter, `_total` at its end.
    pub name: &'static str,
    /// What it measures, in one sentence.
    pub help: &'static str,
    /// How its values are to be read.
    pub kind: Kind,
    /// A histogram's upper bounds in seconds, ascending, without the infinite one. `None` stands
    /// for [`HTTP_SECONDS`].
    pub buckets: Option<&'static [f64]>,
}

/// How the values of a family are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// Everything that is measured in this process. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
    refused: Counter,
}

/// One set of labels of one family, and its cells. Leaves the registry when its last handle goes.
#[derive(Debug)]
struct Series {
    family: &'static Family,
    /// As they are printed between braces; empty for none.
    labels: Arc<str>,
    values: Values,
    place: Place,
    cells: Cells,
    registry: Weak<Shared>,
}

/// What the cells of a series hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// One cell: a whole number.
    Whole,
    /// One cell: the bits of an `f64`, which somebody sets.
    Float,
    /// The same, but all add to it: the only gauge that several may share.
    Level,
    /// A cell per bucket and one for all above, then the sum in seconds as the bits of an `f64`.
    Buckets,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    hooks: Mutex<Vec<Hook>>,
}

/// Refreshes values that are read off elsewhere, before a scrape.
type Hook = Arc<dyn Fn() + Send + Sync>;

/// What is asked for.
#[derive(Clone, Copy)]
struct Asked<'a> {
    family: &'static Family,
    labels: &'a [Label<'a>],
    values: Values,
}

/// Name and value.
type Label<'a> = (&'static str, &'a str);

/// A family and what lives of it, as a scrape sees them.
type Listing = Vec<(&'static Family, Vec<Arc<Series>>)>;

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Registry {
    /// An empty registry whose cells are kept apart for `shards` workers.
    pub fn new(shards: usize) -> Self {
        Self::with_limit(shards, room::SERIES)
    }

    /// The same with another limit of series in a family.
    pub fn with_limit(shards: usize, limit: usize) -> Self {
        let shared = Arc::new(Shared::default());
        {
            let mut state = shared.state();
            state.slots = Slots::new(shards);
            state.room = Room::new(limit);
        }
        let (refused, _) = shared.series(Asked {
            family: &REFUSED,
            labels: &[],
            values: Values::Whole,
        });
        let refused = Counter::new(refused);
        Self { shared, refused }
    }

    /// The counter with these labels, or the one that those without room share.
    pub fn counter(&self, family: &'static Family, labels: &[Label<'_>]) -> Counter {
        Counter::new(self.series(family, labels, Values::Whole))
    }

    /// The gauge with these labels, which one place sets; where there is no room, nobody sees it.
    ///
    /// On a family of kind [`Kind::Counter`] it is a counter with a fraction that is read off
    /// elsewhere, like CPU time.
    pub fn gauge(&self, family: &'static Family, labels: &[Label<'_>]) -> Gauge {
        Gauge::new(self.series(family, labels, Values::Float))
    }

    /// The gauge with these labels, which is added to and never set, or the one that those without
    /// room share.
    pub fn level(&self, family: &'static Family, labels: &[Label<'_>]) -> Gauge {
        Gauge::new(self.series(family, labels, Values::Level))
    }

    /// The histogram with these labels, or the one that those without room share.
    pub fn histogram(&self, family: &'static Family, labels: &[Label<'_>]) -> Histogram {
        Histogram::new(self.series(family, labels, Values::Buckets))
    }

    /// Whether the family has room for as many more series, each with labels of these names.
    pub fn has_room(&self, family: &'static Family, names: &[&str], more: usize) -> bool {
        let state = self.shared.state();
        let own = state.families.get(family.name).map_or(0, |known| known.own);
        own + more <= state.room.own(family, names.iter().copied())
    }

    /// Counts series that were not even asked for since there is no room.
    pub fn leave_out(&self, series: usize) {
        self.refused.add(series as u64);
    }

    /// Runs `hook` before every scrape, to refresh gauges that are read off elsewhere.
    pub fn on_scrape(&self, hook: impl Fn() + Send + Sync + 'static) {
        lock(&self.shared.hooks).push(Arc::new(hook));
    }

    /// Appends everything that lives, by family name and then by labels.
    ///
    /// No lock is held while text is made, so that a scrape of many series delays no snapshot.
    pub fn encode(&self, format: Format, out: &mut String) {
        let hooks = lock(&self.shared.hooks).clone();
        for hook in hooks {
            hook();
        }
        encode::write(&self.shared.listing(), format, out);
    }

    fn series(&self, family: &'static Family, labels: &[Label<'_>], values: Values) -> Arc<Series> {
        let (series, is_own) = self.shared.series(Asked {
            family,
            labels,
            values,
        });
        if !is_own {
            self.refused.inc();
        }
        series
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        let families = state.families.values();
        let series: usize = families.map(|known| known.own + known.shared).sum();
        f.debug_struct("Registry")
            .field("series", &series)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The living series with these labels or a new one; where there is no room, what stands for
    /// it. And whether it is what was asked for.
    fn series(self: &Arc<Self>, asked: Asked<'_>) -> (Arc<Series>, bool) {
        let text: Arc<str> = encode::labels(asked.labels).into();
        let mut state = self.state();
        if let Some(living) = state.living(asked, &text) {
            if living.is(asked) {
                return (living, true);
            }
            // Two meanings under one name would corrupt both: the later one is hidden.
            let hidden = state.hide(asked, self);
            // Unlocked first: should `living` be the last handle by now, its drop takes the lock.
            drop(state);
            return (hidden, false);
        }
        if state.has_room(asked, Place::Own) {
            return (state.add(asked, text, Place::Own, self), true);
        }
        let Some(folded) = room::fold(asked) else {
            return (state.hide(asked, self), false);
        };
        let text: Arc<str> = encode::labels(&folded).into();
        let living = state.living(asked, &text);
        let series = match &living {
            Some(living) if living.is(asked) => Arc::clone(living),
            None if state.has_room(asked, Place::Shared) => {
                state.add(asked, text, Place::Shared, self)
            }
            Some(_) | None => state.hide(asked, self),
        };
        drop(state); // before `living`, as above
        (series, false)
    }

    fn listing(&self) -> Listing {
        let state = self.state();
        let members = state.families.values();
        members
            .map(|members| {
                let living = members.series.values().filter_map(Weak::upgrade);
                (members.family, living.collect())
            })
            .collect()
    }

    /// Lets a series go whose last handle is being dropped.
    fn forget(&self, series: &Series) {
        self.state().forget(series);
    }
}

impl Series {
    /// Whether it is of the family and kind that was asked for.
    fn is(&self, asked: Asked<'_>) -> bool {
        self.values == asked.values && std::ptr::eq(self.family, asked.family)
    }
}

impl Values {
    fn width(self, family: &Family) -> usize {
        match self {
            Self::Whole | Self::Float | Self::Level => 1,
            Self::Buckets => family.bounds().len() + 2,
        }
    }
}

impl Family {
    fn bounds(&self) -> &'static [f64] {
        self.buckets.unwrap_or(HTTP_SECONDS)
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.forget(self);
        }
    }
}

/// A panic elsewhere cannot leave these maps half-changed in a way that matters to a reader.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// OpenTelemetry's bounds for HTTP durations, so that dashboards made for them fit.
pub const HTTP_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

static REFUSED: Family = Family {
    name: "evenkeel_metrics_series_dropped_total",
    help: "Series that were left out because of the limit, or put together with others.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests;
