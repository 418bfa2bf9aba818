//! What a stream's task asks of the session.

use std::task::{Context, Poll};

use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::entry::{Entry, Kind, Turn, Wanted};
use super::table::EndedBy;
use super::{Fault, Role, Session};
use crate::http2::driven::{OpenError, Opening};
use crate::http2::error::{Abuse, ErrorCode, StreamError};
use crate::http2::frame::{
    DATA, END_STREAM, HEADER, HIGHEST_ID, close_block, write_header, write_reset,
    write_window_update,
};
use crate::http2::head::{ResponseHead, write_request, write_response, write_trailers};
use crate::http2::hpack::Encoder;
use crate::http2::stream::NextFrame;
use crate::http2::window::SendWindow;
use crate::message::{RequestParts, ResponseParts};
use crate::time::Instant;

impl Session {
    /// Streams that may be opened now.
    pub(in crate::http2) fn openable(&self) -> usize {
        if self.is_leaving() || self.next > HIGHEST_ID {
            return 0;
        }
        (self.peer.max_streams as usize).saturating_sub(self.streams.len())
    }

    /// Opens a stream: its number.
    pub(in crate::http2) fn open(
        &mut self,
        parts: &RequestParts,
        opening: &Opening<'_>,
    ) -> Result<u32, OpenError> {
        if self.openable() == 0 {
            return Err(if !self.is_leaving() && self.next <= HIGHEST_ID {
                OpenError::Full
            } else {
                OpenError::Ending
            });
        }
        let id = self.next;
        self.next += 2;
        let window = SendWindow::new(self.peer.initial_window);
        let mut entry = Entry::new(self.settings.stream_window, window);
        entry.is_bodiless = parts.method == http::Method::HEAD;
        if parts.method == http::Method::CONNECT || opening.protocol.is_some() {
            entry.kind = Kind::Connect;
        }
        entry.has_sent = opening.ends;
        entry.begins_at = self.left_ever + self.output().len() as u64;
        self.streams.insert(id, entry);
        self.write_block(id, opening.ends, |encoder, out| {
            write_request(encoder, out, parts, opening);
        });
        Ok(id)
    }

    /// Says a response's head.
    pub(in crate::http2) fn respond(&mut self, id: u32, parts: &ResponseParts, how: Respond) {
        let Some(entry) = self.streams.get(id) else {
            return;
        };
        if entry.error.is_some() || entry.has_sent {
            return;
        }
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nothing of ours leads here; it would be malformed (RFC 9113 §8.6).
            return self.reset(id, ErrorCode::INTERNAL_ERROR);
        }
        entry.has_sent = how.ends;
        if !parts.status.is_informational() {
            entry.status = Some(parts.status);
        }
        self.write_block(id, how.ends, |encoder, out| {
            write_response(encoder, out, parts, how.length, how.bodiless);
        });
    }

    /// Says trailers, which end our side.
    pub(in crate::http2) fn trail(&mut self, id: u32, trailers: &HeaderMap) {
        let Some(entry) = self.streams.get(id) else {
            return;
        };
        if entry.error.is_some() || entry.has_sent {
            return;
        }
        let mut is_empty = false;
        let before = self.output.as_ref().map_or(0, |output| output.len());
        self.write_block(id, true, |encoder, out| {
            is_empty = !write_trailers(encoder, out, trailers);
        });
        if is_empty {
            self.out().truncate(before);
            return self.send(id, &[], Piece::LAST);
        }
        if let Some(entry) = self.streams.get(id) {
            entry.has_sent = true;
        }
    }

    fn write_block(&mut self, id: u32, ends: bool, write: impl FnOnce(&mut Encoder, &mut Vec<u8>)) {
        let most = self.peer.max_frame;
        let encoder = &mut self.encoder;
        let out = self.output.get_or_insert_with(crate::net::Buffer::take);
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        write(encoder, out);
        close_block(out, start, id, ends, most);
    }

    /// Ready when a head or something as small may be said.
    pub(in crate::http2) fn poll_turn(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<(), StreamError>> {
        let has_room = self.has_room();
        let Some(entry) = self.streams.get(id) else {
            return Poll::Ready(Err(StreamError::Ended));
        };
        if let Some(error) = entry.error {
            return Poll::Ready(Err(error));
        }
        if has_room {
            return Poll::Ready(Ok(()));
        }
        entry.wait(cx, Wanted::Turn);
        if !self.heads.contains(&id) {
            self.heads.push(id);
        }
        Poll::Pending
    }

    /// Ready with the bytes of a body that may be said now, of so many that there are; 0 if the
    /// other end takes none any more.
    pub(in crate::http2) fn poll_room(
        &mut self,
        id: u32,
        wanted: usize,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        self.feed(id);
        let Some(entry) = self.streams.get(id) else {
            return Poll::Ready(Err(StreamError::Ended));
        };
        if let Some(error) = entry.error {
            self.leave_queue(id);
            return Poll::Ready(Err(error));
        }
        if entry.has_sent {
            self.leave_queue(id);
            return Poll::Ready(Ok(0));
        }
        let window = entry.send;
        let hurries = entry.turn == Turn::Hurries;
        if window.room() == 0 || (!hurries && self.is_sliver(window.room(), wanted)) {
            self.leave_queue(id);
            self.starve(id, cx);
            return Poll::Pending;
        }
        if self.takes_turn(id) {
            let room = self.room(window);
            if room > 0 && (hurries || !self.is_sliver(room, wanted)) {
                return Poll::Ready(Ok(room));
            }
        }
        if let Some(entry) = self.streams.get(id) {
            entry.wait(cx, Wanted::Room);
        }
        self.queue(id);
        Poll::Pending
    }

    /// Says a piece of a body, no more than there is room for.
    pub(in crate::http2) fn send(&mut self, id: u32, piece: &[u8], how: Piece) {
        let Some(entry) = self.streams.get(id) else {
            return;
        };
        if entry.error.is_some() || entry.has_sent {
            return;
        }
        entry.send.take(piece.len());
        entry.has_sent = how.ends;
        self.send.take(piece.len());
        self.make_room(piece.len());
        let out = self.out();
        let flags = if how.ends { END_STREAM } else { 0 };
        write_header(out, piece.len(), DATA, flags, id);
        out.extend_from_slice(piece);
        // What a tiny window cut off is not worth the frame that told of the window.
        if !how.is_cut || piece.len() >= self.worth() {
            self.budget.earn();
            self.budget.pay_windows(piece.len());
        } else {
            self.budget.earn_by(piece.len());
        }
        self.moved.sent += piece.len() as u64;
    }

    pub(in crate::http2) fn poll_head(
        &mut self,
        id: u32,
        cx: &Context<'_>,
    ) -> Poll<Result<ResponseHead, StreamError>> {
        let Some(entry) = self.streams.get(id) else {
            return Poll::Ready(Err(StreamError::Ended));
        };
        if let Some(head) = entry.heads.pop_front() {
            return Poll::Ready(Ok(head));
        }
        if let Some(error) = entry.error {
            return Poll::Ready(Err(error));
        }
        entry.wait(cx, Wanted::Head);
        Poll::Pending
    }

    pub(in crate::http2) fn poll_frame(&mut self, id: u32, cx: &Context<'_>) -> Poll<NextFrame> {
        let Some(entry) = self.streams.get(id) else {
            return Poll::Ready(Some(Err(StreamError::Ended)));
        };
        let is_whole = entry.has_received;
        if !is_whole && let Some(error) = entry.error {
            return Poll::Ready(Some(Err(error)));
        }
        if self.role == Role::Server && !is_whole && entry.left == Some(0) {
            // A body that is as long as it was to be, and may still turn out to be longer: its last
            // bytes would make of it a request that is whole (RFC 9113 §8.1.1).
            entry.wait(cx, Wanted::Body);
            return Poll::Pending;
        }
        if !entry.body.is_empty() {
            let piece = entry.take_body();
            let told = entry.receive.taken(piece.len()).filter(|_| !is_whole);
            if let Some(told) = told {
                write_window_update(self.out(), id, told);
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if is_whole {
            let trailers = entry.trailers.take();
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        entry.wait(cx, Wanted::Body);
        Poll::Pending
    }

    pub(in crate::http2) fn poll_broken(&mut self, id: u32, cx: &Context<'_>) -> Poll<StreamError> {
        let Some(entry) = self.streams.get(id) else {
            return Poll::Ready(StreamError::Ended);
        };
        if let Some(error) = entry.error {
            return Poll::Ready(error);
        }
        entry.wait(cx, Wanted::End);
        Poll::Pending
    }

    /// Resets a stream because somebody of ours wants it to end.
    pub(in crate::http2) fn reset(&mut self, id: u32, code: ErrorCode) {
        if let Some(entry) = self.streams.get(id)
            && entry.error.is_none()
            && !(entry.has_received && entry.has_sent)
        {
            entry.fail(StreamError::GivenUp(code));
            self.leave_queue(id);
            self.write_reset(id, code);
        }
    }

    /// Resets a stream whose message does not come to its end: for the fault of the other end,
    /// where that takes no more of it.
    pub(in crate::http2) fn cut(&mut self, id: u32) {
        let starves = |entry: &mut Entry| entry.turn == Turn::Starves;
        let code = if self.streams.get(id).is_some_and(starves) {
            ErrorCode::CANCEL
        } else {
            ErrorCode::INTERNAL_ERROR
        };
        self.reset(id, code);
    }

    /// Resets a stream because the other end broke a rule on it.
    pub(super) fn spoil(&mut self, id: u32, code: ErrorCode, now: Instant) -> Result<(), Fault> {
        let is_new = match self.streams.get(id) {
            Some(entry) => {
                let is_new = entry.error.is_none() || entry.is_reset_by_them();
                entry.fail(StreamError::Malformed(code));
                is_new
            }
            None => true,
        };
        self.leave_queue(id);
        if is_new {
            self.write_reset(id, code);
        }
        self.spend(Abuse::MadeYouReset, now)
    }

    pub(super) fn write_reset(&mut self, id: u32, code: ErrorCode) {
        self.resets.by_us += 1;
        write_reset(self.out(), id, code);
    }

    /// Nobody holds a stream any more.
    pub(in crate::http2) fn release(&mut self, id: u32) {
        self.leave_queue(id);
        self.heads.retain(|waiting| *waiting != id);
        let Some(entry) = self.streams.get(id) else {
            return;
        };
        let by = match entry.error {
            Some(_) if entry.ends_late => EndedBy::Them,
            Some(StreamError::Reset(_) | StreamError::Unprocessed) => EndedBy::Them,
            Some(StreamError::Malformed(_) | StreamError::GivenUp(_) | StreamError::Ended) => {
                EndedBy::Us
            }
            None if entry.has_received && entry.has_sent => EndedBy::Both,
            None => {
                let code = match self.role {
                    Role::Client => ErrorCode::CANCEL,
                    Role::Server if entry.has_sent => ErrorCode::NO_ERROR,
                    Role::Server => ErrorCode::INTERNAL_ERROR,
                };
                if !self.is_over() {
                    self.write_reset(id, code);
                }
                EndedBy::Us
            }
        };
        let Some(entry) = self.streams.remove(id, by) else {
            return;
        };
        self.rests_no_more(entry.patience);
        if entry.has_sent && entry.error.is_none() && !entry.is_refused {
            self.budget.complete();
        }
    }
}

/// How a piece of a body is said.
#[derive(Debug, Clone, Copy)]
pub(in crate::http2) struct Piece {
    /// Whether nothing follows.
    pub(in crate::http2) ends: bool,
    /// Whether there was more of it than room.
    pub(in crate::http2) is_cut: bool,
}

impl Piece {
    /// The end alone.
    pub(in crate::http2) const LAST: Self = Self {
        ends: true,
        is_cut: false,
    };
}

/// How a response's head is said.
#[derive(Debug, Clone, Copy)]
pub(in crate::http2) struct Respond {
    /// Whether nothing follows.
    pub(in crate::http2) ends: bool,
    /// The length of what follows, if that is known.
    pub(in crate::http2) length: Option<u64>,
    /// Whether nothing may follow, whatever the fields say.
    pub(in crate::http2) bodiless: bool,
}
