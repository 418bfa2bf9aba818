//! The retry budget: retries are a share of the requests, so that they cannot multiply an outage.
//!
//! All workers share it, and every request pays in: a lock and a look at the clock each time would
//! be a price for something that hardly ever happens. So requests are counted, and paid in by
//! sixteen: what a request is short of its share is a few retries in ten seconds at most.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};

/// Allows a retry for every fifth request, and ten a second whatever the traffic.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: TpsBudget,
    requests: AtomicU32,
}

impl RetryBudget {
    /// Takes in that a request arrived.
    pub fn deposit(&self) {
        // Wraps at a multiple of the number.
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        if before % PAID_AT_ONCE == PAID_AT_ONCE - 1 {
            self.tokens.deposit();
        }
    }

    /// Asks for one retry.
    pub fn withdraw(&self) -> bool {
        self.tokens.withdraw()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            tokens: TpsBudget::new(WINDOW, LEAST_PER_SECOND, SHARE),
            requests: AtomicU32::new(0),
        }
    }
}

/// How long a request speaks for a retry. Finagle's and tower's own default.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries a second that even an upstream with hardly any traffic may have.
const LEAST_PER_SECOND: u32 = 10;
/// Retries beyond that for what is paid in at once: for each request a fifth.
const SHARE: f32 = 3.2;
/// Requests that are paid in at once; a power of two.
const PAID_AT_ONCE: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_may_be_repeated_besides_the_reserve() {
        let budget = RetryBudget::default();
        let requests = 1_600;
        for _ in 0..requests {
            budget.deposit();
        }
        let allowed = (0..requests).take_while(|_| budget.withdraw()).count();
        let reserve = (LEAST_PER_SECOND as usize) * 10;
        let share = requests / 5;
        assert!(
            (reserve + share..=reserve + share + 2).contains(&allowed),
            "{allowed} of {requests}"
        );
    }

    #[test]
    fn without_requests_there_is_the_reserve() {
        let budget = RetryBudget::default();
        let allowed = (0..1_000).take_while(|_| budget.withdraw()).count();
        assert_eq!(allowed, 100);
    }
}
