//! What we say of the connection itself.

use super::Session;
use crate::http2::error::ErrorCode;
use crate::http2::frame::{HIGHEST_ID, PING_LENGTH, write_goaway, write_ping};

impl Session {
    /// Holds the heads that come from now on to these limits. What was told of them before stands:
    /// it is advice (RFC 9113 §6.5.2).
    pub(in crate::http2) fn limit_heads(&mut self, head: usize, fields: usize) {
        self.settings.head = head;
        self.settings.fields = fields;
    }

    /// Asks whether the other end is there, unless that is under way.
    pub(in crate::http2) fn ping(&mut self) {
        if !self.awaits_pong && !self.is_over() {
            self.awaits_pong = true;
            write_ping(self.out(), false, *b"evenkeel");
        }
    }

    /// Says that the end is near, and still takes streams (RFC 9113 §6.8).
    pub(in crate::http2) fn announce_end(&mut self) {
        if self.taken_until.is_none() && !self.is_over() {
            self.taken_until = Some(HIGHEST_ID);
            write_goaway(self.out(), HIGHEST_ID, ErrorCode::NO_ERROR, "");
        }
    }

    /// Takes no further streams, and says which was the last.
    pub(in crate::http2) fn end_gently(&mut self) {
        if self.taken_until.is_none_or(|last| last == HIGHEST_ID) && !self.is_over() {
            let last = self.last;
            self.taken_until = Some(last);
            write_goaway(self.out(), last, ErrorCode::NO_ERROR, "");
        }
    }
}

const _: () = assert!(PING_LENGTH == 8, "what a PING says has eight letters");
