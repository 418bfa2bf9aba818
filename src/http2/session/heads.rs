//! Heads that come: put together, decompressed, checked, given to their stream.

use super::block::{Block, Full};
use super::entry::{Entry, Kind, Wanted};
use super::frames::unpadded;
use super::{Event, Fault, Role, Session};
use crate::http2::error::{Abuse, ErrorCode};
use crate::http2::frame::{
    END_HEADERS, END_STREAM, HAS_PRIORITY, HEADERS, HIGHEST_ID, Header, MAX_FRAME,
};
use crate::http2::head::{HeadError, RequestReader, ResponseReader, TrailersReader};
use crate::http2::window::{ReceiveWindow, SendWindow};
use crate::time::Instant;

/// What becomes of a head.
enum Recipient {
    /// A request begins.
    Opens,
    /// It is a response.
    Answers,
    /// It stands behind a body.
    Ends,
    /// Nobody wants it; it is decompressed all the same.
    Nobody,
}

impl Session {
    pub(super) fn headers(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Fault> {
        if header.id == 0 {
            return Err(Fault::protocol("HEADERS on stream 0"));
        }
        let mut block = unpadded(header, payload)?;
        let mut is_own_parent = false;
        if header.has(HAS_PRIORITY) {
            let [a, b, c, d, _, rest @ ..] = block else {
                let code = ErrorCode::FRAME_SIZE_ERROR;
                return Err(Fault::of(code, "HEADERS without their priority"));
            };
            is_own_parent = u32::from_be_bytes([*a, *b, *c, *d]) & HIGHEST_ID == header.id;
            block = rest;
        }
        let ends = header.has(END_STREAM);
        if header.has(END_HEADERS) {
            return self.head(header, block, (ends, is_own_parent), now);
        }
        let how = (ends, is_own_parent);
        self.block = Some(Block::begin(self.role, header.id, how, block));
        Ok(())
    }

    pub(super) fn continuation(
        &mut self,
        header: Header,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), Fault> {
        let Some(block) = &mut self.block else {
            return Ok(());
        };
        // One that is too large is decompressed all the same, within reason: it costs its own
        // request, and none of the others.
        match block.add(payload) {
            Ok(()) => {}
            Err(Full) => return Err(Abuse::Continuation.into()),
        }
        if !header.has(END_HEADERS) {
            return Ok(());
        }
        let Some(block) = self.block.take() else {
            return Ok(());
        };
        // What it means does not depend on how many frames it took.
        let header = Header {
            kind: HEADERS,
            flags: if block.ends { END_STREAM } else { 0 },
            ..header
        };
        let how = (block.ends, block.is_own_parent);
        self.head(header, &block.bytes, how, now)
    }

    /// A head that has come wholly.
    fn head(
        &mut self,
        header: Header,
        block: &[u8],
        (ends, is_own_parent): (bool, bool),
        now: Instant,
    ) -> Result<(), Fault> {
        let id = header.id;
        match self.recipient(header)? {
            Recipient::Opens => return self.opened(id, block, (ends, is_own_parent), now),
            Recipient::Answers => return self.answered(id, block, ends, now),
            Recipient::Ends => return self.trailed(id, block, ends, now),
            Recipient::Nobody => self.decompress(block, |_, _| {})?,
        }
        let is_closed = |entry: &mut Entry| entry.has_received || entry.is_reset_by_them();
        if self.streams.get(id).is_some_and(is_closed) {
            return self.spoil(id, ErrorCode::STREAM_CLOSED, now);
        }
        if self.refuses(id) {
            if !ends {
                self.streams.ignore(self.first_window());
            }
            return self.spend(Abuse::RefusedStream, now);
        }
        if self.streams.get(id).is_some() {
            // We have reset it: one head may have been under way.
            return self.late_head(now);
        }
        self.came_too_late(header, false, now)
    }

    fn recipient(&mut self, header: Header) -> Result<Recipient, Fault> {
        let id = header.id;
        if self.role == Role::Client {
            self.check_known(id, "HEADERS")?;
        } else if id > self.last {
            if id.is_multiple_of(2) {
                return Err(Fault::protocol(
                    "a client opened a stream of an even number",
                ));
            }
            return Ok(if self.refuses(id) {
                Recipient::Nobody
            } else {
                Recipient::Opens
            });
        }
        let role = self.role;
        Ok(match self.streams.get(id) {
            Some(entry) if entry.error.is_some() || entry.has_received => Recipient::Nobody,
            Some(entry) if role == Role::Client && !entry.has_head => Recipient::Answers,
            Some(_) => Recipient::Ends,
            None => Recipient::Nobody,
        })
    }

    /// Whether streams of this number come too late: we have said which one was the last.
    pub(super) fn refuses(&self, id: u32) -> bool {
        self.role == Role::Server && self.taken_until.is_some_and(|last| id > last)
    }

    fn decompress(&mut self, block: &[u8], take: impl FnMut(&[u8], &[u8])) -> Result<(), Fault> {
        // Small, and back in its place for the next head; a large one is not kept.
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.decoder.decode(block, &mut scratch, take);
        if scratch.capacity() <= KEPT_SCRATCH {
            self.scratch = scratch;
        }
        result.map_err(|error| Fault::of(ErrorCode::COMPRESSION_ERROR, error.why()))
    }

    fn opened(
        &mut self,
        id: u32,
        block: &[u8],
        (ends, is_own_parent): (bool, bool),
        now: Instant,
    ) -> Result<(), Fault> {
        let mut reader = RequestReader::new(&self.settings);
        self.decompress(block, |name, value| reader.take(name, value))?;
        self.last = id;
        if self.streams.len() >= self.settings.max_streams as usize {
            self.refuse(id, ErrorCode::REFUSED_STREAM, ends);
            return self.spend(Abuse::RefusedStream, now);
        }
        if is_own_parent {
            self.refuse(id, ErrorCode::PROTOCOL_ERROR, ends);
            return self.spend(Abuse::MadeYouReset, now);
        }
        let window = SendWindow::new(self.peer.initial_window);
        let mut entry = Entry::new(self.settings.stream_window, window);
        entry.has_head = true;
        entry.has_received = ends;
        let event = match reader.finish(ends) {
            Ok(head) => {
                entry.left = head.length;
                entry.kind = Kind::of(&head.parts);
                self.budget.earn();
                self.streams.insert(id, entry);
                Event::Request(id, Box::new(head))
            }
            Err(error @ (HeadError::TooLarge | HeadError::Expectation)) => {
                if error == HeadError::TooLarge {
                    // What it costs to decompress grows with it.
                    for _ in 0..=block.len() / MAX_FRAME {
                        self.spend(Abuse::HeaderList, now)?;
                    }
                }
                entry.is_refused = true;
                self.streams.insert(id, entry);
                Event::Refused(error, Some(id))
            }
            Err(error @ HeadError::Malformed(_)) => {
                self.refuse(id, ErrorCode::PROTOCOL_ERROR, ends);
                self.spend(Abuse::MadeYouReset, now)?;
                Event::Refused(error, None)
            }
        };
        self.events.push_back(event);
        Ok(())
    }

    fn answered(&mut self, id: u32, block: &[u8], ends: bool, now: Instant) -> Result<(), Fault> {
        let mut reader = ResponseReader::new(&self.settings);
        self.decompress(block, |name, value| reader.take(name, value))?;
        let Some(entry) = self.streams.get(id) else {
            return Ok(());
        };
        let head = match reader.finish(ends) {
            Ok(head) if entry.heads.len() < HEADS_AT_MOST => head,
            Ok(_) | Err(_) => return self.spoil(id, ErrorCode::PROTOCOL_ERROR, now),
        };
        if !head.parts.status.is_informational() {
            entry.has_head = true;
            entry.has_received = ends;
            // What a CONNECT leads to has no length, whatever is said (RFC 9110 §9.3.6).
            let length = head
                .length
                .filter(|_| !(entry.kind == Kind::Connect && head.parts.status.is_success()));
            entry.left = if entry.is_bodiless { Some(0) } else { length };
            let is_short = ends && !entry.is_bodiless && length.is_some_and(|left| left > 0);
            let has_none = matches!(head.parts.status.as_u16(), 204 | 304);
            if has_none {
                entry.left = Some(0);
            } else if is_short {
                entry.has_received = false;
                return self.spoil(id, ErrorCode::PROTOCOL_ERROR, now);
            }
        }
        entry.heads.push_back(head);
        entry.wake(Wanted::Head);
        Ok(())
    }

    fn trailed(&mut self, id: u32, block: &[u8], ends: bool, now: Instant) -> Result<(), Fault> {
        let mut reader = TrailersReader::new();
        self.decompress(block, |name, value| reader.take(name, value))?;
        let is_server = self.role == Role::Server;
        let Some(entry) = self.streams.get(id) else {
            return Ok(());
        };
        if is_server && entry.kind == Kind::Connect {
            return self.spoil(id, ErrorCode::PROTOCOL_ERROR, now);
        }
        match reader.finish() {
            // Only the end of a message may follow its body (RFC 9113 §8.1).
            Ok(trailers) if ends && entry.left.unwrap_or(0) == 0 => {
                entry.trailers = trailers;
                entry.has_received = true;
                entry.wake(Wanted::Body);
                Ok(())
            }
            Ok(_) | Err(_) => self.spoil(id, ErrorCode::PROTOCOL_ERROR, now),
        }
    }

    /// Does not let a stream begin, whose body may be under way unless it has ended.
    fn refuse(&mut self, id: u32, code: ErrorCode, ends: bool) {
        self.write_reset(id, code);
        let room = if ends { 0 } else { self.first_window() };
        self.streams.remember_late(id, room);
    }

    /// Bytes that the other end may send on a stream that it has just opened.
    fn first_window(&self) -> u32 {
        ReceiveWindow::new(self.settings.stream_window).room()
    }
}

impl Entry {
    /// Takes in that so many bytes of the body came, and whether they are the last. False if that
    /// is not what its length says, or if no body may come.
    pub(super) fn takes(&mut self, count: u64, ends: bool) -> bool {
        if !self.has_head {
            return false;
        }
        match &mut self.left {
            None => true,
            Some(left) => match left.checked_sub(count) {
                Some(rest) => {
                    *left = rest;
                    !ends || rest == 0
                }
                None => false,
            },
        }
    }
}

/// Bytes that a connection keeps for what it decompresses next.
const KEPT_SCRATCH: usize = 1024;

/// Heads that wait to be taken: as many interim ones as a call passes on, and the one behind them,
/// which is the final one or tells it that they have no end.
const HEADS_AT_MOST: usize = 33;
