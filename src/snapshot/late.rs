//! A route's series, made by the first thing that they count.

use std::sync::Arc;
use std::time::Duration;

use crate::telemetry::metrics::{Counter, Family, Gauge, Handle, Histogram, Late, Registry};

/// What the series of one route at one listener are made of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) registry: Registry,
    pub(super) listener: Arc<str>,
    pub(super) route: Arc<str>,
}

/// One series of a route. From the second count on it costs a branch more than its handle.
#[derive(Debug)]
pub struct RouteSeries<H> {
    source: Arc<Source>,
    family: &'static Family,
    /// A label besides the route's, which then stands without the listener's.
    besides: Option<(&'static str, &'static str)>,
    handle: Late<H>,
}

/// What the registry is asked for.
trait Make: Handle {
    fn make(registry: &Registry, family: &'static Family, labels: &[(&'static str, &str)]) -> Self;
}

impl Source {
    pub(super) fn labels(&self) -> [(&'static str, &str); 2] {
        [("listener", &self.listener), ("route", &self.route)]
    }
}

impl<H> RouteSeries<H> {
    /// With the labels of listener and route.
    pub(super) fn new(source: &Arc<Source>, family: &'static Family) -> Self {
        Self {
            source: Arc::clone(source),
            family,
            besides: None,
            handle: Late::default(),
        }
    }

    /// With the label of the route and another.
    pub(super) fn of_route(
        source: &Arc<Source>,
        family: &'static Family,
        besides: (&'static str, &'static str),
    ) -> Self {
        Self {
            besides: Some(besides),
            ..Self::new(source, family)
        }
    }
}

#[expect(private_bounds, reason = "the handles are a closed list")]
impl<H: Make> RouteSeries<H> {
    #[inline]
    pub(super) fn get(&self) -> &H {
        self.handle.get(|| self.make())
    }

    pub(super) fn own(&self) -> Option<&H> {
        self.handle.own()
    }

    /// Asks again for what found no room.
    pub(super) fn settle(&self) {
        let registry = &self.source.registry;
        self.handle.settle(
            || registry.has_room(self.family, &["route"], 1),
            || self.make(),
        );
    }

    fn make(&self) -> H {
        let Source { registry, .. } = &*self.source;
        let [listener, route] = self.source.labels();
        match self.besides {
            None => H::make(registry, self.family, &[listener, route]),
            Some(besides) => H::make(registry, self.family, &[route, besides]),
        }
    }
}

impl RouteSeries<Counter> {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.get().inc();
    }

    /// Adds an amount.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.get().add(amount);
    }

    /// The sum over all threads; 0 where the route has no series of its own.
    pub fn value(&self) -> u64 {
        self.own().map_or(0, Counter::value)
    }
}

impl RouteSeries<Histogram> {
    /// Counts one observation.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        self.get().observe(duration);
    }

    /// The mean of what was observed, in seconds; `None` without an observation of its own.
    pub fn mean_seconds(&self) -> Option<f64> {
        self.own().and_then(Histogram::mean_seconds)
    }
}

impl Make for Counter {
    fn make(registry: &Registry, family: &'static Family, labels: &[(&'static str, &str)]) -> Self {
        registry.counter(family, labels)
    }
}

impl Make for Gauge {
    fn make(registry: &Registry, family: &'static Family, labels: &[(&'static str, &str)]) -> Self {
        registry.level(family, labels)
    }
}

impl Make for Histogram {
    fn make(registry: &Registry, family: &'static Family, labels: &[(&'static str, &str)]) -> Self {
        registry.histogram(family, labels)
    }
}
