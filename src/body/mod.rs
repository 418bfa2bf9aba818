//! The one HTTP body: what flows behind a head, whoever sends it.
//!
//! A type-erasure point of the data plane. Most bodies are empty or arrive with their
//! head, so those two cost nothing; what streams lives in a box. A body belongs to its
//! worker and is not `Send`.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

mod kept;

pub use self::kept::{Keeping, Kept, Pieces, ROOM, Room};

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The peer closed or reset the connection in the middle of the body.
    #[error("the connection ended in the middle of the body")]
    Truncated,
    /// The framing broke: a bad chunk or trailer.
    #[error("the body's framing is malformed")]
    Malformed,
    /// Nothing moved for too long.
    #[error("the body made no progress in time")]
    Idle,
    /// The total time limit of the request passed.
    #[error("the request took too long")]
    Deadline,
    /// The peer reset the stream, with this code (RFC 9113 §7).
    #[error("the stream was reset with code 0x{0:x}")]
    Reset(u32),
}

/// A body of any kind.
#[derive(Default)]
pub struct Body {
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    Stream(Pin<Box<dyn Flow>>),
}

/// What a body answers when it is asked for its next piece: `None` after its end.
pub type NextFrame = Option<Result<Frame<Bytes>, BodyError>>;

/// A body with bytes in front of it.
struct Behind {
    first: Bytes,
    rest: Body,
}

/// What takes bytes from a socket as they are, to pass them on unseen.
pub trait Conduit {
    /// Takes at most `most` bytes. 0 is the end of the stream; [`io::ErrorKind::WouldBlock`] if
    /// none are there.
    fn draw(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<usize>;
}

/// A body that streams.
pub trait Flow: HttpBody<Data = Bytes, Error = BodyError> {
    /// Lets what is behind this body go on while nobody asks for its next piece.
    ///
    /// A response may start before its request has wholly been sent. If the client takes the
    /// response only after it has sent the request, waiting for the one without moving the
    /// other never ends.
    fn poll_behind(self: Pin<&mut Self>, cx: &mut Context<'_>) {
        _ = cx;
    }

    /// Takes in that no more of it came in time: whoever waited for it gives it up.
    fn fell_silent(self: Pin<&mut Self>) {}

    /// Whether what is behind this body waits for its own client: for the rest of a request.
    fn awaits_request(&self) -> bool {
        false
    }

    /// Whether the next bytes are many, all of them the body's, and may be drawn.
    fn can_be_drawn(&self) -> bool {
        false
    }

    /// Has the next bytes drawn, where they [can be](Flow::can_be_drawn). Ready with their number,
    /// 0 at the end of the body.
    fn poll_draw(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        _ = (cx, conduit);
        Poll::Ready(Ok(0))
    }
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is wholly there.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::empty()
        } else {
            Self {
                kind: Kind::Full(bytes),
            }
        }
    }

    /// A body that streams.
    pub fn stream(body: impl Flow + 'static) -> Self {
        Self {
            kind: Kind::Stream(Box::pin(body)),
        }
    }

    /// The bytes of a body that is wholly there; `None` where it streams.
    pub fn take_full(&mut self) -> Option<Bytes> {
        match std::mem::take(&mut self.kind) {
            Kind::Empty => Some(Bytes::new()),
            Kind::Full(bytes) => Some(bytes),
            stream @ Kind::Stream(_) => {
                self.kind = stream;
                None
            }
        }
    }

    /// This body with bytes in front of it, as where its first piece was given back.
    #[must_use]
    pub fn behind(self, first: Bytes) -> Self {
        if self.is_end_stream() {
            Self::full(first)
        } else {
            Self::stream(Behind { first, rest: self })
        }
    }

    /// [`HttpBody::poll_frame`] without a pin, since every kind of body can be moved.
    pub fn poll_frame_pinned(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        Pin::new(self).poll_frame(cx)
    }

    /// [`Flow::can_be_drawn`] of a body that streams.
    pub fn can_be_drawn(&self) -> bool {
        match &self.kind {
            Kind::Empty | Kind::Full(_) => false,
            Kind::Stream(body) => body.can_be_drawn(),
        }
    }

    /// [`Flow::poll_draw`] of a body that streams.
    pub fn poll_draw(
        &mut self,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        match &mut self.kind {
            Kind::Empty | Kind::Full(_) => Poll::Ready(Ok(0)),
            Kind::Stream(body) => body.as_mut().poll_draw(cx, conduit),
        }
    }

    /// [`Flow::fell_silent`] of a body that streams.
    pub fn fell_silent(&mut self) {
        if let Kind::Stream(body) = &mut self.kind {
            body.as_mut().fell_silent();
        }
    }

    /// [`Flow::awaits_request`] of a body that streams.
    pub fn awaits_request(&self) -> bool {
        match &self.kind {
            Kind::Empty | Kind::Full(_) => false,
            Kind::Stream(body) => body.awaits_request(),
        }
    }

    /// [`Flow::poll_behind`] of a body that streams.
    pub fn poll_behind(&mut self, cx: &mut Context<'_>) {
        if let Kind::Stream(body) = &mut self.kind {
            body.as_mut().poll_behind(cx);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Empty => f.write_str("Body::Empty"),
            Kind::Full(bytes) => write!(f, "Body::Full({} bytes)", bytes.len()),
            Kind::Stream(_) => f.write_str("Body::Stream"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Stream(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl HttpBody for Behind {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if self.first.is_empty() {
            self.rest.poll_frame_pinned(cx)
        } else {
            let first = std::mem::take(&mut self.first);
            Poll::Ready(Some(Ok(Frame::data(first))))
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(first)) {
            hint.set_upper(upper);
        }
        hint
    }
}

impl Flow for Behind {
    fn poll_behind(mut self: Pin<&mut Self>, cx: &mut Context<'_>) {
        self.rest.poll_behind(cx);
    }

    fn fell_silent(mut self: Pin<&mut Self>) {
        self.rest.fell_silent();
    }

    fn awaits_request(&self) -> bool {
        self.rest.awaits_request()
    }

    fn can_be_drawn(&self) -> bool {
        self.first.is_empty() && self.rest.can_be_drawn()
    }

    fn poll_draw(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        self.rest.poll_draw(cx, conduit)
    }
}
