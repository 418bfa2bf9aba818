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
//! A second SIGTERM or SIGINT, at any step, goes to the last one.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::notify;
use super::ready::Readiness;
use crate::config;
use crate::drain::Trigger;

/// How long the steps take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long accepting goes on.
    pub grace: Duration,
    /// How long what runs may go on afterwards.
    pub drain: Duration,
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
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

impl From<&config::Shutdown> for Shutdown {
    fn from(written: &config::Shutdown) -> Self {
        let default = Self::default();
        Self {
            grace: written.grace.map_or(default.grace, |time| time.0),
            drain: written.drain.map_or(default.drain, |time| time.0),
        }
    }
}

impl Shutdown {
    /// Goes through the steps. `hurry` completes when somebody does not want to wait any longer.
    pub async fn run(
        self,
        trigger: &Trigger,
        readiness: &Readiness,
        hurry: impl Future<Output = ()>,
    ) -> Drained {
        let start = Instant::now();
        readiness.draining();
        trigger.start();
        notify::stopping("draining");
        let hurried = {
            let patience = async {
                sleep(self.grace).await;
                trigger.close();
                // Both ends of this wait lead to the same step: what is left is cut and counted.
                drop(timeout(self.drain, trigger.wait()).await);
            };
            tokio::select! {
                () = patience => false,
                () = hurry => true,
            }
        };
        trigger.close();
        if hurried {
            drop(timeout(SETTLE, trigger.wait()).await);
        }
        let cut = trigger.blockers();
        trigger.cut();
        Drained {
            cut,
            took: start.elapsed(),
            hurried,
        }
    }
}

impl Drained {
    /// The end, with the number of requests that were cut.
    pub fn with_requests(self, cut_requests: usize) -> Ended {
        Ended {
            drained: self,
            cut_requests,
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

/// Accept loops and idle connections end by themselves once accepting has ended. They get this long
/// where the wait is cut short, so that only what really ran is counted as cut.
const SETTLE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::drain;

    const SHUTDOWN: Shutdown = Shutdown {
        grace: Duration::from_secs(5),
        drain: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn accepting_goes_on_for_the_grace_and_nothing_is_waited_for_afterwards() {
        let (trigger, mut watcher) = drain::channel();
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
        let (trigger, watcher) = drain::channel();
        let guards = [watcher.blocker(), watcher.blocker()];
        let drained = SHUTDOWN.run(&trigger, &Readiness::new(), pending()).await;
        assert_eq!((drained.cut, drained.took.as_secs()), (2, 35));
        let summary = |requests| drained.with_requests(requests).summary();
        assert!(summary(0).ends_with("2 connections were cut"));
        assert!(summary(1).ends_with("2 connections were cut, with 1 request"));
        drop(guards);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_the_wait_within_the_grace_too() {
        let (trigger, watcher) = drain::channel();
        let guard = watcher.blocker();
        let hurry = sleep(Duration::from_secs(1));
        let drained = SHUTDOWN.run(&trigger, &Readiness::new(), hurry).await;
        assert!(drained.hurried);
        assert_eq!((drained.cut, drained.took.as_secs()), (1, 1));
        drop(guard);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_with_accepting_is_not_counted_as_cut() {
        let (trigger, watcher) = drain::channel();
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

    #[test]
    fn what_is_not_written_has_the_defaults() {
        let written = config::Shutdown::default();
        assert_eq!(Shutdown::from(&written), SHUTDOWN);
    }
}
