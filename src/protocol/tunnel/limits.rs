//! What ends a tunnel besides its two sides: silence, its age, and that its endpoint was taken out.
//!
//! One timer for all three: it is armed for the earliest. Silence starts afresh with every byte
//! and leaves the timer alone: one that fires too early is armed again, about once in half a
//! minute. The removal of an endpoint is a wake-up that nearly never comes, so it is looked at
//! when it does and not with every piece that passes.
//!
//! Silence is not always one: a socket takes more only once a third of its buffer has drained, and
//! a slow reader may be busy with that for long. So before a limit of silence is over the kernel is
//! asked twice how much the peers have still to take; if that has become less, something moves.
//!
//! Once a side has broken, its last words have a shorter limit of silence, and one for all of them:
//! who takes a byte now and then must not keep what a tunnel holds for as long as it likes.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::futures::Notified;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Ended;
use super::ends::{Ends, Side};
use crate::endpoint::Live;
use crate::snapshot::TunnelTimeouts;

/// How long a tunnel may last.
#[derive(Debug)]
pub(super) struct Limits<'a> {
    idle: Duration,
    /// Until something has moved.
    first_byte: Option<Duration>,
    /// Since when nothing has moved.
    since: Instant,
    /// What the peers had taken when that was last asked for; only differences mean something.
    delivered: i64,
    /// Whether that was asked for in this silence.
    has_looked: bool,
    /// Whether the kernel has been asked to look for both peers.
    probing: bool,
    /// Whether a side has broken.
    hurries: bool,
    /// When it ends whatever moves. Once a side has broken: when its last words do.
    age: Option<Instant>,
    removal: RemovalWatch<'a>,
    timer: Pin<Box<Sleep>>,
    /// The task that the timer and a removal wake.
    told: Waker,
}

/// Hears of the endpoint's removal.
#[derive(Debug)]
struct RemovalWatch<'a> {
    endpoint: &'a Live,
    end: Option<Instant>,
    /// How often it had become another one by then.
    changes: u32,
    changed: Pin<Box<Notified<'a>>>,
}

impl<'a> Limits<'a> {
    pub(super) fn new(timeouts: TunnelTimeouts, endpoint: &'a Live) -> Self {
        let now = Instant::now();
        let mut limits = Self {
            idle: timeouts.idle,
            first_byte: timeouts.first_byte.filter(|limit| *limit < timeouts.idle),
            since: now,
            delivered: 0,
            has_looked: false,
            probing: timeouts.idle <= PROBE_FROM,
            hurries: false,
            age: timeouts.max_age.and_then(|age| now.checked_add(age)),
            removal: RemovalWatch::new(endpoint),
            timer: Box::pin(sleep_until(now)),
            told: Waker::noop().clone(),
        };
        limits.arm(now);
        limits
    }

    /// Where the tunnel leads.
    pub(super) fn endpoint(&self) -> &Live {
        self.removal.endpoint
    }

    /// Whether this is the task that was polled last.
    pub(super) fn has_told(&self, cx: &Context<'_>) -> bool {
        self.told.will_wake(cx.waker())
    }

    /// Something has moved. This happens with every piece: the timer stays as it is.
    pub(super) fn restart(&mut self, ends: &Ends<'_>) {
        self.since = Instant::now();
        self.first_byte = None;
        self.has_looked = self.hurries;
        if self.hurries {
            self.delivered = ends.delivered();
        }
    }

    /// Nothing more will come from this side: what is on its way may be delivered, and waits for
    /// nobody.
    pub(super) fn hurry(&mut self, side: Side, ends: &Ends<'_>) {
        let (silence, most) = match side {
            Side::Endpoint => (LAST_WORDS, LAST_WORDS_AT_MOST),
            Side::Client => (LAST_REQUESTS, LAST_REQUESTS_AT_MOST),
        };
        self.idle = self.idle.min(silence);
        self.probing = true;
        self.hurries = true;
        let most = Instant::now() + most;
        self.age = Some(self.age.map_or(most, |age| age.min(most)));
        self.restart(ends);
        self.arm(self.since);
        // A timer that had fired wakes nobody any more until it is polled.
        self.told.clone_from(Waker::noop());
    }

    /// Ready once a limit is over, and with which.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>, ends: &Ends<'_>) -> Poll<Ended> {
        let is_told = self.has_told(cx);
        if self.removal.has_changed(cx, is_told) {
            self.arm(Instant::now());
        } else if is_told && !self.timer.is_elapsed() {
            return Poll::Pending; // as nearly always
        }
        self.told.clone_from(cx.waker());
        // Whatever the task has used up of its turn: the timer would not be registered.
        while pin!(unconstrained(self.timer.as_mut())).poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(ended) = self.over(ends, now) {
                return Poll::Ready(ended);
            }
            self.arm(now);
        }
        Poll::Pending
    }

    /// The limit that is over, if one is.
    fn over(&mut self, ends: &Ends<'_>, now: Instant) -> Option<Ended> {
        let is_over = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        if is_over(self.removal.end) {
            return Some(Ended::Removed);
        }
        if is_over(self.age) {
            let ended = if self.hurries {
                Ended::Idle
            } else {
                Ended::MaxAge
            };
            return Some(ended);
        }
        if now < self.next_look(now) && !self.hurries {
            return None;
        }
        self.look(ends, now);
        let is_begun = self.first_byte.is_none();
        let ended = if is_begun { Ended::Idle } else { Ended::Silent };
        (self.since + self.silence() <= now).then_some(ended)
    }

    /// Only a tunnel that has fallen silent pays for what is asked here.
    fn look(&mut self, ends: &Ends<'_>, now: Instant) {
        // What a stream shares a connection with says nothing of it while it may rest.
        let delivered = if self.hurries {
            ends.delivered()
        } else {
            -i64::from(ends.outstanding())
        };
        if self.has_looked && delivered > self.delivered {
            self.since = now;
        }
        self.has_looked = true;
        self.delivered = delivered;
        if !self.probing {
            self.probing = true;
            ends.probe();
        }
    }

    /// How long nothing may move.
    fn silence(&self) -> Duration {
        self.first_byte.unwrap_or(self.idle)
    }

    /// When the peers have to be looked at, if nothing moves until then.
    fn next_look(&self, now: Instant) -> Instant {
        let silence = self.silence();
        if self.hurries {
            let rested = now.duration_since(self.since);
            let pause = (rested / 4).clamp(LOOK_EVERY, LOOK_AT_LAST);
            (self.since + silence).min(now + pause)
        } else if self.has_looked {
            self.since + silence
        } else {
            self.since + PROBE_FROM.min(silence / 2)
        }
    }

    fn arm(&mut self, now: Instant) {
        let ends = [self.age, self.removal.end].into_iter().flatten();
        let earliest = ends.fold(self.next_look(now), Instant::min);
        self.timer.as_mut().reset(earliest);
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
        }
    }

    /// Whether the end is another; has the task woken when it becomes another one, if that is not
    /// told yet.
    fn has_changed(&mut self, cx: &mut Context<'_>, is_told: bool) -> bool {
        let mut has_changed = self.endpoint.changes_of_end() != self.changes;
        if is_told && !has_changed {
            return false;
        }
        loop {
            if self.endpoint.changes_of_end() != self.changes {
                has_changed = true;
                *self = Self::new(self.endpoint);
            }
            // Whatever the task has used up of its turn: it would not be registered.
            let changed = pin!(unconstrained(self.changed.as_mut())).poll(cx);
            if changed.is_pending() {
                return has_changed;
            }
            has_changed = true;
            *self = Self::new(self.endpoint);
        }
    }
}

/// How long what a side had said before its reset waits for the other side to take some of it. A
/// kernel whose buffer is full tells of room only once there is much of it: that of a slow reader
/// may be silent for seconds, and one that does not read never says a word.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// How long all of that may take, from the reset on, however steadily it is taken.
const LAST_WORDS_AT_MOST: Duration = Duration::from_mins(1);

/// The same of a client that has gone, and of what it had said: endpoints read at once, and until
/// then it still counts as one of the clients that may be connected.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// How long all of that may take.
const LAST_REQUESTS_AT_MOST: Duration = Duration::from_secs(10);

/// How often it is asked, behind a reset, whether everything has arrived: about one round trip.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How often of one that has taken nothing for a while: there may be very many of them, whose
/// endpoint has died.
const LOOK_AT_LAST: Duration = Duration::from_millis(500);

/// Silence after which the kernel is asked to probe both peers: longer than most pauses, short
/// against the idle limits of tunnels, which are minutes to hours.
const PROBE_FROM: Duration = Duration::from_secs(30);
