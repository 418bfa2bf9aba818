//! What a connection has time for, and when it is to end: pure, so that it can be tested.

use std::time::Duration;

use tokio::time::Instant;

use crate::http2::{Abuse, ErrorCode, HeldUp, Moved, State};
use crate::protocol::http::connection::LAST_REQUEST;
use crate::snapshot::ClientTimeouts;

/// What is remembered of a connection between two looks at it.
#[derive(Debug)]
pub(super) struct Watch {
    began: Instant,
    /// Until when our SETTINGS are to be acknowledged.
    settles: Instant,
    /// When it is too old.
    ages: Option<Instant>,
    /// What it waits for, after how many requests, and since when.
    waits: (State, u64),
    waits_since: Instant,
    /// Bytes that had come, and when the last of them had.
    received: u64,
    heard: Instant,
    /// Bytes that had left by then.
    sent_when_heard: u64,
    /// When the client was asked whether it is there.
    asked: Option<Instant>,
    /// Bytes that had left, and since when no more do although there are some.
    sent: u64,
    held_up: Option<Instant>,
    /// When its end was announced.
    announced: Option<Instant>,
    measured: Measured,
    /// Whether no more streams are taken.
    is_ending: bool,
}

/// What is seen of a connection.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    /// Requests that have come.
    pub(super) requests: u64,
    /// Those that are under way.
    pub(super) streams: usize,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) is_held_up: bool,
    /// How long that may last for the sake of a stream, whatever the listener says.
    pub(super) patience: Duration,
    pub(super) awaits_settings: bool,
    pub(super) awaits_pong: bool,
    /// Bytes of bodies that have moved.
    pub(super) moved: Moved,
    /// Streams that the client holds up, where that [is to be measured](Watch::is_to_measure).
    pub(super) stuck: Option<HeldUp>,
    pub(super) leaves: Leaves,
}

/// What moved, and what did not, when that was last looked at.
#[derive(Debug)]
struct Measured {
    at: Instant,
    stuck: HeldUp,
    moved: Moved,
}

/// Whether it has to end for what goes on around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    Not,
    /// There is a drain, or its listener has gone.
    Soon,
    /// Accepting has ended.
    Now,
}

/// The limits in force.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) client: ClientTimeouts,
    pub(super) keepalive_interval: Duration,
    pub(super) keepalive_timeout: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Say that the connection will end.
    Announce,
    /// Take no more streams.
    EndGently,
    /// Ask whether the client is there.
    Ping,
    /// End it at once.
    EndNow(ErrorCode, &'static str),
    /// End it at once, for what the client does too much of.
    EndAbused(Abuse),
    /// Wait no longer for last words to leave.
    Over,
}

impl Watch {
    /// A connection that begins, and may become so old.
    pub(super) fn new(now: Instant, age: Option<Duration>) -> Self {
        Self {
            began: now,
            settles: now + SETTLING,
            ages: age.map(|age| now + age),
            waits: (State::Beginning, 0),
            waits_since: now,
            received: 0,
            heard: now,
            sent_when_heard: 0,
            asked: None,
            sent: 0,
            held_up: None,
            announced: None,
            measured: Measured {
                at: now,
                stuck: HeldUp::default(),
                moved: Moved::default(),
            },
            is_ending: false,
        }
    }

    /// It may become so old.
    pub(super) fn ages(&mut self, age: Option<Duration>) {
        self.ages = age.map(|age| self.began + age);
    }

    /// Whether it is time to count the streams that the client holds up.
    pub(super) fn is_to_measure(&self, streams: usize, limits: &Limits, now: Instant) -> bool {
        self.measures(streams, limits).is_some_and(|at| at <= now)
    }

    /// Often enough that the connection ends before its streams do, one after the other.
    fn measures(&self, streams: usize, limits: &Limits) -> Option<Instant> {
        (streams > STUCK_AT_MOST).then(|| self.measured.at + limits.client.body_idle / 3)
    }

    /// What is to be done, or until when there is nothing.
    pub(super) fn look(
        &mut self,
        seen: &Seen,
        limits: &Limits,
        now: Instant,
    ) -> Result<Step, Instant> {
        self.take_in(seen, now);
        if seen.state == State::Ending {
            let over = self.waits_since + LAST_WORDS;
            return if over <= now {
                Ok(Step::Over)
            } else {
                Err(over)
            };
        }
        let due = [
            self.announcement(seen, now),
            self.ending(seen, now),
            self.settling(seen),
            self.stall(seen, limits),
            self.waiting(seen, limits),
        ];
        if let Some(stuck) = seen.stuck
            && self.is_stuck(stuck, seen.moved, now)
        {
            return Ok(Step::EndAbused(Abuse::Stalled));
        }
        let mut next = now + A_WHILE;
        if let Some(measures) = self.measures(seen.streams, limits) {
            next = next.min(measures);
        }
        for (at, step) in due.into_iter().flatten() {
            if at <= now {
                self.is_due(step, now);
                return Ok(step);
            }
            next = next.min(at);
        }
        Err(next)
    }

    fn take_in(&mut self, seen: &Seen, now: Instant) {
        if self.received != seen.received {
            self.received = seen.received;
            self.heard = now;
            self.sent_when_heard = seen.sent;
            self.asked = None;
        }
        // What asks the client stands behind what it does not take.
        if self.held_up.is_some() || seen.is_held_up {
            self.asked = self.asked.map(|_| now);
        }
        if !seen.is_held_up {
            self.held_up = None;
        } else if self.held_up.is_none() || self.sent != seen.sent {
            self.held_up = Some(now);
        }
        self.sent = seen.sent;
        let waits = (seen.state, seen.requests);
        if self.waits != waits {
            self.waits = waits;
            self.waits_since = now;
        }
    }

    /// Whether the client holds up many streams, and has held up as many since that was last looked
    /// at, while next to nothing moved on all of them: each of them moves now and then perhaps, and
    /// keeps its endpoint waiting.
    fn is_stuck(&mut self, stuck: HeldUp, moved: Moved, now: Instant) -> bool {
        let measured = Measured {
            at: now,
            stuck,
            moved,
        };
        let before = std::mem::replace(&mut self.measured, measured);
        let is_stuck = |before: usize, now: usize, moved: u64| {
            before.min(now) > STUCK_AT_MOST && moved < LITTLE
        };
        let sent = moved.sent - before.moved.sent;
        let received = moved.received - before.moved.received;
        is_stuck(before.stuck.responses, stuck.responses, sent)
            || is_stuck(before.stuck.requests, stuck.requests, received)
    }

    /// What is about to be done is not done again.
    fn is_due(&mut self, step: Step, now: Instant) {
        match step {
            Step::Announce => self.announced = Some(now),
            Step::EndGently => self.is_ending = true,
            Step::Ping => self.asked = Some(now),
            Step::EndNow(..) | Step::EndAbused(_) | Step::Over => {}
        }
    }

    fn announcement(&self, seen: &Seen, now: Instant) -> Option<(Instant, Step)> {
        if self.announced.is_some() || self.is_ending {
            return None;
        }
        let at = match seen.leaves {
            Leaves::Not => self.ages,
            Leaves::Soon | Leaves::Now => Some(now),
        };
        at.map(|at| (at, Step::Announce))
    }

    /// A stream may be on its way when the end is announced: it has a moment, as a request to a
    /// connection of HTTP/1.1 has. Once accepting has ended, only the first one has.
    fn ending(&self, seen: &Seen, now: Instant) -> Option<(Instant, Step)> {
        let announced = self.announced.filter(|_| !self.is_ending)?;
        let is_late = seen.leaves == Leaves::Now && seen.requests > 0;
        let at = if is_late {
            now
        } else {
            announced + LAST_REQUEST
        };
        Some((at, Step::EndGently))
    }

    fn settling(&self, seen: &Seen) -> Option<(Instant, Step)> {
        let step = Step::EndNow(ErrorCode::SETTINGS_TIMEOUT, "SETTINGS not acknowledged");
        seen.awaits_settings.then_some((self.settles, step))
    }

    fn stall(&self, seen: &Seen, limits: &Limits) -> Option<(Instant, Step)> {
        let at = self.held_up? + limits.client.body_idle.max(seen.patience);
        Some((at, Step::EndAbused(Abuse::Stalled)))
    }

    fn waiting(&self, seen: &Seen, limits: &Limits) -> Option<(Instant, Step)> {
        let since = self.waits_since;
        match seen.state {
            State::Beginning => {
                let step = Step::EndNow(ErrorCode::PROTOCOL_ERROR, "no preface in time");
                Some((since + limits.client.request_head, step))
            }
            State::Head => {
                let step = Step::EndNow(ErrorCode::ENHANCE_YOUR_CALM, "head not ended in time");
                Some((since + limits.client.request_head, step))
            }
            State::Idle if self.is_ending => None,
            State::Ending => None,
            State::Idle => Some((since + limits.client.idle, Step::EndGently)),
            State::Busy => Some(self.keepalive(seen, limits)),
        }
    }

    fn keepalive(&self, seen: &Seen, limits: &Limits) -> (Instant, Step) {
        match self.asked.filter(|_| seen.awaits_pong) {
            None => (self.heard + limits.keepalive_interval, Step::Ping),
            Some(asked) => {
                let step = Step::EndNow(ErrorCode::NO_ERROR, "PING not answered");
                // It stands behind all that the client has still to take.
                let behind = self.sent.saturating_sub(self.sent_when_heard);
                let taking = Duration::from_millis(behind / SLOWEST);
                (asked + limits.keepalive_timeout + taking, step)
            }
        }
    }
}

/// RFC 9113 §6.5.3 wants them acknowledged at once; some round trips around the world are enough.
const SETTLING: Duration = Duration::from_secs(10);

/// Streams that a client may hold up for as long as each of them is let: a page pauses a few of
/// what it loads.
const STUCK_AT_MOST: usize = 16;

/// Bytes on all of them together that are next to nothing in a third of a minute.
const LITTLE: u64 = 16 * 1024;

/// Bytes in a millisecond that a client is expected to take of what was sent to it: the slowest
/// links that are in use are quicker.
const SLOWEST: u64 = 4;

/// Enough for the last packets of a client that is sending to arrive and for our close to reach it.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where nothing is to be done, until when that is believed.
const A_WHILE: Duration = Duration::from_hours(1);
