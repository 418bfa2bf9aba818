//! How requests wait for an endpoint that has room.
//!
//! Their clients take turns, so that one who asks a thousand times at once makes nobody else wait
//! for all of it; and once one has waited in vain, the newest is first ([`crate::queue::Order`]).
//! Then more comes than can be done: some are turned away whatever is done, and it is better that
//! the others are on time.

use std::time::Duration;

use super::{LOOK_AGAIN, Refusal, Upstream, Waited, Waiting};
use crate::config;
use crate::endpoint::Line;
use crate::queue::{InLine, Order};

/// How many requests may wait for one upstream, and for how long.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct OfRequests {
    size: usize,
    wait: Duration,
}

/// Why a request does not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotQueued {
    /// As many wait as may.
    Full,
    /// It has waited for as long as it may.
    TimeOver,
}

/// Another client, with fewer that wait, needed the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedOut;

/// A request that waits, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it leaves the queue"]
pub struct InQueue<'a> {
    // In this order: who waits is counted for as long as he stands in line.
    in_line: InLine<Line>,
    waiting: Waiting<'a>,
    limit: Duration,
}

impl Upstream {
    /// Whether requests may wait for its endpoints to have room.
    pub fn lets_requests_wait(&self) -> bool {
        self.of_requests.size > 0
    }

    /// Whether anybody waits, so that who comes now stands behind. Costs one load.
    pub fn has_waiting(&self) -> bool {
        self.queue.is_used()
    }

    /// Those that wait, requests and sessions.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    /// Whether requests are served the newest first, since more come than can be served.
    pub fn is_newest_first(&self) -> bool {
        self.queue.is_newest_first(Line::Requests)
    }

    /// Joins those requests that wait, for this client. `waited` is how long this one has waited
    /// before, and will have.
    pub fn join_queue<'a>(
        &'a self,
        client: u64,
        waited: &'a mut Waited,
    ) -> Result<InQueue<'a>, NotQueued> {
        let OfRequests { size, wait } = self.of_requests;
        let limit = wait.saturating_sub(waited.time());
        if limit.is_zero() {
            // It would take the place of another one for nothing.
            return Err(NotQueued::TimeOver);
        }
        let series = self.metrics.queue().series(&self.registry, &self.name);
        let order = Order {
            client,
            stale_after: Some(wait),
        };
        let arrival = self.queue.arrive();
        let joined = self.queue.join_in(Line::Requests, arrival, order, size);
        let Some(in_line) = joined else {
            series.refuse(Refusal::Full);
            return Err(NotQueued::Full);
        };
        Ok(InQueue {
            in_line,
            waiting: series.begin(waited),
            limit,
        })
    }

    /// Counts a request whose time in the queue was over without a place.
    pub fn waited_in_vain(&self) {
        let series = self.metrics.queue().series(&self.registry, &self.name);
        series.refuse(Refusal::Timeout);
    }
}

impl InQueue<'_> {
    /// How long it may wait from now on.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// That it has found a place without being asked whether it is its turn.
    pub fn has_found(&self) {
        self.in_line.has_found();
    }

    /// That its own time is over, before it was its turn.
    pub fn is_late(&self) {
        self.in_line.is_late();
    }

    /// Waits until it is its turn and `look` finds something. The caller sets the time limit.
    pub async fn turn<T>(&self, look: impl FnMut() -> Option<T>) -> Result<T, PushedOut> {
        let found = self.in_line.turn(Some(LOOK_AGAIN), look).await;
        found.ok_or_else(|| {
            self.waiting.series.refuse(Refusal::Full);
            PushedOut
        })
    }
}

impl OfRequests {
    pub(in super::super) fn new(written: &config::UpstreamQueue) -> Self {
        let wait = written.wait.map_or(WAIT, |time| time.0);
        let size = written.size.map_or(super::AT_MOST, |size| size as usize);
        Self {
            // Who may wait for no time is turned away at once.
            size: if wait.is_zero() { 0 } else { size },
            wait,
        }
    }
}

/// Within one second a person's thought is not interrupted (J. Nielsen, "Usability Engineering",
/// 1993, §5.5), and what made a queue by chance is over.
const WAIT: Duration = Duration::from_secs(1);
