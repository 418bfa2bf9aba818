//! What comes on a stream that is over (RFC 9113 §5.1): what the other end said before it heard, or
//! what it should not have said.

use super::table::EndedBy;
use super::{Fault, Role, Session};
use crate::http2::error::{Abuse, ErrorCode};
use crate::http2::frame::{DATA, END_STREAM, HEADERS, Header};
use crate::time::Instant;

impl Session {
    /// A frame of a message came. `is_empty`: DATA without a byte.
    pub(super) fn came_too_late(
        &mut self,
        header: Header,
        is_empty: bool,
        now: Instant,
    ) -> Result<(), Fault> {
        let (is_head, ends) = (header.kind == HEADERS, header.has(END_STREAM));
        if self.refuses(header.id) {
            return if self.streams.ignored_may_say(header.length, ends) {
                Ok(())
            } else {
                self.spend(Abuse::EmptyData, now)
            };
        }
        match self.streams.ended_by(header.id) {
            // It was under way. A message ends once, and nothing comes behind its end.
            Some(EndedBy::Us) if ends => {
                self.streams.close(header.id);
                Ok(())
            }
            // It may be one that never began: who waits for an answer on it has to hear that.
            Some(EndedBy::Unknown) if is_head && self.role == Role::Server => {
                self.write_reset(header.id, ErrorCode::STREAM_CLOSED);
                self.late_head(now)
            }
            Some(EndedBy::Us | EndedBy::Unknown) if is_head => self.late_head(now),
            Some(EndedBy::Unknown) if is_empty && ends => self.spend(Abuse::EmptyData, now),
            // Of a body no more may be under way than its window had room for.
            Some(EndedBy::Us | EndedBy::Unknown)
                if self.streams.late_may_say(header.id, header.length) =>
            {
                Ok(())
            }
            Some(EndedBy::Us | EndedBy::Unknown) => self.spend(Abuse::EmptyData, now),
            Some(EndedBy::Both) => Err(Fault::of(
                ErrorCode::STREAM_CLOSED,
                "a frame on a stream that has ended",
            )),
            None if is_head && self.role == Role::Server => Err(Fault::protocol(
                "a stream with a lower number than one before",
            )),
            // It may be as late, and is no longer remembered.
            None if header.kind == DATA => self.spend(Abuse::EmptyData, now),
            Some(EndedBy::Them) | None => self.spoil(header.id, ErrorCode::STREAM_CLOSED, now),
        }
    }

    /// A head on a stream that we have reset. It has to be decompressed all the same.
    pub(super) fn late_head(&mut self, now: Instant) -> Result<(), Fault> {
        self.spend(Abuse::MadeYouReset, now)
    }

    /// A reset came. That is the last word on a stream, and once it costs nobody any work: what was
    /// to be paid for the stream was paid when it was refused, or the work for it is done.
    pub(super) fn reset_too_late(&mut self, id: u32, now: Instant) -> Result<(), Fault> {
        match self.streams.ended_by(id) {
            Some(EndedBy::Us | EndedBy::Both) => {
                self.streams.close(id);
                Ok(())
            }
            // Only who has many refused comes to these numbers, and pays for them as for those.
            Some(EndedBy::Unknown) => self.spend(Abuse::RefusedStream, now),
            None if self.refuses(id) => self.spend(Abuse::RefusedStream, now),
            Some(EndedBy::Them) | None => self.spend(Abuse::RapidReset, now),
        }
    }
}
