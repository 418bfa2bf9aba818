//! Which streams the other end holds up: those of which it takes nothing, and those whose request
//! it has begun and does not go on with.
//!
//! Some may be held up for longer than others, since their routes let them. These count once they
//! have been held up for so long, as far as those who look can tell.

use std::time::Duration;

use super::Session;
use super::entry::{Entry, Kind, Turn};
use crate::http2::driven::HeldUp;
use crate::time::Instant;

/// Streams that may be held up for longer than their connection lets others.
#[derive(Debug)]
pub(super) struct Patient {
    /// How many there are.
    streams: usize,
    /// The longest time that one of them has, or of those that were there with them.
    longest: Duration,
    /// When it was last looked at who is held up.
    looked: Instant,
}

/// How a stream is held up.
#[derive(Debug, Clone, Copy)]
enum Stuck {
    Response,
    Request,
}

impl Patient {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            streams: 0,
            longest: Duration::ZERO,
            looked: now,
        }
    }
}

impl Session {
    /// A stream may be held up for so long.
    pub(in crate::http2) fn may_rest(&mut self, id: u32, time: Duration) {
        if let Some(entry) = self.streams.get(id)
            && !time.is_zero()
        {
            self.patient.streams += usize::from(entry.patience.is_zero());
            self.patient.longest = self.patient.longest.max(time);
            entry.patience = time;
        }
    }

    /// A stream is a conversation, or is none: whether it may be silent without being held up.
    pub(in crate::http2) fn converses(&mut self, id: u32, is_so: bool) {
        if let Some(entry) = self.streams.get(id)
            && entry.kind != Kind::Connect
        {
            entry.kind = if is_so { Kind::Call } else { Kind::Request };
        }
    }

    /// It is there no more, and had so much time.
    pub(super) fn rests_no_more(&mut self, patience: Duration) {
        self.patient.streams -= usize::from(!patience.is_zero());
        if self.patient.streams == 0 {
            self.patient.longest = Duration::ZERO;
        }
    }

    /// How long nothing of the connection may move for the sake of one of its streams; zero where
    /// no stream has time of its own.
    pub(in crate::http2) fn patience(&self) -> Duration {
        self.patient.longest
    }

    /// Streams that the other end holds up. Looks at each of them.
    pub(in crate::http2) fn held_up(&mut self, now: Instant) -> HeldUp {
        let all_wait = self.is_sliver(self.send.room(), usize::MAX);
        let since_look = now - self.patient.looked;
        self.patient.looked = now;
        let mut held_up = HeldUp::default();
        for (_, entry) in self.streams.each() {
            let Some(stuck) = entry.stuck(all_wait) else {
                entry.stuck_since = None;
                continue;
            };
            // What it did between two looks that are far apart, nobody knows.
            let seen = entry
                .stuck_since
                .filter(|_| since_look <= entry.patience / 2);
            let since = *entry.stuck_since.insert(seen.unwrap_or(now));
            if now - since >= entry.patience {
                match stuck {
                    Stuck::Response => held_up.responses += 1,
                    Stuck::Request => held_up.requests += 1,
                }
            }
        }
        held_up
    }
}

impl Entry {
    /// How it is held up, if it is; `all_wait` where the connection's window is used up.
    fn stuck(&self, all_wait: bool) -> Option<Stuck> {
        let takes_nothing = match self.turn {
            Turn::Starves => true,
            Turn::Waits => all_wait,
            Turn::None | Turn::Called | Turn::Hurries => false,
        };
        if takes_nothing {
            return Some(Stuck::Response);
        }
        let is_open = !self.has_received && self.error.is_none();
        // What came and was not taken waits for us, or for an endpoint; and what is answered while
        // it comes, and nobody knows how long it is, may be a conversation.
        let is_awaited = self.received > 0 && self.body.is_empty();
        let is_upload = self.left.is_some() || self.status.is_none();
        let is_begun = self.kind == Kind::Request && is_open && is_awaited && is_upload;
        is_begun.then_some(Stuck::Request)
    }
}
