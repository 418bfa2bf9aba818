//! What became of the requests to one endpoint lately.

use std::time::Duration;

use crate::endpoint::{Reading, SLOTS, times_of};

/// The last ten intervals, the present one included, and how fast it answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    /// What had been counted when it was read last.
    before: Reading,
    counts: [Counts; INTERVALS],
    present: usize,
    /// Answers by time, of which older ones count less and less.
    answers: [f32; SLOTS],
    /// Answers in the present interval.
    answered: u32,
    /// The slot of the fastest of them.
    fastest: Option<usize>,
}

/// Requests, and those that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) requests: u32,
    pub(super) failures: u32,
}

impl Window {
    /// A window that begins with what has been counted by now.
    pub(super) fn begin(reading: &Reading) -> Self {
        Self {
            before: *reading,
            ..Self::default()
        }
    }

    /// Takes in what has been counted since.
    pub(super) fn take(&mut self, reading: &Reading) {
        let before = std::mem::replace(&mut self.before, *reading);
        let counts = &mut self.counts[self.present];
        let read = reading.answers.iter().zip(before.answers);
        for (place, (now, then)) in read.enumerate() {
            let more = now.wrapping_sub(then);
            if more == 0 {
                continue;
            }
            counts.requests = counts.requests.saturating_add(more);
            self.answered = self.answered.saturating_add(more);
            self.answers[place] += float(more);
            self.fastest = Some(self.fastest.map_or(place, |known| known.min(place)));
        }
        let others = reading.others.wrapping_sub(before.others);
        counts.requests = counts.requests.saturating_add(others);
        let failures = reading.failures.wrapping_sub(before.failures);
        counts.failures = counts.failures.saturating_add(failures);
        // What is cut short was counted as an answer before, in an interval that may have gone.
        counts.requests = counts.requests.max(counts.failures);
    }

    /// An interval is over, and the next one begins.
    pub(super) fn turn(&mut self) {
        self.present = (self.present + 1) % INTERVALS;
        self.counts[self.present] = Counts::default();
        self.answered = 0;
        self.fastest = None;
        for slot in &mut self.answers {
            *slot *= FADING;
        }
    }

    /// Nothing of what was counted so far says anything any more.
    pub(super) fn forget(&mut self) {
        *self = Self::begin(&self.before);
    }

    /// All intervals together.
    pub(super) fn all(&self) -> Counts {
        let add = |sum: Counts, one: &Counts| Counts {
            requests: sum.requests.saturating_add(one.requests),
            failures: sum.failures.saturating_add(one.failures),
        };
        self.counts.iter().fold(Counts::default(), add)
    }

    /// Answers by time, of which older ones count less.
    pub(super) fn answers(&self) -> &[f32; SLOTS] {
        &self.answers
    }

    /// Answers in the present interval.
    pub(super) fn answered(&self) -> u32 {
        self.answered
    }

    /// The least time that one of them took; `None` if there are none. With the slot of it.
    pub(super) fn fastest(&self) -> Option<(usize, Duration)> {
        self.fastest.map(|slot| (slot, times_of(slot).0))
    }

    /// The same of all since the window began, as far as they are remembered.
    pub(super) fn fastest_of_all(&self) -> Option<(usize, Duration)> {
        let slot = self.answers.iter().position(|count| *count > 0.0)?;
        Some((slot, times_of(slot).0))
    }

    /// The median of the time until the first byte, where there are answers enough, and some in
    /// this interval. As exact as the slots are: to a factor of two.
    pub(super) fn median(&self) -> Option<Duration> {
        let all: f32 = self.answers.iter().sum();
        if self.answered == 0 || all < LEAST_ANSWERS {
            return None;
        }
        let mut rest = all / 2.0;
        let slot = self.answers.iter().position(|count| {
            rest -= count;
            rest <= 0.0
        });
        let (from, to) = times_of(slot.unwrap_or(SLOTS - 1));
        Some((from + to) / 2)
    }
}

impl Counts {
    /// The share of failures.
    pub(super) fn ratio(self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        f64::from(self.failures) / f64::from(self.requests)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a weight, and no count")]
fn float(count: u32) -> f32 {
    count as f32
}

/// Intervals that count.
pub(super) const INTERVALS: usize = 10;

/// What is left of an answer's weight an interval later: half of all is not older than three.
const FADING: f32 = 0.8;

/// Fewer have no median to speak of.
const LEAST_ANSWERS: f32 = 5.0;
