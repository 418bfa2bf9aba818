//! One stream, as its session keeps it.

use std::collections::VecDeque;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use crate::http2::error::StreamError;
use crate::http2::head::ResponseHead;
use crate::http2::window::{ReceiveWindow, SendWindow};
use crate::message::RequestParts;
use crate::time::Instant;

/// A stream that is open, or that somebody of ours holds.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any of them may come first"
)]
#[derive(Debug)]
pub(super) struct Entry {
    /// Heads that came and were not taken: of a client.
    pub(super) heads: VecDeque<ResponseHead>,
    /// Bytes of the body that came and were not taken. Small frames stand in one piece, so that
    /// none of them keeps more memory than it has bytes.
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) receive: ReceiveWindow,
    pub(super) send: SendWindow,
    /// What is still to come of a body of known length.
    pub(super) left: Option<u64>,
    pub(super) received: u64,
    /// Whether the head came that a body follows.
    pub(super) has_head: bool,
    /// Whether no body may follow, whatever the head says: the answer to HEAD.
    pub(super) is_bodiless: bool,
    pub(super) kind: Kind,
    /// Whether its request cannot be served, and is answered all the same.
    pub(super) is_refused: bool,
    /// What our final head said: of a server.
    pub(super) status: Option<StatusCode>,
    /// Whether all of the other end's side came.
    pub(super) has_received: bool,
    /// Whether all of our side was said.
    pub(super) has_sent: bool,
    /// Whether it waits for its turn to add to the connection's output.
    pub(super) turn: Turn,
    pub(super) error: Option<StreamError>,
    /// Whether the other end's side came to its end after we had reset it.
    pub(super) ends_late: bool,
    /// Bytes that the connection had to send before its head: of a client.
    pub(super) begins_at: u64,
    /// How long it may be held up without counting as such.
    pub(super) patience: Duration,
    /// Since when it is seen to be.
    pub(super) stuck_since: Option<Instant>,
    waker: Option<Waker>,
    wanted: u8,
}

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request, whose body is on its way as long as it is not whole.
    Request,
    /// A conversation, in which one side may be silent for hours.
    Call,
    /// A CONNECT: bytes are all that may follow its head, and what follows a success is a tunnel
    /// (RFC 9113 §8.5).
    Connect,
}

/// How a stream stands among those of its connection that have something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It does not wait.
    None,
    /// It waits.
    Waits,
    /// It may say one frame.
    Called,
    /// It waits for the other end to take more of it.
    Starves,
    /// It may say one frame, however little there is room for.
    Hurries,
}

/// What the task of a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Head = 1,
    Body = 2,
    Room = 4,
    End = 8,
    /// Room for what takes none of a window.
    Turn = 16,
}

impl Kind {
    /// What a request's head says.
    pub(super) fn of(parts: &RequestParts) -> Self {
        if parts.method == Method::CONNECT {
            Self::Connect
        } else {
            Self::Request
        }
    }
}

impl Entry {
    pub(super) fn new(receive: u32, send: SendWindow) -> Self {
        Self {
            heads: VecDeque::new(),
            body: Vec::new(),
            trailers: None,
            receive: ReceiveWindow::new(receive),
            send,
            left: None,
            received: 0,
            has_head: false,
            is_bodiless: false,
            kind: Kind::Request,
            is_refused: false,
            status: None,
            has_received: false,
            has_sent: false,
            turn: Turn::None,
            error: None,
            ends_late: false,
            begins_at: 0,
            patience: Duration::ZERO,
            stuck_since: None,
            waker: None,
            wanted: 0,
        }
    }

    /// Has this task woken when that happens, or the stream breaks.
    pub(super) fn wait(&mut self, cx: &Context<'_>, wanted: Wanted) {
        self.wanted |= wanted as u8;
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    /// That has happened.
    pub(super) fn wake(&mut self, happened: Wanted) {
        if self.wanted & happened as u8 != 0 {
            self.wake_for_all();
        }
    }

    /// It is over before its end, unless it was already.
    pub(super) fn fail(&mut self, error: StreamError) {
        if self.error.is_none() {
            self.error = Some(error);
            self.wake_for_all();
        }
    }

    /// Whether our side is whole, and a client that says the rest of its own gets further than one
    /// that is stopped: one that was told of a failure ends by itself, and one whose rest fits its
    /// window needs to hear nothing more of us. Others might wait for a window that they do not
    /// listen to any more, since they have their answer (curl).
    pub(super) fn may_say_rest(&self) -> bool {
        let is_half_closed = self.has_sent && !self.has_received && self.error.is_none();
        let has_failed = self
            .status
            .is_some_and(|status| status.is_client_error() || status.is_server_error());
        is_half_closed && (has_failed || self.left.is_some_and(|left| self.receive.holds(left)))
    }

    /// Whether the other end has reset it, and so must not go on with it.
    pub(super) fn is_reset_by_them(&self) -> bool {
        matches!(
            self.error,
            Some(StreamError::Reset(_) | StreamError::Unprocessed)
        )
    }

    /// Takes what came of the body.
    pub(super) fn take_body(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.body))
    }

    fn wake_for_all(&mut self) {
        self.wanted = 0;
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}
