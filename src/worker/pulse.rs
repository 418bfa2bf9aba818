//! How a worker fares: whether it comes to what is to be done in time.
//!
//! Problem: a worker that is short of processor time, or held up by something that blocks, serves
//! all of its connections late, and nothing else shows it: endpoints look slow, the process's CPU
//! does not look full, since there are other workers. So each worker notes at the tick that it has
//! anyway how late that tick is, and how busy it was. That costs no request anything
//! and wakes nobody.
//!
//! A worker that hangs notes nothing, so a scrape, which runs on the control thread, looks when
//! each last did: one that is overdue counts as late by now, and as busy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::Instant;

use crate::listener::Balance;
use crate::telemetry::metrics::{Counter, Family, Gauge, Histogram, Kind, Registry};

/// One worker's notes on itself.
pub(super) struct Pulse {
    lag: Histogram,
    handed_over: Counter,
    balance: Arc<Balance>,
    index: usize,
    notes: Arc<Notes>,
    runtime: RuntimeMetrics,
    since: Instant,
    busy_before: Duration,
}

/// What a scrape reads of them.
#[derive(Debug)]
struct Notes {
    began: Instant,
    /// Nanoseconds from `began` to the time at which the next tick is due; [`ENDED`]
    /// after the last.
    due: AtomicU64,
    /// Share of the last second that was spent on tasks, in millionths.
    busy: AtomicU64,
}

/// What a scrape sets for one worker.
#[derive(Debug)]
struct Shown {
    lag: Histogram,
    busy: Gauge,
    queue: Gauge,
    connections: Gauge,
}

impl Pulse {
    /// For the worker that this is called on, whose tick comes every `period`.
    pub(super) fn new(
        index: usize,
        registry: &Registry,
        balance: &Arc<Balance>,
        period: Duration,
    ) -> Self {
        let now = Instant::now();
        let runtime = Handle::current().metrics();
        let notes = Arc::new(Notes {
            began: now,
            due: AtomicU64::new(nanoseconds(period)),
            busy: AtomicU64::new(0),
        });
        let number = index.to_string();
        let labels = [("worker", number.as_str())];
        let shown = Shown {
            lag: registry.histogram(&LAG, &[]),
            busy: registry.gauge(&BUSY, &labels),
            queue: registry.gauge(&QUEUE, &labels),
            connections: registry.gauge(&CONNECTIONS, &labels),
        };
        let pulse = Self {
            lag: shown.lag.clone(),
            handed_over: registry.counter(&HANDED_OVER, &labels),
            balance: Arc::clone(balance),
            index,
            notes: Arc::clone(&notes),
            busy_before: runtime.worker_total_busy_duration(ONLY),
            runtime: runtime.clone(),
            since: now,
        };
        let balance = Arc::downgrade(balance);
        registry.on_scrape(move || {
            let counts = balance
                .upgrade()
                .map(|balance| (balance.connections(index), balance.waiting(index)));
            let (connections, handed_over) = counts.unwrap_or_default();
            let woken = runtime.global_queue_depth();
            shown.connections.set(whole(connections));
            shown.show(&notes, handed_over + woken);
        });
        pulse
    }

    /// To be called at each tick with the time that it was due at, and the time to the next.
    pub(super) fn beat(&mut self, due: Instant, period: Duration) {
        let now = Instant::now();
        self.lag.observe(now.saturating_duration_since(due));
        let handed_over = self.balance.handed_over(self.index);
        self.handed_over.add(handed_over as u64);
        let next = now.saturating_duration_since(self.notes.began) + period;
        self.notes.due.store(nanoseconds(next), Ordering::Relaxed);
        let span = now.saturating_duration_since(self.since);
        if span >= SPAN {
            let busy = self.runtime.worker_total_busy_duration(ONLY);
            let share = busy.saturating_sub(self.busy_before).as_secs_f64() / span.as_secs_f64();
            let share = Duration::try_from_secs_f64(share).unwrap_or_default();
            let share = u64::try_from(share.as_micros()).unwrap_or(WHOLE);
            self.notes.busy.store(share.min(WHOLE), Ordering::Relaxed);
            (self.since, self.busy_before) = (now, busy);
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.notes.due.store(ENDED, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse")
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

impl Notes {
    /// How late the next tick is by now; `None` of a worker that has ended.
    fn overdue(&self) -> Option<Duration> {
        let due = self.due.load(Ordering::Relaxed);
        let due = (due != ENDED).then(|| Duration::from_nanos(due))?;
        Some(self.began.elapsed().saturating_sub(due))
    }
}

impl Shown {
    fn show(&self, notes: &Notes, waiting: usize) {
        let Some(overdue) = notes.overdue() else {
            self.busy.set(0);
            self.queue.set(0);
            return;
        };
        let mut busy = Duration::from_micros(notes.busy.load(Ordering::Relaxed)).as_secs_f64();
        if overdue >= HANGS {
            self.lag.observe(overdue);
            busy = 1.0;
        }
        self.busy.set_f64(busy);
        self.queue.set(whole(waiting));
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Five hundred years are enough.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(ENDED)
}

/// A worker's runtime has one thread.
const ONLY: usize = 0;

/// No tick is due any more.
const ENDED: u64 = u64::MAX;

/// All of the time, in millionths.
const WHOLE: u64 = 1_000_000;

/// What the share of busy time is taken over: shorter than any interval of scrapes, and long enough
/// to be steady.
const SPAN: Duration = Duration::from_secs(1);

/// A tick that is so late is not just behind other tasks: its worker hangs, and may never tell.
const HANGS: Duration = Duration::from_millis(500);

static LAG: Family = Family {
    name: "evenkeel_runtime_lag_seconds",
    help: "How late workers' timers fire: what every request may wait for the proxy itself.",
    kind: Kind::Histogram,
    // The runtime's timers have a grain of one millisecond.
    buckets: Some(&[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ]),
};

static BUSY: Family = Family {
    name: "evenkeel_runtime_busy_ratio",
    help: "Share of the last second that a worker spent on tasks; 1 for one that hangs.",
    kind: Kind::Gauge,
    buckets: None,
};

static QUEUE: Family = Family {
    name: "evenkeel_runtime_queue_depth",
    help: "What other threads gave a worker to do and it has not taken up: connections and wake-ups.",
    kind: Kind::Gauge,
    buckets: None,
};

static CONNECTIONS: Family = Family {
    name: "evenkeel_runtime_connections",
    help: "Connections of clients that a worker serves.",
    kind: Kind::Gauge,
    buckets: None,
};

static HANDED_OVER: Family = Family {
    name: "evenkeel_runtime_handovers_total",
    help: "Connections that a worker accepted and another one serves, which had clearly fewer.",
    kind: Kind::Counter,
    buckets: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Format;

    const PERIOD: Duration = Duration::from_millis(200);

    fn scrape(registry: &Registry) -> String {
        let mut text = String::new();
        registry.encode(Format::Text, &mut text);
        text
    }

    fn value(text: &str, series: &str) -> f64 {
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        let value = value.unwrap_or_else(|| panic!("{series} is missing in {text}"));
        value.trim().parse().expect("a number")
    }

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 0.01, "{one} is not {other}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_tick_is_a_lag() {
        let registry = Registry::new(1);
        let (balance, _inboxes) = Balance::new(1);
        let mut pulse = Pulse::new(0, &registry, &balance, PERIOD);
        for late in [0, 0, 30] {
            let due = Instant::now() + PERIOD;
            tokio::time::sleep_until(due + Duration::from_millis(late)).await;
            pulse.beat(due, PERIOD);
        }
        let text = scrape(&registry);
        let below = |bound: &str| {
            let series = format!("evenkeel_runtime_lag_seconds_bucket{{le=\"{bound}\"}}");
            value(&text, &series)
        };
        close(below("0.001"), 2.0);
        close(below("0.025"), 2.0);
        close(below("0.05"), 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hangs_is_seen_before_it_is_back() {
        let registry = Registry::new(1);
        let (balance, _inboxes) = Balance::new(1);
        let mut pulse = Pulse::new(0, &registry, &balance, PERIOD);
        let shown = || {
            let text = scrape(&registry);
            let busy = value(&text, "evenkeel_runtime_busy_ratio{worker=\"0\"}");
            let lags = value(&text, "evenkeel_runtime_lag_seconds_count");
            let sum = value(&text, "evenkeel_runtime_lag_seconds_sum");
            // What the test itself takes is no matter.
            (busy > 0.5, lags, sum)
        };
        tokio::time::advance(PERIOD).await;
        assert_eq!(shown(), (false, 0.0, 0.0));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(shown(), (true, 1.0, 3.0));
        pulse.beat(Instant::now(), PERIOD);
        assert_eq!(shown(), (false, 2.0, 3.0));
        drop(pulse);
        tokio::time::advance(Duration::from_secs(3)).await;
        // One that has ended does not hang.
        assert_eq!(shown(), (false, 2.0, 3.0));
    }
}
