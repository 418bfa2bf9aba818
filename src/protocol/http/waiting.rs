//! The time limits of an exchange, and the time that it spends waiting.

use std::time::Duration;

use tokio::time::Instant;

use super::exchange::Exchange;
use crate::snapshot::CallTimeouts;
use crate::time::Deadline;

impl Exchange<'_> {
    /// What was waited for is there.
    pub(super) fn wait_over(&self) {
        if let Some(since) = self.waiting_since.take() {
            let now = Instant::now();
            self.now.set(now);
            self.record.waited(now - since);
        }
    }

    /// Takes over the limits of the call that the request has become.
    pub(super) fn limit(&self, timeouts: &CallTimeouts) {
        let given = self.time_given();
        let limit = timeouts.request.into_iter().chain(given).min();
        self.overdue
            .set(limit.map(|limit| self.record.started() + limit));
        let of_client = self.terms.listener.timeouts.body_idle;
        let body_idle = timeouts.body_idle.unwrap_or(of_client);
        self.body_idle.set(nanoseconds(body_idle));
    }

    /// How long nothing of a body may move.
    pub(super) fn body_idle(&self) -> Duration {
        Duration::from_nanos(self.body_idle.get())
    }

    /// Whether the limit of the whole request has passed.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.get().is_some_and(|at| Instant::now() >= at)
    }

    /// Whether the attempt under way had a limit of its own, and it has passed.
    pub(super) fn is_attempt_overdue(&self) -> bool {
        self.attempt_overdue
            .get()
            .is_some_and(|at| Instant::now() >= at)
            && self.overdue.get().is_none_or(|at| Instant::now() < at)
    }

    /// Sets the deadline, within the limit of the whole request. From here on the time
    /// is not ours, until [`Exchange::wait_over`].
    pub(super) fn wait_at_most(&self, limit: Duration) {
        let now = Instant::now();
        self.now.set(now);
        self.waiting_since
            .set(self.waiting_since.get().or(Some(now)));
        self.wait_until(now + limit);
    }

    /// Sets the deadline of a wait that has begun, within the same limits.
    pub(super) fn wait_until(&self, at: Instant) {
        let ends = [self.overdue.get(), self.attempt_overdue.get()];
        let at = ends.into_iter().flatten().fold(at, Instant::min);
        self.deadline().set_at(at);
    }

    /// What its waits end by: that of its client, but for a second attempt beside another.
    #[inline]
    pub(super) fn deadline(&self) -> &Deadline {
        let own = self.rare.get().and_then(|rare| rare.deadline());
        own.unwrap_or(&self.connection.client.deadline)
    }
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
