//! A connection that carries one request after the other: what has come on it, and how it ends.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Client, LINGER, LINGER_BYTES};
use crate::body::{BodyError, Conduit, Flow, NextFrame};
use crate::http1::{Amount, Decoded, Decoder, Received, can_draw, poll_draw};
use crate::net::Stream;
use crate::time::Deadline;

/// A connection that speaks HTTP/1.1.
#[derive(Debug)]
pub(in crate::protocol::http) struct Http1 {
    pub(in crate::protocol::http) stream: Stream,
    pub(in crate::protocol::http) received: RefCell<Received>,
    pub(super) body: Cell<BodyState>,
    /// Set once the client has ended its side: when it counts as gone.
    ended: OnceCell<Box<Deadline>>,
}

/// What has become of the body of the request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyState {
    /// There is none, or it has been received wholly.
    Received,
    /// Some of it is still to come.
    Coming,
}

/// The body of a request, read from its client's connection as it is asked for.
#[derive(Debug)]
pub(super) struct RequestBody {
    client: Rc<Client>,
    decoder: Decoder,
}

impl Http1 {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            received: RefCell::default(),
            body: Cell::new(BodyState::Received),
            ended: OnceCell::new(),
        }
    }

    /// Whether the request under way has been received wholly, so that another may follow.
    pub(super) fn has_whole_request(&self) -> bool {
        self.body.get() == BodyState::Received
    }

    /// Whether nothing that the client has sent, or is known to be sending, is left unread: then
    /// the connection can be closed at once without a reset.
    pub(in crate::protocol::http) fn is_silent(&self) -> bool {
        self.has_whole_request() && self.received.borrow().is_empty()
    }

    /// Reads what the client sends next. Ready with the number of bytes, 0 at the end.
    pub(in crate::protocol::http) fn poll_receive(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.received
            .borrow_mut()
            .poll_fill(cx, &self.stream, Amount::Usual)
    }

    /// Whether bytes of a request are there. An empty line before it is dropped and taken off those
    /// that are left; half of one is waited for.
    pub(in crate::protocol::http) fn has_request_begun(&self, empty_lines: &mut u32) -> bool {
        let mut received = self.received.borrow_mut();
        while *empty_lines > 0 && received.bytes().starts_with(b"\r\n") {
            received.consume(2);
            *empty_lines -= 1;
        }
        match received.bytes() {
            [] => false,
            [b'\r'] => *empty_lines == 0,
            _ => true,
        }
    }

    /// Ready once the client has gone, while its request is being served. What it sends meanwhile
    /// is the next request, and waits.
    ///
    /// An end of its side may mean that it has closed the connection, or that it has nothing more
    /// to say and listens (RFC 9112 §9.6 leaves that open). It is given a moment: an answer that
    /// comes soon, or goes on coming, arrives; a slow endpoint does not work for nobody.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(ended) = self.ended.get() {
            return ended.poll_passed(cx);
        }
        while self.has_whole_request() && !self.received.borrow().is_full() {
            match ready!(self.poll_receive(cx)) {
                Ok(count) if count > 0 => {}
                // Within TLS many end their side without a word; all of the request has come.
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(());
                }
                Ok(_) | Err(_) => {
                    self.ended.get_or_init(Box::default);
                    self.grant();
                    return self.poll_gone(cx);
                }
            }
        }
        Poll::Pending
    }

    /// Gives a client that has ended its side a further moment.
    pub(super) fn grant(&self) {
        if let Some(ended) = self.ended.get() {
            ended.set(HALF_CLOSED);
        }
    }

    /// Ends a connection on which the client may still be sending (RFC 9112 §9.6): our side is
    /// closed, and what comes is thrown away for a moment, since closing at once would reset the
    /// connection and so destroy the response on its way.
    pub(super) async fn linger(&self, deadline: &Deadline) {
        deadline.set(LINGER);
        let ended = poll_fn(|cx| self.stream.poll_shutdown_write(cx));
        if !matches!(deadline.guard(ended).await, Some(Ok(()))) {
            return;
        }
        let mut left = LINGER_BYTES;
        let drained = poll_fn(|cx| {
            while left > 0 {
                let mut received = self.received.borrow_mut();
                let waiting = received.bytes().len();
                received.consume(waiting);
                match ready!(received.poll_fill(cx, &self.stream, Amount::Usual)) {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    Ok(_) | Err(_) => break,
                }
            }
            Poll::Ready(())
        });
        _ = deadline.guard(drained).await;
    }
}

impl RequestBody {
    pub(super) fn new(client: Rc<Client>, decoder: Decoder) -> Self {
        Self { client, decoder }
    }

    /// Takes in that so many bytes of it came.
    fn took(&mut self, count: usize) {
        self.client.took(count);
        if self.decoder.is_done() {
            self.end();
        }
    }

    /// All of it has come.
    fn end(&self) {
        if let Some(http1) = self.client.http1() {
            http1.body.set(BodyState::Received);
        }
    }

    /// Its connection has ended, or broken.
    fn cut(&self) -> BodyError {
        self.client.fail();
        BodyError::Truncated
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        let Some(http1) = self.client.http1() else {
            return Poll::Ready(None);
        };
        if http1.has_whole_request() {
            return Poll::Ready(None);
        }
        let mut received = http1.received.borrow_mut();
        loop {
            match self.decoder.decode(received.bytes()) {
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
                Ok(Decoded::Data { skip, length }) => {
                    let bytes = received.take(skip, length);
                    drop(received);
                    self.took(length);
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Ok(Decoded::End { consumed, trailers }) => {
                    received.consume(consumed);
                    self.end();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::More { consumed }) => received.consume(consumed),
            }
            let amount = Amount::for_rest(self.decoder.left());
            match ready!(received.poll_fill(cx, &http1.stream, amount)) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return Poll::Ready(Some(Err(self.cut()))),
            }
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<NextFrame> {
        self.get_mut().poll_next(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.client.has_whole_request()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder
            .left()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Flow for RequestBody {
    fn can_be_drawn(&self) -> bool {
        self.client.http1().is_some_and(|http1| {
            let received = http1.received.borrow();
            !http1.has_whole_request() && can_draw(&http1.stream, &received, &self.decoder)
        })
    }

    fn poll_draw(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        let body = self.get_mut();
        let Some(http1) = body.client.http1() else {
            return Poll::Ready(Ok(0));
        };
        let drawn = {
            let received = &mut *http1.received.borrow_mut();
            poll_draw(cx, (&http1.stream, received), &mut body.decoder, conduit)
        };
        match ready!(drawn) {
            Ok(count) if count > 0 => {
                body.took(count);
                Poll::Ready(Ok(count))
            }
            Ok(_) | Err(_) => Poll::Ready(Err(body.cut())),
        }
    }
}

/// How long a client that has ended its side is taken to listen while nothing is said to it.
const HALF_CLOSED: Duration = Duration::from_secs(1);
