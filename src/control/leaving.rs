//! The end of an instance that another one has taken over from.
//!
//! There is a successor that accepts already. Nobody has to learn to stay away, and nothing
//! presses: what runs may end by itself, and a connection that rests is closed with its next
//! answer, or when it has rested for too long, as ever. To close it at once would meet some
//! client's next request on its way.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::ready::Readiness;
use super::shutdown::{Drained, Shutdown};
use crate::config;
use crate::drain::Triggers;

/// How an instance ends that another one has taken over from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    /// How long what runs may go on.
    drain: Duration,
    /// How long from the moment at which somebody asks for the end.
    asked: Duration,
}

/// Tells when somebody asks for the end.
pub(super) trait Stops: Send {
    /// Completes when somebody does, and may be asked again.
    fn next(&mut self) -> impl Future<Output = ()> + Send;
}

impl From<&config::Config> for Leaving {
    fn from(written: &config::Config) -> Self {
        Self {
            drain: written.upgrade.drain.map_or(UPGRADE_DRAIN, |time| time.0),
            asked: Shutdown::from(&written.shutdown).drain,
        }
    }
}

impl Leaving {
    /// Accepts no more, and waits for what runs. `stops` tells when somebody asks for the end:
    /// what rests is then closed, and the rest has as long as ever. A second time ends the wait.
    pub(super) async fn run(
        self,
        trigger: &Triggers,
        readiness: &Readiness,
        stops: &mut impl Stops,
    ) -> Drained {
        let start = Instant::now();
        readiness.draining();
        trigger.start();
        trigger.leave();
        // Whoever asked for the upgrade is still to be told of it.
        sleep(LAST_WORDS).await;
        let asked = tokio::select! {
            biased; // what was asked for by now is heard, and passed on, though nothing may run
            () = stops.next() => true,
            _ = timeout(self.drain, trigger.wait()) => false,
        };
        trigger.close();
        let hurried = asked
            && tokio::select! {
                biased;
                () = stops.next() => true,
                _ = timeout(self.asked, trigger.wait()) => false,
            };
        Drained::of(trigger, start, (hurried, hurried || !asked)).await
    }
}

/// As long as a stream that nobody uses is kept anyway (`timeouts.tunnel_idle`).
const UPGRADE_DRAIN: Duration = Duration::from_hours(1);

/// An answer of the admin API is on its way by then.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::drain::{Direction, both};

    /// Asked after so many seconds, the last first.
    struct In(Vec<u64>);

    impl Stops for In {
        async fn next(&mut self) {
            match self.0.pop() {
                Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                None => pending().await,
            }
        }
    }

    const LEAVING: Leaving = Leaving {
        drain: Duration::from_hours(1),
        asked: Duration::from_secs(30),
    };

    #[tokio::test(start_paused = true)]
    async fn who_has_a_successor_closes_nothing_that_rests() {
        let (trigger, watchers) = both();
        let watcher = watchers.of(Direction::Inbound).clone();
        let (rests, mut seen) = (watcher.blocker(), watcher.clone());
        let asleep = async {
            seen.left().await;
            sleep(Duration::from_mins(1)).await;
            assert!(watcher.is_draining() && !watcher.is_closed());
            drop(rests);
        };
        let (readiness, mut stops) = (Readiness::new(), In(Vec::new()));
        let leaving = LEAVING.run(&trigger, &readiness, &mut stops);
        let (drained, ()) = tokio::join!(leaving, asleep);
        assert_eq!((drained.cut, drained.took.as_secs()), (0, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_end_after_an_upgrade_has_as_long_as_ever() {
        let (trigger, watchers) = both();
        let watcher = watchers.of(Direction::Inbound).clone();
        let guard = watcher.blocker();
        let mut stops = In(vec![3600, 10]);
        let drained = LEAVING.run(&trigger, &Readiness::new(), &mut stops).await;
        assert_eq!((drained.cut, drained.took.as_secs()), (1, 40));
        assert!(!drained.hurried);
        drop(guard);
    }
}
