//! A message on its way out of a stream: its head, then its body, as the windows allow.
//!
//! One piece of body is held at a time, and the next is asked for only when that one has been said:
//! a slow reader stops the sender of its own stream, and nobody else's.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use super::error::StreamError;
use super::session::{Piece, Respond};
use super::stream::Stream;
use crate::body::{Body, BodyError, Keeping, Kept};
use crate::message::ResponseParts;

/// A message that is being sent.
#[derive(Debug)]
pub struct Sending {
    head: Option<Box<Head>>,
    body: Body,
    piece: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// Whether the body has given all it has.
    ended: bool,
    /// Whether our side of the stream was said, or needs no saying.
    finished: bool,
    /// What the body still has to give, where its length was said.
    left: Option<u64>,
    body_bytes: u64,
    progress: u64,
    kept: Kept,
}

/// A head that has not been said.
#[derive(Debug)]
struct Head {
    parts: ResponseParts,
    bodiless: bool,
    /// Whether something follows that this message does not send.
    opens: bool,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The body's source failed.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The source gave more or fewer bytes than the head promised.
    #[error("the body is not as long as its head says")]
    Length,
}

impl Sending {
    /// A response, whose head leaves as soon as there is room. Its `Content-Length` stands as it is
    /// in the fields; a body that says how long it is gets one. With `bodiless`, nothing follows
    /// the head whatever the body says: the answer to HEAD, 204, 304.
    pub fn response(parts: ResponseParts, body: Body, bodiless: bool) -> Self {
        let status = parts.status;
        let bodiless =
            bodiless || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        Self {
            ended: bodiless || body.is_end_stream(),
            left: if bodiless {
                Some(0)
            } else {
                body.size_hint().exact()
            },
            head: Some(Box::new(Head {
                parts,
                bodiless,
                opens: false,
            })),
            ..Self::new(body)
        }
    }

    /// An interim response: a head that another one follows.
    pub fn interim(parts: ResponseParts) -> Self {
        Self::opening(parts, true)
    }

    /// The response behind which the stream is a tunnel: a head that bytes follow, which are those
    /// of whoever holds the stream.
    pub fn tunnel(parts: ResponseParts) -> Self {
        Self::opening(parts, false)
    }

    fn opening(parts: ResponseParts, bodiless: bool) -> Self {
        Self {
            head: Some(Box::new(Head {
                parts,
                bodiless,
                opens: true,
            })),
            ended: true,
            ..Self::new(Body::empty())
        }
    }

    /// The body of a request whose head has left with
    /// [`Connection::open`](super::Connection::open).
    pub fn request(body: Body, length: Option<u64>) -> Self {
        Self {
            left: length,
            ..Self::new(body)
        }
    }

    fn new(body: Body) -> Self {
        Self {
            head: None,
            body,
            piece: Bytes::new(),
            trailers: None,
            ended: false,
            finished: false,
            left: None,
            body_bytes: 0,
            progress: 0,
            kept: Kept::Gone,
        }
    }

    /// Keeps so much of the body: while all that it has given is at hand, the message may be sent
    /// again.
    #[must_use]
    pub fn keep(mut self, keeping: Keeping) -> Self {
        self.kept = keeping.begin();
        self
    }

    /// Gives up what is kept.
    pub fn keep_nothing(&mut self) {
        self.kept = Kept::Gone;
    }

    /// Sends as much as goes. Ready when everything has been handed to the connection.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<(), SendError>> {
        if self.head.is_some() {
            ready!(self.poll_head(cx, stream))?;
        }
        while !self.finished {
            if self.piece.is_empty() && !self.ended {
                ready!(self.poll_body(cx))?;
            }
            ready!(self.poll_piece(cx, stream))?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<(), StreamError>> {
        let (connection, id) = (stream.connection(), stream.id());
        ready!(connection.with(|session| session.poll_turn(id, cx)))?;
        let Some(head) = self.head.take() else {
            return Poll::Ready(Ok(()));
        };
        self.progress += 1;
        let ends = self.ended && !head.opens;
        self.finished = self.ended;
        let how = Respond {
            ends,
            length: self.left,
            bodiless: head.bodiless,
        };
        connection.with(|session| session.respond(id, &head.parts, how));
        Poll::Ready(Ok(()))
    }

    /// Asks the body for its next piece. Ready if there is one, or it ended.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            let Some(frame) = ready!(self.body.poll_frame_pinned(cx)) else {
                self.ended = true;
                break;
            };
            if frame.is_err() {
                self.kept = Kept::Gone;
            }
            match frame?.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    self.took(data)?;
                    return Poll::Ready(Ok(()));
                }
                Err(frame) => {
                    self.kept = Kept::Gone;
                    self.trailers = frame.into_trailers().ok().map(Box::new);
                    self.ended = true;
                    break;
                }
            }
        }
        Poll::Ready(match self.left {
            Some(left) if left > 0 => Err(SendError::Length),
            Some(_) | None => Ok(()),
        })
    }

    fn took(&mut self, data: Bytes) -> Result<(), SendError> {
        let body = &self.body;
        self.kept.gave(&data, || body.is_end_stream());
        let length = data.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(length).ok_or(SendError::Length)?;
        }
        self.ended = self.body.is_end_stream();
        if self.ended && self.left.is_some_and(|left| left > 0) {
            return Err(SendError::Length);
        }
        self.piece = data;
        Ok(())
    }

    /// Says the piece that is there, or the end.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<(), StreamError>> {
        let (connection, id) = (stream.connection(), stream.id());
        if self.piece.is_empty() {
            ready!(connection.with(|session| session.poll_turn(id, cx)))?;
            match self.trailers.take() {
                Some(trailers) => connection.with(|session| session.trail(id, &trailers)),
                None => connection.with(|session| session.send(id, &[], Piece::LAST)),
            }
            self.finished = true;
            self.progress += 1;
            return Poll::Ready(Ok(()));
        }
        let wanted = self.piece.len();
        let room = ready!(connection.with(|session| session.poll_room(id, wanted, cx)))?;
        if room == 0 {
            // The other end has all it wants.
            self.piece = Bytes::new();
            self.ended = true;
            self.finished = true;
            return Poll::Ready(Ok(()));
        }
        let count = room.min(self.piece.len());
        let is_cut = count < self.piece.len();
        let ends = self.ended && !is_cut && self.trailers.is_none();
        let how = Piece { ends, is_cut };
        connection.with(|session| session.send(id, &self.piece[..count], how));
        self.piece.advance(count);
        let before = self.body_bytes;
        self.body_bytes += count as u64;
        // Who takes a piece byte by byte takes nothing to speak of.
        if !is_cut || before / WORTH_TIME != self.body_bytes / WORTH_TIME {
            self.progress += 1;
        }
        self.finished = ends;
        Poll::Ready(Ok(()))
    }

    /// Ends the message here with these trailers, although its body goes on; false if that cannot
    /// be: something of it is half-said, or its length was.
    pub fn end_with(&mut self, stream: &Stream, trailers: &HeaderMap) -> bool {
        if !self.awaits_body() || self.left.is_some_and(|left| left > 0) {
            return false;
        }
        let (connection, id) = (stream.connection(), stream.id());
        connection.with(|session| session.trail(id, trailers));
        self.ended = true;
        self.finished = true;
        self.progress += 1;
        true
    }

    /// Lets what comes behind the body go on, while the stream takes no more.
    pub fn poll_behind(&mut self, cx: &mut Context<'_>) {
        self.body.poll_behind(cx);
    }

    /// Bytes of the body that were sent.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// A number that grows with what is sent: tells whether something moved.
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Takes in that no more of the body came in time.
    pub fn fell_silent(&mut self) {
        self.body.fell_silent();
    }

    /// Whether what is behind the body waits for the rest of a request.
    pub fn awaits_request(&self) -> bool {
        self.body.awaits_request()
    }

    /// Whether everything that was there has left, and more of the body is to come.
    pub fn awaits_body(&self) -> bool {
        self.head.is_none() && self.piece.is_empty() && !self.ended
    }

    /// Whether all of the body is still at hand.
    pub fn has_whole_body(&self) -> bool {
        self.kept.is_whole() || self.body_bytes == 0 && !self.piece.is_empty()
    }

    /// Gives the body back, if all of it is still at hand: then the message may be sent again.
    pub fn into_whole_body(self) -> Option<Body> {
        match self.kept {
            Kept::Gone if self.body_bytes == 0 && !self.piece.is_empty() => {
                Some(self.body.behind(self.piece))
            }
            kept => kept.whole(self.body),
        }
    }
}

/// Bytes of a piece that a reader has to take within the time that it is given.
const WORTH_TIME: u64 = 1024;
