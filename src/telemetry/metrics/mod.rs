//! Metrics: counters, gauges and histograms that cost a request about ten instructions each.
//!
//! Problem: a counter that all workers add to moves a cache line between cores for every request,
//! and a registry that is asked by name costs more than routing. Here a handle is resolved once and
//! points at cells of which every worker has its own, so an add is a load and a store without a lock
//! prefix; only a scrape sums them up.
//!
//! Why not `prometheus-client`: it writes `OpenMetrics` only, while the text format 0.0.4 is what most
//! scrapers still ask for; its histogram takes a lock for every observation; and it has no way to
//! let the series of a removed upstream go. The encoder for both formats is a page ([`Format`]).
//!
//! Use: declare a [`Family`] as a `static` next to what it measures, ask the [`Registry`] for a
//! handle when a snapshot is built, and hold it. A series lives as long as its handles. Asking again
//! for labels that live gives the same cells: a new snapshot is built before the old one is dropped,
//! so a reload loses no count.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use cells::{Cells, Slots};

mod cells;
mod encode;
mod handle;

pub use cells::set_worker_shard;
pub use encode::Format;
pub use handle::{Counter, Gauge, Histogram};

/// A metric's name, meaning and kind: what all its series have in common.
#[derive(Debug)]
pub struct Family {
    /// Name, with the unit and, for a counter, `_total` at its end.
    pub name: &'static str,
    /// What it measures, in one sentence.
    pub help: &'static str,
    /// How its values are to be read.
    pub kind: Kind,
    /// A histogram's upper bounds in seconds, ascending, without the infinite one. `None` stands for
    /// [`HTTP_SECONDS`].
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
    detail: bool,
    cells: Cells,
    registry: Weak<Shared>,
}

/// What the cells of a series hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    /// One cell: a whole number.
    Whole,
    /// One cell: the bits of an `f64`.
    Float,
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

#[derive(Default)]
struct State {
    slots: Slots,
    families: BTreeMap<&'static str, Members>,
    limit: usize,
    count: usize,
    details: usize,
    /// What refused series share, by width: they count on, but nobody reads them.
    refused: BTreeMap<usize, Arc<Series>>,
}

struct Members {
    family: &'static Family,
    series: BTreeMap<Arc<str>, Weak<Series>>,
}

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
        Self::with_limit(shards, SERIES)
    }

    /// The same with another limit of series.
    pub fn with_limit(shards: usize, limit: usize) -> Self {
        let shared = Arc::new(Shared::default());
        {
            let mut state = shared.state();
            state.slots = Slots::new(shards);
            state.limit = limit.max(1);
        }
        let refused = Counter::new(shared.series(&REFUSED, &[], Values::Whole).0);
        Self { shared, refused }
    }

    /// The counter with these labels.
    pub fn counter(&self, family: &'static Family, labels: &[(&'static str, &str)]) -> Counter {
        Counter::new(self.series(family, labels, Values::Whole))
    }

    /// The gauge with these labels.
    ///
    /// On a family of kind [`Kind::Counter`] it is a counter with a fraction that is read off
    /// elsewhere, like CPU time.
    pub fn gauge(&self, family: &'static Family, labels: &[(&'static str, &str)]) -> Gauge {
        Gauge::new(self.series(family, labels, Values::Float))
    }

    /// The histogram with these labels.
    pub fn histogram(&self, family: &'static Family, labels: &[(&'static str, &str)]) -> Histogram {
        Histogram::new(self.series(family, labels, Values::Buckets))
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

    fn series(
        &self,
        family: &'static Family,
        labels: &[(&'static str, &str)],
        values: Values,
    ) -> Arc<Series> {
        let (series, admitted) = self.shared.series(family, labels, values);
        if !admitted {
            self.refused.inc();
        }
        series
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        f.debug_struct("Registry")
            .field("series", &state.count)
            .field("limit", &state.limit)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The living series with these labels or a new one, and whether it is part of the exposition.
    fn series(
        self: &Arc<Self>,
        family: &'static Family,
        labels: &[(&'static str, &str)],
        values: Values,
    ) -> (Arc<Series>, bool) {
        let text: Arc<str> = encode::labels(labels).into();
        let mut state = self.state();
        let members = state.families.get(family.name);
        if let Some(series) = members.and_then(|members| members.series.get(&text))
            && let Some(series) = series.upgrade()
        {
            if series.values == values && std::ptr::eq(series.family, family) {
                return (series, true);
            }
            // Two meanings under one name would corrupt both: the later one is refused.
            let refused = state.refuse(family, values, self);
            // Unlocked first: should `series` be the last handle by now, its drop takes the lock.
            drop(state);
            return (refused, false);
        }
        let detail = labels.iter().any(|(name, _)| *name == DETAIL);
        if !state.has_room(detail) {
            return (state.refuse(family, values, self), false);
        }
        let series = Arc::new(Series {
            family,
            labels: Arc::clone(&text),
            values,
            detail,
            cells: state.slots.take(values.width(family)),
            registry: Arc::downgrade(self),
        });
        state.count += 1;
        state.details += usize::from(detail);
        let members = state.families.entry(family.name).or_insert(Members {
            family,
            series: BTreeMap::new(),
        });
        members.series.insert(text, Arc::downgrade(&series));
        (series, true)
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
        let mut state = self.state();
        state.slots.put_back(&series.cells);
        state.count -= 1;
        state.details -= usize::from(series.detail);
        let Some(members) = state.families.get_mut(series.family.name) else {
            return;
        };
        // Between the last drop and this lock the same labels may have been asked for again: the
        // entry then belongs to a living series.
        if let Some(entry) = members.series.get(&series.labels)
            && entry.strong_count() == 0
        {
            members.series.remove(&series.labels);
        }
        if members.series.is_empty() {
            state.families.remove(series.family.name);
        }
    }
}

impl State {
    fn has_room(&self, detail: bool) -> bool {
        self.count < self.limit && (!detail || self.details < self.limit / 2)
    }

    fn refuse(
        &mut self,
        family: &'static Family,
        values: Values,
        registry: &Arc<Shared>,
    ) -> Arc<Series> {
        let width = values.width(family);
        let slots = &mut self.slots;
        let series = self.refused.entry(width).or_insert_with(|| {
            Arc::new(Series {
                family,
                labels: Arc::from(""),
                values,
                detail: false,
                cells: slots.take(width),
                registry: Arc::downgrade(registry),
            })
        });
        Arc::clone(series)
    }
}

impl Values {
    fn width(self, family: &Family) -> usize {
        match self {
            Self::Whole | Self::Float => 1,
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

/// Sets of labels in one process: what a Prometheus server takes from one target without complaint.
const SERIES: usize = 10_000;

/// Series with this label grow with the fleet; they get at most half of the limit, so that a large
/// fleet cannot displace the series that alerts are built on.
const DETAIL: &str = "endpoint";

static REFUSED: Family = Family {
    name: "evenkeel_metrics_series_dropped_total",
    help: "Series that were asked for and left out because of the limit.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests;
