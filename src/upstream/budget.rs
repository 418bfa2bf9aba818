//! The retry budget: retries are a share of the requests, so that they cannot multiply an outage.
//!
//! In any ten seconds there are no more retries (and hedges) than `ratio` of the requests of these
//! ten seconds and `per_second` for each of them. All workers share it, and builds as well: a
//! reload may change the terms, and what was spent stays spent.
//!
//! Every request pays in, and a lock and a look at the clock each time would be a price for
//! something that hardly ever happens. So requests are counted, and paid in by sixteen: what a
//! request is short of its share is a few retries in ten seconds at most. What is a retry itself,
//! of a proxy in front, pays nothing in, or the budgets of layers would grow with each other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::config;

/// How many retries an upstream may have.
#[derive(Debug)]
pub struct RetryBudget {
    terms: Terms,
    shared: Arc<Shared>,
}

/// What a build says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Terms {
    /// Of the requests.
    ratio: f64,
    per_second: u32,
}

/// What all builds share.
#[derive(Debug)]
struct Shared {
    origin: Instant,
    /// Wraps at a multiple of what is paid in at once.
    requests: AtomicU32,
    window: Mutex<Window>,
}

/// What the last seconds have seen: pure.
#[derive(Debug, Default)]
struct Window {
    /// The second that is under way.
    second: u64,
    requests: [u32; SECONDS as usize],
    retries: [u32; SECONDS as usize],
}

impl RetryBudget {
    /// The budget as written; what was spent is found in the one before.
    pub fn new(written: &config::RetryBudget, previous: Option<&Self>) -> Self {
        Self {
            terms: Terms {
                ratio: written.ratio.map_or(RATIO, |ratio| ratio.0),
                per_second: written.per_second.unwrap_or(PER_SECOND),
            },
            shared: previous.map_or_else(
                || {
                    Arc::new(Shared {
                        origin: Instant::now(),
                        requests: AtomicU32::new(0),
                        window: Mutex::default(),
                    })
                },
                |before| Arc::clone(&before.shared),
            ),
        }
    }

    /// Takes in that a request arrived.
    #[inline]
    pub fn deposit(&self, now: Instant) {
        let before = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        if before % PAID_AT_ONCE == PAID_AT_ONCE - 1 {
            self.with_window(now, |window| window.deposit(PAID_AT_ONCE));
        }
    }

    /// Asks for one retry.
    pub fn withdraw(&self, now: Instant) -> bool {
        self.with_window(now, |window| window.withdraw(self.terms))
    }

    /// The retries of the last ten seconds, and how many these seconds allow.
    pub fn spent(&self, now: Instant) -> (u32, u32) {
        self.with_window(now, |window| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a sum of counts and a share of one"
            )]
            let allowed = window.allowed(self.terms) as u32;
            (window.retries.iter().sum(), allowed)
        })
    }

    fn with_window<T>(&self, now: Instant, with: impl FnOnce(&mut Window) -> T) -> T {
        let Shared { origin, window, .. } = &*self.shared;
        let second = now.saturating_duration_since(*origin).as_secs();
        // Numbers only: a panic elsewhere cannot have left them half-changed.
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(second);
        with(&mut window)
    }
}

impl Window {
    /// Forgets what is too long ago. Workers may be a moment apart; time never goes back here.
    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.second).min(SECONDS.into());
        self.second = self.second.max(second);
        for ago in 0..passed {
            let place = place(self.second - ago);
            self.requests[place] = 0;
            self.retries[place] = 0;
        }
    }

    fn deposit(&mut self, requests: u32) {
        let count = &mut self.requests[place(self.second)];
        *count = count.saturating_add(requests);
    }

    fn withdraw(&mut self, terms: Terms) -> bool {
        if self.allowed(terms) < sum(&self.retries) + 1.0 {
            return false;
        }
        self.retries[place(self.second)] += 1;
        true
    }

    fn allowed(&self, terms: Terms) -> f64 {
        let reserve = f64::from(terms.per_second) * f64::from(SECONDS);
        reserve + terms.ratio * sum(&self.requests)
    }
}

/// Where a second is counted.
fn place(second: u64) -> usize {
    usize::try_from(second % u64::from(SECONDS)).unwrap_or_default()
}

fn sum(counts: &[u32]) -> f64 {
    counts.iter().map(|count| f64::from(*count)).sum()
}

/// How long a request speaks for a retry. Finagle's and tower's own default: long enough for the
/// retries of a burst, short enough that a night's traffic does not pay for an outage.
const SECONDS: u8 = 10;

/// A fifth more is load that every upstream should bear.
const RATIO: f64 = 0.2;

/// What even an upstream with hardly any traffic may have.
const PER_SECOND: u32 = 10;

/// Requests that are paid in at once; a power of two.
const PAID_AT_ONCE: u32 = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Ratio;

    fn written(percent: f64, per_second: u32) -> config::RetryBudget {
        config::RetryBudget {
            ratio: Some(Ratio(percent / 100.0)),
            per_second: Some(per_second),
        }
    }

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated_besides_the_reserve() {
        let budget = RetryBudget::new(&config::RetryBudget::default(), None);
        let (requests, now) = (1_600, Instant::now());
        for _ in 0..requests {
            budget.deposit(now);
        }
        let allowed = (0..requests).take_while(|_| budget.withdraw(now)).count();
        assert_eq!(allowed, 10 * 10 + requests / 5);
        assert_eq!(budget.spent(now), (420, 420));
        // They come back with time, and not at once.
        assert!(!budget.withdraw(now + Duration::from_secs(9)));
        let later = now + Duration::from_secs(11);
        let again = (0..requests).take_while(|_| budget.withdraw(later)).count();
        assert_eq!(again, 100, "the reserve");
    }

    #[test]
    fn nothing_is_allowed_where_nothing_is_written() {
        let budget = RetryBudget::new(&written(0.0, 0), None);
        let now = Instant::now();
        (0..1_000).for_each(|_| budget.deposit(now));
        assert!(!budget.withdraw(now));
    }

    #[test]
    fn a_reload_changes_the_terms_and_keeps_what_was_spent() {
        let now = Instant::now();
        let before = RetryBudget::new(&written(0.0, 1), None);
        assert_eq!((0..99).take_while(|_| before.withdraw(now)).count(), 10);
        let same = RetryBudget::new(&written(0.0, 1), Some(&before));
        assert!(!same.withdraw(now));
        let more = RetryBudget::new(&written(0.0, 2), Some(&before));
        assert_eq!((0..99).take_while(|_| more.withdraw(now)).count(), 10);
        assert!(!before.withdraw(now), "those under way spend from the same");
    }

    proptest! {
        /// In any ten seconds there are never more retries than the terms allow for the requests of
        /// the ten seconds around, however both come; and while there is budget, none is refused.
        #[test]
        fn retries_never_exceed_their_share(
            events in proptest::collection::vec((0_u64..1_500, any::<bool>()), 1..400),
            percent in 0_u32..=100, per_second in 0_u32..20,
        ) {
            let terms = Terms { ratio: f64::from(percent) / 100.0, per_second };
            let mut window = Window::default();
            let (mut millis, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, is_request) in events {
                millis += pause;
                let second = millis / 1_000;
                window.advance(second);
                let recent = |all: &[u64]| {
                    let first = (second + 1).saturating_sub(SECONDS.into());
                    let count = all.iter().filter(|at| **at >= first).count();
                    f64::from(u32::try_from(count).unwrap())
                };
                if is_request {
                    window.deposit(1);
                    requests.push(second);
                } else {
                    let reserve = f64::from(per_second) * f64::from(SECONDS);
                    let allowed = reserve + terms.ratio * recent(&requests);
                    let has = window.withdraw(terms);
                    prop_assert_eq!(has, recent(&retries) + 1.0 <= allowed);
                    if has {
                        retries.push(second);
                    }
                }
            }
        }
    }
}
