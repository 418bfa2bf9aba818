//! The end of the process, so that nobody notices it.
//!
//! Problem: whoever sends traffic here learns of the end with a delay (a service's endpoints take
//! seconds to spread through a cluster), and whoever is being served wants to be served to the end.
//! So the end comes in steps:
//!
//! 1. At once: not ready any more, and every answer says `Connection: close`. Accepting goes on.
//! 2. After `grace`: no further connections.
//! 3. Until `drain` is over, or nothing runs any more: what runs, finishes.
//! 4. What is left is cut, and counted.
//!
//! Beside an application there is more to it: what runs for others may need its own calls to
//! others, through this process. With `shutdown.wait_for = "inbound_idle"` the listeners of those
//! calls notice nothing until the last inbound request has ended and the application has had a
//! moment for what it does afterwards; then they end too. All of it within `drain`.
//!
//! A second SIGTERM or SIGINT, at any step, goes to the last one.
//!
//! After an upgrade there is a successor that accepts already ([`Leaving`]). Nobody has to learn to
//! stay away, and nothing presses: what runs may end by itself, and a connection that rests is
//! closed with its next answer, or when it has rested for too long, as ever. To close it at once
//! would meet some client's next request on its way.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::notify;
use super::ready::Readiness;
use crate::config::{self, WaitFor};
use crate::drain::Triggers;

/// How long the steps take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long accepting goes on.
    pub grace: Duration,
    /// How long what runs may go on afterwards.
    pub drain: Duration,
    /// Whether what comes from the application goes on until nothing comes for it any more.
    pub is_outbound_last: bool,
}

/// How the drain went. How many requests were cut is known once the workers have dropped them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the end is told with the requests that were cut"]
pub struct Drained {
    /// Connections that still ran and were cut.
    pub cut: usize,
    /// From the first signal to the end.
    pub took: Duration,
    /// Whether the waiting was ended before its time.
    pub hurried: bool,
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// How the drain went.
    pub drained: Drained,
    /// Requests that ran on the connections that were cut.
    pub cut_requests: usize,
    /// What the service ended with that this process was the caretaker of.
    pub kept: Option<u8>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            drain: Duration::from_secs(30),
            is_outbound_last: false,
        }
    }
}

impl From<&config::Shutdown> for Shutdown {
    fn from(written: &config::Shutdown) -> Self {
        let default = Self::default();
        Self {
            grace: written.grace.map_or(default.grace, |time| time.0),
            drain: written.drain.map_or(default.drain, |time| time.0),
            is_outbound_last: written.wait_for == Some(WaitFor::InboundIdle),
        }
    }
}

impl Shutdown {
    /// Goes through the steps. `hurry` completes when somebody does not want to wait any longer.
    pub async fn run(
        self,
        trigger: &Triggers,
        readiness: &Readiness,
        hurry: impl Future<Output = ()>,
    ) -> Drained {
        let start = Instant::now();
        readiness.draining();
        trigger.inbound.start();
        if !self.is_outbound_last {
            trigger.outbound.start();
        }
        notify::stopping("draining");
        let hurried = {
            tokio::select! {
                () = self.wait(trigger) => false,
                () = hurry => true,
            }
        };
        trigger.close();
        Drained::of(trigger, start, (hurried, hurried)).await
    }

    /// Waits until nothing runs any more, or for as long as that may take. Both lead to the same
    /// step: what is left is cut and counted.
    async fn wait(self, trigger: &Triggers) {
        sleep(self.grace).await;
        trigger.inbound.close();
        let end = Instant::now() + self.drain;
        if self.is_outbound_last {
            drop(timeout_at(end, idle(trigger)).await);
        }
        trigger.close();
        drop(timeout_at(end, trigger.wait()).await);
    }
}

impl Drained {
    /// Cuts what is left of a drain that began then. Where the wait was cut short (`is_short`),
    /// what ends by itself gets a moment for it.
    pub(super) async fn of(
        trigger: &Triggers,
        start: Instant,
        (hurried, is_short): (bool, bool),
    ) -> Self {
        if is_short {
            drop(timeout(SETTLE, trigger.wait()).await);
        }
        let cut = trigger.blockers();
        trigger.cut();
        Self {
            cut,
            took: start.elapsed(),
            hurried,
        }
    }

    /// The end, with the number of requests that were cut.
    pub fn with_requests(self, cut_requests: usize) -> Ended {
        Ended {
            drained: self,
            cut_requests,
            kept: None,
        }
    }
}

impl Ended {
    /// The last line of the log.
    pub fn summary(&self) -> String {
        let Drained { cut, took, hurried } = self.drained;
        let seconds = took.as_secs_f32();
        let hurried = if hurried {
            ", ended early by a second signal"
        } else {
            ""
        };
        let with = match self.cut_requests {
            0 => String::new(),
            1 => ", with 1 request".to_owned(),
            requests => format!(", with {requests} requests"),
        };
        match cut {
            0 => format!("drained in {seconds:.1} s{hurried}, nothing was cut"),
            1 => format!("drained for {seconds:.1} s{hurried}, 1 connection was cut{with}"),
            cut => format!("drained for {seconds:.1} s{hurried}, {cut} connections were cut{with}"),
        }
    }
}

/// Until the application has no reason to call others any more, and knows that it cannot.
async fn idle(trigger: &Triggers) {
    trigger.inbound.wait().await;
    sleep(AFTERWARDS).await;
    trigger.outbound.start();
    sleep(LAST_ANSWERS).await;
}

/// What an application has for what it does behind its last answer: to write a line, to tell
/// others.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How long answers to the application say that the connection closes before it does, so that a
/// connection which is used all the time is given up by both ends in order.
const LAST_ANSWERS: Duration = Duration::from_millis(250);

/// Accept loops and idle connections end by themselves once accepting has ended. They get this long
/// where the wait is cut short, so that only what really ran is counted as cut.
const SETTLE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::drain::{Direction, both};

    const SHUTDOWN: Shutdown = Shutdown {
        grace: Duration::from_secs(5),
        drain: Duration::from_secs(30),
        is_outbound_last: false,
    };

    const OUTBOUND_LAST: Shutdown = Shutdown {
        is_outbound_last: true,
        ..SHUTDOWN
    };

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_for_the_grace_and_nothing_is_waited_for_afterwards() {
        let (trigger, watchers) = both();
        let mut watcher = watchers.of(Direction::Outbound).clone();
        let readiness = Readiness::new();
        let start = Instant::now();
        let steps = async {
            watcher.started().await;
            let started = start.elapsed();
            watcher.closed().await;
            (started, start.elapsed())
        };
        let (drained, (started, closed)) =
            tokio::join!(SHUTDOWN.run(&trigger, &readiness, pending()), steps);
        assert_eq!(started, Duration::ZERO);
        assert_eq!(closed.as_secs(), 5);
        assert_eq!((drained.cut, drained.took.as_secs()), (0, 5));
        assert!(readiness.is_draining());
    }

    #[tokio::test(start_paused = true)]
    async fn what_runs_too_long_is_cut_and_counted() {
        let (trigger, watchers) = both();
        let guards = [Direction::Inbound, Direction::Outbound];
        let guards = guards.map(|direction| watchers.of(direction).blocker());
        let drained = SHUTDOWN.run(&trigger, &Readiness::new(), pending()).await;
        assert_eq!((drained.cut, drained.took.as_secs()), (2, 35));
        let summary = |requests| drained.with_requests(requests).summary();
        assert!(summary(0).ends_with("2 connections were cut"));
        assert!(summary(1).ends_with("2 connections were cut, with 1 request"));
        drop(guards);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_the_wait_within_the_grace_too() {
        let (trigger, watchers) = both();
        let guard = watchers.of(Direction::Inbound).blocker();
        let hurry = sleep(Duration::from_secs(1));
        let drained = SHUTDOWN.run(&trigger, &Readiness::new(), hurry).await;
        assert!(drained.hurried);
        assert_eq!((drained.cut, drained.took.as_secs()), (1, 1));
        drop(guard);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_with_accepting_is_not_counted_as_cut() {
        let (trigger, watchers) = both();
        let watcher = watchers.of(Direction::Inbound);
        let (running, mut accepting) = (watcher.blocker(), watcher.clone());
        let loops = async {
            let guard = accepting.blocker();
            accepting.closed().await;
            sleep(Duration::from_millis(1)).await;
            drop(guard);
        };
        let hurry = sleep(Duration::from_secs(1));
        let readiness = Readiness::new();
        let (drained, ()) = tokio::join!(SHUTDOWN.run(&trigger, &readiness, hurry), loops);
        assert_eq!(drained.cut, 1);
        drop(running);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_application_calls_goes_on_until_it_is_idle() {
        let (trigger, watchers) = both();
        let running = watchers.of(Direction::Inbound).blocker();
        let mut outbound = watchers.of(Direction::Outbound).clone();
        let start = Instant::now();
        let application = async {
            sleep(Duration::from_secs(20)).await;
            drop(running);
            outbound.started().await;
            start.elapsed()
        };
        let readiness = Readiness::new();
        let (drained, told) = tokio::join!(
            OUTBOUND_LAST.run(&trigger, &readiness, pending()),
            application
        );
        assert_eq!(told, Duration::from_secs(20) + AFTERWARDS);
        assert_eq!(drained.took, told + LAST_ANSWERS);
        assert_eq!(drained.cut, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_application_that_is_never_idle_is_not_waited_for_longer_than_the_drain() {
        let (trigger, watchers) = both();
        let directions = [Direction::Inbound, Direction::Outbound];
        let guards = directions.map(|direction| watchers.of(direction).blocker());
        let readiness = Readiness::new();
        let drained = OUTBOUND_LAST.run(&trigger, &readiness, pending()).await;
        assert_eq!((drained.cut, drained.took.as_secs()), (2, 35));
        drop(guards);
    }

    #[test]
    fn what_is_not_written_has_the_defaults() {
        let written = config::Shutdown::default();
        assert_eq!(Shutdown::from(&written), SHUTDOWN);
    }
}
