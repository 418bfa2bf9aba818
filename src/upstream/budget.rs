//! The retry budget: retries are a share of the requests, so that they cannot multiply an outage.

use std::time::Duration;

use tower::retry::budget::{Budget, TpsBudget};

/// Allows a retry for every fifth request, and ten a second whatever the traffic.
#[derive(Debug)]
pub struct RetryBudget {
    tokens: TpsBudget,
}

impl RetryBudget {
    /// Takes in that a request arrived.
    pub fn deposit(&self) {
        self.tokens.deposit();
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
        }
    }
}

/// How long a request speaks for a retry. Finagle's and tower's own default.
const WINDOW: Duration = Duration::from_secs(10);
/// Retries a second that even an upstream with hardly any traffic may have.
const LEAST_PER_SECOND: u32 = 10;
/// Retries per request beyond that.
const SHARE: f32 = 0.2;
