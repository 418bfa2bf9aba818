//! When an endpoint closes idle connections, learned by watching it.
//!
//! Problem: an endpoint closes a kept connection after its own idle time; a request that is sent at
//! that moment is lost, the 502 that the users of every proxy complain about. The remedy is to
//! close first, but how long the endpoint waits is written nowhere that a proxy could read.
//!
//! So the pool reports every idle connection that the endpoint closed, with its idle time. A single
//! report may come from a restart, which closes everything at once, whatever its age: it is
//! believed for half a minute only, and not at all if the time was short, as it is for most of
//! what a restart closes; to believe that would be to do without kept connections. Two that agree
//! are the endpoint's setting: that is believed for minutes, and longer each time it is
//! confirmed. When belief runs out the caller's default holds again, and a setting that still
//! stands is seen again at once.

mod kept;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(super) use kept::KeptIdle;

/// What is believed about the idle close time of an endpoint. Times are milliseconds of the epoch.
#[derive(Debug, Default)]
pub(super) struct IdleClose {
    learned: Mutex<Learned>,
    /// What the pool reads at every checkout: the limit in milliseconds shifted by 32, and the
    /// second of the epoch up to which it holds. 0: nothing is believed.
    published: AtomicU64,
}

#[derive(Debug, Default)]
struct Learned {
    setting: Option<Setting>,
    suspicion: Option<Suspicion>,
}

/// Confirmed by reports that agree.
#[derive(Debug, Clone, Copy)]
struct Setting {
    idle: u64,
    confirmations: u32,
    last_report: u64,
    until: u64,
}

/// Seen once.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    idle: u64,
    reported: u64,
}

impl IdleClose {
    /// Takes in that the endpoint closed a connection that had been idle for `idle_for`.
    pub(super) fn learn(&self, idle_for: Duration, now: u64) {
        let idle = u64::try_from(idle_for.as_millis())
            .unwrap_or(u64::MAX)
            .min(LONGEST);
        let Ok(mut learned) = self.learned.lock() else {
            return; // a panic while learning: the default holds
        };
        learned.report(idle, now);
        self.publish(&learned, now);
    }

    /// How long a connection may stay idle, if anything is believed at `now()`.
    pub(super) fn limit(&self, now: impl FnOnce() -> u64) -> Option<Duration> {
        let published = self.published.load(Ordering::Relaxed);
        if published == 0 {
            return None; // the usual case costs one load and no clock
        }
        let now = now();
        if now / 1_000 < (published & 0xffff_ffff) {
            return Some(Duration::from_millis(published >> 32));
        }
        let learned = self.learned.lock().ok()?;
        self.publish(&learned, now);
        learned
            .belief(now)
            .map(|(idle, _)| Duration::from_millis(kept_under(idle)))
    }

    fn publish(&self, learned: &Learned, now: u64) {
        let word = learned.belief(now).map_or(0, |(idle, until)| {
            (kept_under(idle) << 32) | until.div_ceil(1_000).min(u64::from(u32::MAX))
        });
        self.published.store(word, Ordering::Relaxed);
    }
}

impl Learned {
    fn report(&mut self, idle: u64, now: u64) {
        if let Some(setting) = &mut self.setting
            && agree(setting.idle, idle)
        {
            setting.confirm(idle, now);
            return;
        }
        match self.suspicion {
            // Of what closes together the shortest counts: it is the safe side.
            Some(first) if now < first.reported + APART && idle >= first.idle => {}
            Some(first) if first.is_confirmed_by(idle, now) => {
                self.setting = Some(Setting::new(first.idle.min(idle), now));
                self.suspicion = None;
            }
            _ => {
                self.suspicion = Some(Suspicion {
                    idle,
                    reported: now,
                });
            }
        }
    }

    /// The shortest idle time that is believed, and until when.
    fn belief(&self, now: u64) -> Option<(u64, u64)> {
        let setting = self.setting.map(|setting| (setting.idle, setting.until));
        let suspicion = self
            .suspicion
            .filter(|suspicion| suspicion.idle >= SUSPECTED_FROM)
            .map(|suspicion| (suspicion.idle, suspicion.reported + SUSPECTED_FOR));
        [setting, suspicion]
            .into_iter()
            .flatten()
            .filter(|(_, until)| *until > now)
            .min()
    }
}

impl Suspicion {
    /// Whether a further report makes it a setting: it agrees, is another event, and came soon
    /// enough not to be the next restart.
    fn is_confirmed_by(&self, idle: u64, now: u64) -> bool {
        agree(self.idle, idle)
            && (self.reported + APART..=self.reported + CONFIRMED_WITHIN).contains(&now)
    }
}

impl Setting {
    fn new(idle: u64, now: u64) -> Self {
        Self {
            idle,
            confirmations: 0,
            last_report: now,
            until: now + BELIEVED_FOR,
        }
    }

    fn confirm(&mut self, idle: u64, now: u64) {
        self.idle = self.idle.min(idle);
        if now >= self.last_report + APART {
            self.confirmations = (self.confirmations + 1).min(MOST_DOUBLINGS);
            self.last_report = now;
        }
        self.until = now + (BELIEVED_FOR << self.confirmations);
    }
}

/// Whether two idle times can be one setting: within a fifth, or a tick of a coarse timer.
fn agree(one: u64, other: u64) -> bool {
    one.abs_diff(other) <= (one.max(other) / 5).max(50)
}

/// The idle time to stay under, with a margin for the way there and for coarse timers.
fn kept_under(idle: u64) -> u64 {
    idle.saturating_sub((idle / 10).clamp(10, 500))
}

/// Reports closer together than this are one event, such as a restart.
const APART: u64 = 1_000;
/// How long a single report is believed.
const SUSPECTED_FOR: u64 = 30_000;
/// The shortest idle time that a single report is believed of: what traffic keeps busy has rested
/// for less when a restart closes it.
const SUSPECTED_FROM: u64 = 1_000;
/// Restarts are further apart, and so are the requests of a service that has no need of this.
const CONFIRMED_WITHIN: u64 = 300_000;
/// How long two reports that agree are believed; doubled by each further one.
const BELIEVED_FOR: u64 = 300_000;
/// 5 minutes doubled six times: more than five hours.
const MOST_DOUBLINGS: u32 = 6;
/// A day: idle times beyond need no care.
const LONGEST: u64 = 86_400_000;

#[cfg(test)]
mod tests;
