//! Whether a shared connection is still good for anything: what is heard on it, and how its calls
//! end.
//!
//! Problem: an endpoint can lose a connection without knowing. It answers every PING, and no
//! request any more; or it refuses each, or resets it. Nothing that is heard of the connection
//! shows that, only how its calls end, and the oldest connection is the one that is taken.
//!
//! So calls that bring no final head are counted, and a few in a row end the connection, gently:
//! what runs on it goes on, and the next request opens another. Calls that their clients gave up
//! are no more than a hint, which clients could give on purpose: such a connection goes on, and is
//! used where there is no other.

use std::time::Duration;

use tokio::time::Instant;

use super::{Rest, Shared, Standing};
use crate::endpoint::Protocol;
use crate::http2::{ErrorCode, State};

/// When something was heard of the endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    pub(super) received: u64,
    pub(super) at: Instant,
    /// When it was asked for a sign.
    pub(super) asked: Option<Instant>,
}

impl Shared {
    /// Whether a request has waited in vain, and nothing has been heard since.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.get() == Some(self.http2.received())
    }

    /// A request has waited in vain: the endpoint is asked for a sign. If nothing at all has been
    /// heard since the request was sent, the connection is in doubt until something is.
    pub(super) fn doubt(&self, received: u64) {
        if self.wonder(received) {
            self.doubted.set(Some(received));
        }
    }

    /// If nothing at all has been heard since a request was sent, the endpoint is asked for a sign,
    /// and this is true. The connection comes into doubt if none comes.
    pub(super) fn wonder(&self, received: u64) -> bool {
        if self.standing.get() == Standing::Ended || self.http2.received() != received {
            return false;
        }
        // Servers of gRPC end a connection that asks more often than it says something else.
        let asked = self.asked_in_a_row.get() + 1;
        if asked <= ASKED_IN_A_ROW {
            self.asked_in_a_row.set(asked);
            self.ask(Instant::now());
        }
        true
    }

    /// Whether nothing that is sent on it arrives: nothing has been heard since so much was, when
    /// a request began that has waited for a while; what was sent was sent again, and nothing of it
    /// has been acknowledged. Then nothing else will: it ends, and all that wait on it go
    /// elsewhere. It costs a system call.
    pub(super) fn leads_nowhere(&self, received: u64) -> bool {
        if self.standing.get() == Standing::Ended
            || self.http2.received() != received
            || !self.http2.stream().writes_in_vain()
        {
            return false;
        }
        let (name, calls) = (&self.endpoint.name, self.calls.get());
        tracing::debug!(endpoint = %name, calls, "nothing that is sent arrives: connection given up");
        self.led_nowhere.set(true);
        // By whoever asks, of a connection that could not be made.
        self.is_told.set(true);
        self.standing.set(Standing::Ended);
        let why = "nothing that was sent has been acknowledged";
        self.http2.end_now(ErrorCode::NO_ERROR, why);
        true
    }

    /// Whether it was given up for that.
    pub(super) fn led_nowhere(&self) -> bool {
        self.led_nowhere.get()
    }

    /// Whether its end had been announced, by its endpoint or by us.
    pub(super) fn was_announced(&self) -> bool {
        self.is_left.get() || self.closed.get().is_some()
    }

    /// Asks the endpoint for a sign.
    fn ask(&self, now: Instant) {
        let mut heard = self.heard.get();
        if heard.asked.is_none() {
            heard.asked = Some(now);
            heard.received = self.http2.received();
            self.heard.set(heard);
            self.http2.ping();
        }
    }

    /// A call on it has ended without a final head, and its client was not the reason.
    pub(super) fn has_failed(&self) {
        let failures = self.failures.get() + 1;
        self.failures.set(failures);
        if failures == FAILURES && self.standing.get() == Standing::Open {
            let name = &self.endpoint.name;
            tracing::debug!(endpoint = %name, failures, "connection brings no answers: left");
            self.close();
        }
    }

    /// A call on it has brought its final head.
    pub(super) fn has_answered(&self) {
        self.failures.set(0);
        self.given_up.set(0);
        self.asked_in_a_row.set(0);
        if self.endpoint.protocol == Protocol::Either
            && let Some(group) = self.group.upgrade()
        {
            group.has_answered();
        }
    }

    /// The client of a call on it has waited for long, and waits no longer.
    pub(super) fn is_given_up(&self) {
        self.given_up.set(self.given_up.get().saturating_add(1));
    }

    /// Whether it is better to use another one: several clients in a row have waited in vain.
    pub(super) fn is_suspected(&self) -> bool {
        self.given_up.get() >= FAILURES
    }

    /// Whether requests on it are answered, so that its streams come free.
    pub(super) fn brings_answers(&self) -> bool {
        let is_open = self.standing.get() == Standing::Open && !self.http2.is_leaving();
        is_open && self.is_proven.get() && !self.is_doubted() && !self.is_suspected()
    }

    /// Whether its endpoint serves requests on it, while it refuses some on this one, which may be
    /// the same. Slow answers are answers: what was taken before others were refused is served, or
    /// what is under way since before there was the one that refuses. But not for long on one that
    /// we have closed, nor on one that its endpoint leaves: a request may last for hours, and says
    /// nothing of those that come.
    pub(super) fn serves_beside(&self, refused: &Self, now: Instant) -> bool {
        if self.brings_answers() {
            return true;
        }
        let may_serve = match self.standing.get() {
            Standing::Open => !self.http2.is_leaving(),
            Standing::Closing => {
                let closed = self.closed.get();
                let lately = |closed| now.saturating_duration_since(closed) < SERVES_ON;
                closed.is_some_and(lately) && !self.is_left.get()
            }
            Standing::Ended => false,
        };
        let is_busy = self.calls.get() > 0 && self.failures.get() == 0;
        may_serve
            && !self.is_doubted()
            && !self.is_suspected()
            && (self.http2.keeps_some() || is_busy && self.busy_since.get() < refused.began)
    }

    /// Its endpoint ends it because of our PINGs.
    pub(super) fn asked_too_often(&self) {
        if let Some(group) = self.group.upgrade() {
            tracing::warn!(endpoint = %self.endpoint.name, "asked too often: half as often from now");
            group.asks_less();
        }
    }

    /// Takes no streams for a moment, so that it can end for a worker that has none.
    pub(super) fn give_way(&self) {
        let before = self.gave_way.get();
        if before.is_none_or(|before| before.elapsed() >= WAY_AGAIN) {
            self.gave_way.set(Some(Instant::now()));
        }
    }

    pub(super) fn gives_way(&self) -> bool {
        let since = self.gave_way.get();
        since.is_some_and(|since| since.elapsed() < WAY)
    }

    /// Whether its endpoint is about to say how many streams it allows.
    pub(super) fn is_settling(&self) -> bool {
        // None at all is for a short while (RFC 9113 §5.1.2).
        self.standing.get() == Standing::Open
            && self.http2.max_streams().unwrap_or(0) == 0
            && !self.http2.is_leaving()
            && self.began.elapsed() < SETTLING
    }

    /// Looks after it, about once a second: is it wanted, and is there somebody? False if it has
    /// had its time to end. `rarer`: how much rarer than configured it is asked for a sign.
    pub(super) fn look_after(&self, now: Instant, rarer: u32) -> bool {
        if self.http2.state() == State::Ending {
            let since = self.ends_since.get().unwrap_or(now);
            self.ends_since.set(Some(since));
            return now.duration_since(since) < LAST_WORDS;
        }
        let Rest { since, keep } = self.rest.get();
        let is_idle = self.calls.get() == 0 && now.duration_since(since) >= keep.idle;
        let is_retired = self.endpoint.live.is_retired();
        if is_idle || is_retired || !self.is_made_for(&self.endpoint) {
            self.close();
        }
        let received = self.http2.received();
        let mut heard = self.heard.get();
        if heard.received != received || self.calls.get() == 0 && heard.asked.is_none() {
            heard = Heard {
                received,
                at: now,
                asked: None,
            };
            self.heard.set(heard);
        }
        let http2 = &self.endpoint.http2;
        let interval = http2.keepalive_interval.saturating_mul(rarer);
        match heard.asked {
            None if now.duration_since(heard.at) >= interval => self.ask(now),
            Some(asked) if now.duration_since(asked) >= http2.keepalive_timeout => {
                let why = "nothing was heard, and PING was not answered";
                self.http2.end_now(ErrorCode::NO_ERROR, why);
            }
            Some(asked) if now.duration_since(asked) >= SIGN => self.doubted.set(Some(received)),
            None | Some(_) => {}
        }
        true
    }
}

/// How long an endpoint that is asked for a sign may take before it gets no more requests on that
/// connection: longer than any way there and back.
const SIGN: Duration = Duration::from_millis(500);

/// How long an endpoint may take to hear that the connection ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Calls in a row that bring no final head. One or two are those calls' own matter.
const FAILURES: u32 = 3;

/// How long what an endpoint took on a connection that was then closed shows that it takes
/// requests: a burst is over by then.
const SERVES_ON: Duration = Duration::from_secs(10);

/// How often an endpoint is asked for a sign between two answers, for requests that waited in vain:
/// what servers of gRPC let pass.
const ASKED_IN_A_ROW: u32 = 2;

/// How long SETTINGS, which are the first thing that an endpoint says, may be on their way before
/// those who wait do not count on them.
const SETTLING: Duration = Duration::from_secs(3);

/// How long a connection gives way: most requests end within that. What lasts longer must not keep
/// others from it.
const WAY: Duration = Duration::from_secs(1);

/// How long it does not do so again.
const WAY_AGAIN: Duration = Duration::from_secs(5);
