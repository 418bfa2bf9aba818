//! The service manager's watchdog: fed as long as every worker is well.
//!
//! Problem: a process whose workers hang is there, and serves nobody. Only somebody outside can
//! restart it, and he must not be told that all is well by a thread that has nothing else to do. So
//! systemd (`WatchdogSec=`, `sd_watchdog_enabled(3)`) is told so only while each worker's heart
//! beats; and it is the control thread that tells it, so one that hangs tells nothing.

use std::convert::Infallible;
use std::ffi::OsString;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::notify;
use crate::telemetry::beats::Beats;
use crate::telemetry::events::{Event, Events};

/// Feeds the watchdog.
#[derive(Debug)]
pub struct Watchdog {
    period: Duration,
    beats: Beats,
    events: Events,
    seen: Vec<Seen>,
}

/// What was last seen of a worker.
#[derive(Debug, Clone, Copy)]
struct Seen {
    count: u64,
    moved: Instant,
    /// Whether it was told that it hangs.
    is_told: bool,
}

impl Watchdog {
    /// As the service manager asks by `WATCHDOG_USEC`; `None` where it does not.
    pub fn new(
        variable: impl Fn(&str) -> Option<OsString>,
        beats: Beats,
        events: Events,
    ) -> Option<Self> {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        // Another pid means another process: ours is a child of it.
        if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
            return None;
        }
        let period = number("WATCHDOG_USEC").filter(|period| *period > 0)?;
        Some(Self {
            period: Duration::from_micros(period),
            beats,
            events,
            seen: Vec::new(),
        })
    }

    /// Feeds it until it is dropped.
    #[expect(clippy::infinite_loop, reason = "it ends where it is dropped")]
    pub async fn run(mut self) -> Infallible {
        let mut tick = interval(self.period / FEEDS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if self.all_are_well(Instant::now()) {
                notify::watchdog();
            }
        }
    }

    /// Whether each worker has moved of late. One that has not is told of once.
    fn all_are_well(&mut self, now: Instant) -> bool {
        let counts = self.beats.counts();
        self.seen.resize(
            counts.len(),
            Seen {
                count: 0,
                moved: now,
                is_told: false,
            },
        );
        let limit = self.period / 2;
        let mut all = true;
        for (worker, (seen, count)) in self.seen.iter_mut().zip(counts).enumerate() {
            if count != seen.count {
                *seen = Seen {
                    count,
                    moved: now,
                    is_told: false,
                };
            } else if now - seen.moved >= limit {
                all = false;
                if !seen.is_told {
                    seen.is_told = true;
                    tell(&self.events, worker, now - seen.moved);
                }
            }
        }
        all
    }
}

fn tell(events: &Events, worker: usize, since: Duration) {
    events.publish(Event {
        kind: "worker_stuck",
        why: format!(
            "worker {worker} has not come to anything for {:.1} s: the watchdog is not fed, so the \
             service manager will restart this instance",
            since.as_secs_f32()
        ),
        fields: vec![("worker", worker.to_string())],
    });
}

/// In each of its periods: one that is late must not be the last.
const FEEDS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(
        beats: &Beats,
        events: &Events,
        micros: &str,
        pid: Option<u32>,
    ) -> Option<Watchdog> {
        let variable = |name: &str| match name {
            "WATCHDOG_USEC" => Some(micros.into()),
            "WATCHDOG_PID" => pid.map(|pid| pid.to_string().into()),
            _ => None,
        };
        Watchdog::new(variable, beats.clone(), events.clone())
    }

    #[test]
    fn it_is_there_where_the_manager_asks_this_process() {
        let (beats, events) = (Beats::new(1), Events::default());
        let own = std::process::id();
        assert!(watchdog(&beats, &events, "1000000", Some(own)).is_some());
        assert!(watchdog(&beats, &events, "1000000", None).is_some());
        assert!(watchdog(&beats, &events, "1000000", Some(own + 1)).is_none());
        assert!(watchdog(&beats, &events, "0", None).is_none());
        assert!(watchdog(&beats, &events, "soon", None).is_none());
        assert!(Watchdog::new(|_| None, beats, events).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_worker_that_hangs_is_enough() {
        let (beats, events) = (Beats::new(2), Events::default());
        let mut watchdog = watchdog(&beats, &events, "4000000", None).unwrap();
        let start = Instant::now();
        let mut well = Vec::new();
        for second in 0..6 {
            beats.beat(0);
            if second < 2 {
                beats.beat(1);
            }
            well.push(watchdog.all_are_well(start + Duration::from_secs(second)));
        }
        assert_eq!(well, [true, true, true, false, false, false]);
        let told = events.list(0);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].event.why.contains("worker 1"), "{told:?}");
        beats.beat(1);
        assert!(watchdog.all_are_well(start + Duration::from_secs(6)));
    }
}
