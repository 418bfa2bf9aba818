//! Handles: what the rooms hold and add to.

use std::sync::Arc;
use std::time::Duration;

use super::Series;
use super::room::Place;

/// What all handles can say of themselves.
pub trait Handle {
    /// Whether there was room for a series of its own: what is counted then has its own labels.
    /// Else others count into the same, or nobody sees it.
    fn is_own(&self) -> bool;
}

/// A number that only grows. Clones share the value.
#[derive(Debug, Clone)]
pub struct Counter {
    series: Arc<Series>,
}

/// A number that goes up and down. Clones share the value.
///
/// Either many add to it or one sets it; a [`Gauge::set`] amid adds of workers may lose some.
#[derive(Debug, Clone)]
pub struct Gauge {
    series: Arc<Series>,
}

/// Counts of observations by size. Clones share the values.
#[derive(Debug, Clone)]
pub struct Histogram {
    series: Arc<Series>,
    bounds: &'static [f64],
}

impl Handle for Counter {
    fn is_own(&self) -> bool {
        self.series.place == Place::Own
    }
}

impl Handle for Gauge {
    fn is_own(&self) -> bool {
        self.series.place == Place::Own
    }
}

impl Handle for Histogram {
    fn is_own(&self) -> bool {
        self.series.place == Place::Own
    }
}

impl Counter {
    pub(super) fn new(series: Arc<Series>) -> Self {
        Self { series }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds an amount.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.series.cells.add(0, amount);
    }

    /// The sum over all threads.
    pub fn value(&self) -> u64 {
        self.series.cells.sum(0)
    }
}

impl Gauge {
    pub(super) fn new(series: Arc<Series>) -> Self {
        Self { series }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.series.cells.add_float(0, 1.0);
    }

    /// Takes one off.
    #[inline]
    pub fn dec(&self) {
        self.series.cells.add_float(0, -1.0);
    }

    /// Adds an amount.
    #[inline]
    pub fn add(&self, amount: i64) {
        self.series.cells.add_float(0, exact(amount));
    }

    /// Takes an amount off.
    #[inline]
    pub fn sub(&self, amount: i64) {
        self.series.cells.add_float(0, -exact(amount));
    }

    /// Sets a whole number.
    pub fn set(&self, value: i64) {
        self.set_f64(exact(value));
    }

    /// Sets a number with a fraction.
    pub fn set_f64(&self, value: f64) {
        self.series.cells.set_float(0, value);
    }

    /// The value, rounded.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, which is what a reader of a whole number wants"
    )]
    pub fn value(&self) -> i64 {
        self.value_f64().round() as i64
    }

    /// The value with its fraction.
    pub fn value_f64(&self) -> f64 {
        self.series.cells.sum_float(0)
    }
}

impl Histogram {
    pub(super) fn new(series: Arc<Series>) -> Self {
        let bounds = series.family.bounds();
        Self { series, bounds }
    }

    /// Counts one observation.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        self.observe_number(duration.as_secs_f64());
    }

    /// The same of what is measured in another unit than seconds.
    #[inline]
    pub fn observe_number(&self, number: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < number);
        let sum = self.bounds.len() + 1;
        self.series.cells.observe(bucket, sum, number);
    }

    /// Observations so far.
    pub fn count(&self) -> u64 {
        let buckets = 0..=self.bounds.len();
        buckets.map(|bucket| self.series.cells.sum(bucket)).sum()
    }

    /// The sum of what was observed, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.series.cells.sum_float(self.bounds.len() + 1)
    }

    /// The mean of what was observed, in seconds; `None` without an observation.
    pub fn mean_seconds(&self) -> Option<f64> {
        let count = i64::try_from(self.count()).ok()?;
        (count > 0).then(|| self.sum_seconds() / exact(count))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53; numbers of this program stay below"
)]
fn exact(value: i64) -> f64 {
    value as f64
}
