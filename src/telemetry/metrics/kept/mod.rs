//! What was counted, as it outlives the process: counters and histograms, by name and labels.
//!
//! Most series are made when something happens for the first time, so most of what the process
//! before counted has nobody here that asks for it yet. It waits until somebody does, and is then
//! what that series begins with. Gauges tell how things are, not how they were.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Kind, Registry, Series, Values};

/// Counts by the family's name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts(BTreeMap<String, OfFamily>);

/// Those of one family.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct OfFamily {
    /// A histogram's bounds: counts of other buckets mean nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bounds: Vec<f64>,
    /// By labels: a counter's value, or a histogram's buckets.
    series: BTreeMap<String, Kept>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    cells: Vec<u64>,
    /// A histogram's sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sum: Option<f64>,
}

impl Registry {
    /// All that is counted here, and what was counted before and has not been asked for.
    pub fn counts(&self) -> Counts {
        let mut counts = self.shared.state().unclaimed.clone();
        for (_, members) in self.shared.listing() {
            for series in members {
                counts.take(&series);
            }
        }
        counts
    }

    /// Goes on from what was counted before, or adds what another process has counted. To be called
    /// by a thread that counts.
    pub fn resume(&self, counts: &Counts) {
        let listing = self.shared.listing();
        let mut state = self.shared.state();
        state.unclaimed.add(counts);
        for series in listing.iter().flat_map(|(_, members)| members) {
            state.unclaimed.claim(series);
        }
        drop(state); // before the listing, whose series may be the last of their kind
    }
}

impl Counts {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.0.values().map(|family| family.series.len()).sum()
    }

    /// What was counted since those others were.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (name, family) in &mut since.0 {
            let before = before.0.get(name).filter(|old| old.bounds == family.bounds);
            family.series.retain(|labels, kept| {
                if let Some(old) = before.and_then(|before| before.series.get(labels)) {
                    kept.subtract(old);
                }
                kept.cells.iter().any(|count| *count > 0)
            });
        }
        since.0.retain(|_, family| !family.series.is_empty());
        since
    }

    fn add(&mut self, others: &Self) {
        for (name, other) in &others.0 {
            let family = self.0.entry(name.clone()).or_default();
            if family.bounds != other.bounds {
                family.bounds.clone_from(&other.bounds);
                family.series.clear();
            }
            for (labels, kept) in &other.series {
                family.series.entry(labels.clone()).or_default().add(kept);
            }
        }
    }

    fn take(&mut self, series: &Series) {
        let Some(bounds) = bounds_of(series) else {
            return;
        };
        let cells: Vec<u64> = (0..series.counted())
            .map(|cell| series.cells.sum(cell))
            .collect();
        if cells.iter().all(|count| *count == 0) {
            return; // it begins with nothing in any case
        }
        let sum = (!bounds.is_empty()).then(|| series.cells.sum_float(series.counted()));
        let family = self.0.entry(series.family.name.to_owned()).or_default();
        family.bounds = bounds.to_vec();
        let kept = Kept { cells, sum };
        family.series.insert(series.labels.to_string(), kept);
    }

    /// Adds to a series what was counted of it before.
    pub(super) fn claim(&mut self, series: &Series) {
        let Some(family) = self.0.get_mut(series.family.name) else {
            return;
        };
        let Some(kept) = family.series.remove(&*series.labels) else {
            return;
        };
        let fits = bounds_of(series).is_some_and(|bounds| bounds == family.bounds)
            && kept.cells.len() == series.counted();
        if fits {
            for (cell, count) in kept.cells.iter().enumerate() {
                series.cells.add(cell, *count);
            }
            if let Some(sum) = kept.sum.filter(|sum| sum.is_finite()) {
                series.cells.add_float(series.counted(), sum);
            }
        }
        if family.series.is_empty() {
            self.0.remove(series.family.name);
        }
    }
}

impl Kept {
    fn subtract(&mut self, old: &Self) {
        for (cell, old) in self.cells.iter_mut().zip(&old.cells) {
            *cell = cell.saturating_sub(*old);
        }
        self.sum = self.sum.map(|sum| sum - old.sum.unwrap_or_default());
    }

    fn add(&mut self, other: &Self) {
        self.cells.resize(other.cells.len(), 0);
        for (cell, other) in self.cells.iter_mut().zip(&other.cells) {
            *cell = cell.saturating_add(*other);
        }
        if let Some(other) = other.sum {
            self.sum = Some(self.sum.unwrap_or_default() + other);
        }
    }
}

impl Series {
    /// Cells that hold counts.
    fn counted(&self) -> usize {
        match self.values {
            Values::Whole => 1,
            Values::Float | Values::Level => 0,
            Values::Buckets => self.family.bounds().len() + 1,
        }
    }
}

/// The bounds of a series that is kept, which a counter has none of; `None` if it is not kept.
fn bounds_of(series: &Series) -> Option<&'static [f64]> {
    match (series.values, series.family.kind) {
        (Values::Whole, Kind::Counter) => Some(&[]),
        (Values::Buckets, _) => Some(series.family.bounds()),
        (Values::Whole | Values::Float | Values::Level, _) => None,
    }
}

#[cfg(test)]
mod tests;
