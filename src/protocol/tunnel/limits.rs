//! What ends a tunnel besides its two sides: silence, its age, and that its endpoint was taken out.
//!
//! One timer for all three: it is armed for the earliest, and silence starts afresh with every byte
//! without moving it ([`Deadline`]). The removal of an endpoint is a wake-up that nearly never
//! comes, so it is looked at when it does and not with every piece that passes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::{Ended, Ends};
use crate::endpoint::Live;
use crate::snapshot::TunnelTimeouts;
use crate::time::Deadline;

/// How long a tunnel may last.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    idle: Duration,
    /// Until something has moved.
    first_byte: Option<Duration>,
    /// Since when nothing has moved.
    since: Instant,
    /// Whether the kernel has been asked to look for both peers.
    probing: bool,
    /// When it ends whatever moves.
    age: Option<Instant>,
    removal: RemovalWatch<'a>,
    deadline: Deadline,
}

/// Hears of the endpoint's removal.
#[derive(Debug)]
struct RemovalWatch<'a> {
    endpoint: &'a Live,
    end: Option<Instant>,
    /// How often it had become another one by then.
    changes: u32,
    changed: Pin<Box<Notified<'a>>>,
    /// The task that it wakes.
    told: Waker,
}

impl<'a> Limits<'a> {
    pub(super) fn new(timeouts: TunnelTimeouts, endpoint: &'a Live) -> Self {
        let now = Instant::now();
        let mut limits = Self {
            idle: timeouts.idle,
            first_byte: None,
            since: now,
            probing: timeouts.idle <= PROBE_FROM,
            age: timeouts.max_age.and_then(|age| now.checked_add(age)),
            removal: RemovalWatch::new(endpoint),
            deadline: Deadline::default(),
        };
        limits.first_byte = timeouts.first_byte.filter(|limit| *limit < limits.idle);
        limits.arm();
        limits
    }

    /// Something has moved.
    pub(super) fn restart(&mut self) {
        self.since = Instant::now();
        self.first_byte = None;
        self.arm();
    }

    /// Nothing more will come: what is on its way may be delivered, and waits for nobody.
    pub(super) fn hurry(&mut self) {
        self.idle = self.idle.min(LAST_WORDS);
        self.probing = true;
        self.restart();
    }

    /// Ready once a limit is over, and with which.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, ends: &Ends<'_>) -> Poll<Ended> {
        if self.removal.has_changed(cx) {
            self.arm();
        }
        while self.deadline.poll_passed(cx).is_ready() {
            let now = Instant::now();
            let over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
            if over(self.removal.end) {
                return Poll::Ready(Ended::Removed);
            }
            if over(self.age) {
                return Poll::Ready(Ended::MaxAge);
            }
            match self.first_byte {
                Some(limit) if self.since + limit <= now => return Poll::Ready(Ended::Silent),
                None if self.probing => return Poll::Ready(Ended::Idle),
                Some(_) | None => {}
            }
            // Only a tunnel that has fallen silent pays for the socket options.
            self.probing = true;
            ends.probe();
            self.arm();
        }
        Poll::Pending
    }

    fn arm(&mut self) {
        let last = self.first_byte.unwrap_or(self.idle);
        let silence = if self.probing {
            last
        } else {
            PROBE_FROM.min(last)
        };
        let ends = [self.age, self.removal.end].into_iter().flatten();
        let earliest = ends.fold(self.since + silence, Instant::min);
        self.deadline.set_at(earliest);
    }
}

impl<'a> RemovalWatch<'a> {
    fn new(endpoint: &'a Live) -> Self {
        let changed = Box::pin(endpoint.end_of_tunnels_changed());
        Self {
            endpoint,
            // Asked for after `changed` was made: see there.
            changes: endpoint.changes_of_end(),
            end: endpoint.end_of_tunnels(),
            changed,
            told: Waker::noop().clone(),
        }
    }

    /// Whether the end is another; has the task woken when it becomes another one.
    fn has_changed(&mut self, cx: &mut Context<'_>) -> bool {
        let mut has_changed = self.endpoint.changes_of_end() != self.changes;
        while has_changed || !self.told.will_wake(cx.waker()) {
            if has_changed {
                *self = Self::new(self.endpoint);
            }
            // Whatever the task has used up of its turn: it would not be registered.
            let changed = pin!(unconstrained(self.changed.as_mut())).poll(cx);
            if changed.is_pending() {
                self.told = cx.waker().clone();
                return has_changed;
            }
            has_changed = true;
        }
        false
    }
}

/// How long what a side had said before its reset waits for the other side to take some of it: a
/// reader that is slow takes something in that time, and one that does not read never will.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Silence after which the kernel is asked to probe both peers: longer than most pauses, short
/// against the idle limits of tunnels, which are minutes to hours.
const PROBE_FROM: Duration = Duration::from_secs(30);
