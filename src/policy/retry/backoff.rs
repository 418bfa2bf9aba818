//! Pauses before attempts: exponential, with full jitter.
//!
//! What failed at one moment would come again at one moment, and find the same. So each pause is
//! drawn evenly between nothing and a bound that doubles, `rand(0, min(most, first · 2ⁿ))`: of the
//! ways to spread retries the one with the fewest calls in all (M. Brooker, "Exponential Backoff
//! And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// The pauses of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest first pause.
    pub first: Duration,
    /// The longest of any.
    pub most: Duration,
}

impl Backoff {
    /// The longest pause behind failed attempt number `attempt` (from 1).
    pub fn bound(self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(DOUBLINGS);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }

    /// A pause behind failed attempt number `attempt` (from 1).
    pub fn pause(self, attempt: u32, random: &mut fastrand::Rng) -> Duration {
        self.bound(attempt).mul_f64(random.f64())
    }
}

/// More attempts than there may be.
const DOUBLINGS: u32 = 16;
