//! The client's side of a connection: its stream, what it has sent, and the body it is sending.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use crate::body::{Body, BodyError, Conduit, Flow, NextFrame};
use crate::context::ConnectionFacts;
use crate::http1::{
    Amount, Decoded, Decoder, Framing, Outgoing, Received, SendError, Trailers, can_draw, poll_draw,
};
use crate::net::Stream;
use crate::time::Deadline;

/// A client's connection. The request's body and the response share it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) stream: Stream,
    pub(super) facts: ConnectionFacts,
    pub(super) received: RefCell<Received>,
    /// The one deadline of the connection: whoever waits sets it.
    pub(super) deadline: Deadline,
    body: Cell<BodyState>,
    body_bytes: Cell<u64>,
    has_failed: Cell<bool>,
    /// Set once the client has ended its side: when it counts as gone.
    ended: OnceCell<Box<Deadline>>,
    rests_since: Cell<Option<Instant>>,
}

/// What has become of the body of the request under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BodyState {
    /// There is none, or it has been received wholly.
    Received,
    /// Some of it is still to come.
    Coming,
}

/// A message on its way. If it does not get to its end (also because its task is dropped with the
/// worker), the connection must end by a reset: to a client of HTTP/1.0 a close would be the end of
/// a body that is whole.
#[derive(Debug)]
struct Unfinished<'a> {
    stream: &'a Stream,
    is_cut: bool,
}

/// The body of a request, read from its client's connection as it is asked for.
#[derive(Debug)]
struct RequestBody {
    client: Rc<Client>,
    decoder: Decoder,
}

impl Client {
    pub(super) fn new(stream: Stream, facts: ConnectionFacts) -> Self {
        Self {
            stream,
            facts,
            received: RefCell::default(),
            deadline: Deadline::default(),
            body: Cell::new(BodyState::Received),
            body_bytes: Cell::new(0),
            has_failed: Cell::new(false),
            ended: OnceCell::new(),
            rests_since: Cell::new(None),
        }
    }

    /// A request has ended.
    pub(super) fn rests(&self, now: Instant) {
        self.rests_since.set(Some(now));
    }

    /// When the last request ended; before the first one, when this was first asked.
    pub(super) fn rests_since(&self) -> Instant {
        let since = self.rests_since.get().unwrap_or_else(Instant::now);
        self.rests_since.set(Some(since));
        since
    }

    /// The body of the request whose head has just been consumed.
    pub(super) fn request_body(self: &Rc<Self>, framing: Framing, trailers: Trailers) -> Body {
        self.body_bytes.set(0);
        self.grant();
        if !framing.has_body() || framing == Framing::UntilClose {
            self.body.set(BodyState::Received);
            return Body::empty();
        }
        self.body.set(BodyState::Coming);
        Body::stream(RequestBody {
            client: Rc::clone(self),
            decoder: Decoder::with_trailers(framing, trailers),
        })
    }

    /// Forgets the request before: what has come is none.
    pub(super) fn no_request(&self) {
        self.body_bytes.set(0);
    }

    /// Whether the request under way has been received wholly, so that another may follow.
    pub(super) fn has_whole_request(&self) -> bool {
        self.body.get() == BodyState::Received
    }

    /// Whether nothing that the client has sent, or is known to be sending, is left unread: then
    /// the connection can be closed at once without a reset.
    pub(super) fn is_silent(&self) -> bool {
        self.has_whole_request() && self.received.borrow().is_empty()
    }

    /// Whether reading from the client has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    /// Bytes of the body of the request under way.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes.get()
    }

    /// Reads what the client sends next. Ready with the number of bytes, 0 at the end.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.received
            .borrow_mut()
            .poll_fill(cx, &self.stream, Amount::Usual)
    }

    /// Whether bytes of a request are there. An empty line before it is dropped and taken off those
    /// that are left; half of one is waited for.
    pub(super) fn has_request_begun(&self, empty_lines: &mut u32) -> bool {
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
            ready!(ended.poll_passed(cx));
            self.has_failed.set(true);
            return Poll::Ready(());
        }
        while self.has_whole_request() && !self.received.borrow().is_full() {
            match ready!(self.poll_receive(cx)) {
                Ok(count) if count > 0 => {}
                // Within TLS many end their side without a word; all of the request has come.
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    self.has_failed.set(true);
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
    fn grant(&self) {
        if let Some(ended) = self.ended.get() {
            ended.set(HALF_CLOSED);
        }
    }

    /// Sends a message; `None` if the deadline passed, which `limit` sets whenever something moved.
    /// A future that is dropped before it is ready cuts the connection.
    ///
    /// No `async fn`: its future would hold the arguments twice, and so would each exchange.
    pub(super) fn send<'a>(
        &'a self,
        outgoing: &'a mut Outgoing,
        limit: impl Fn() + 'a,
    ) -> impl Future<Output = Option<Result<(), SendError>>> + 'a {
        let mut armed = None;
        let mut unfinished = Unfinished {
            stream: &self.stream,
            is_cut: true,
        };
        poll_fn(move |cx| {
            if let Poll::Ready(result) = outgoing.poll_send(cx, &self.stream) {
                unfinished.ends(result.is_err());
                return Poll::Ready(Some(result));
            }
            outgoing.poll_behind(cx);
            let sent = outgoing.progress() + self.stream.sent_behind();
            let progress = (sent, self.body_bytes());
            if armed != Some(progress) {
                armed = Some(progress);
                limit();
                self.grant();
            }
            if self.poll_gone(cx).is_ready() {
                let error = io::Error::from(io::ErrorKind::ConnectionReset);
                return Poll::Ready(Some(Err(error.into())));
            }
            self.deadline.poll_passed(cx).map(|()| None)
        })
    }

    /// Ends a connection on which the client may still be sending (RFC 9112 §9.6): our side is
    /// closed, and what comes is thrown away for a moment, since closing at once would reset the
    /// connection and so destroy the response on its way.
    pub(super) async fn linger(&self) {
        self.deadline.set(LINGER);
        let ended = poll_fn(|cx| self.stream.poll_shutdown_write(cx));
        if !matches!(self.deadline.guard(ended).await, Some(Ok(()))) {
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
        _ = self.deadline.guard(drained).await;
    }
}

impl Unfinished<'_> {
    /// Sending is over; `is_cut` unless all of it has left. A method, since a closure that moves
    /// what it uses would take a copy of the field and leave the guard behind.
    fn ends(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.is_cut {
            self.stream.reset_on_close();
        }
    }
}

impl RequestBody {
    /// Takes in that so many bytes of it came.
    fn took(&mut self, count: usize) {
        let client = &self.client;
        client
            .body_bytes
            .set(client.body_bytes.get() + count as u64);
        if self.decoder.is_done() {
            client.body.set(BodyState::Received);
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<NextFrame> {
        if self.client.has_whole_request() {
            return Poll::Ready(None);
        }
        let mut received = self.client.received.borrow_mut();
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
                    self.client.body.set(BodyState::Received);
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::More { consumed }) => received.consume(consumed),
            }
            let amount = Amount::for_rest(self.decoder.left());
            match ready!(received.poll_fill(cx, &self.client.stream, amount)) {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => {
                    self.client.has_failed.set(true);
                    return Poll::Ready(Some(Err(BodyError::Truncated)));
                }
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
        let Client {
            stream, received, ..
        } = &*self.client;
        !self.client.has_whole_request() && can_draw(stream, &received.borrow(), &self.decoder)
    }

    fn poll_draw(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        conduit: &mut dyn Conduit,
    ) -> Poll<Result<usize, BodyError>> {
        let body = self.get_mut();
        let drawn = {
            let Client {
                stream, received, ..
            } = &*body.client;
            let received = &mut *received.borrow_mut();
            poll_draw(cx, (stream, received), &mut body.decoder, conduit)
        };
        match ready!(drawn) {
            Ok(count) if count > 0 => {
                body.took(count);
                Poll::Ready(Ok(count))
            }
            Ok(_) | Err(_) => {
                body.client.has_failed.set(true);
                Poll::Ready(Err(BodyError::Truncated))
            }
        }
    }
}

/// Enough for the last packets of a client that is sending to arrive and for our close to reach it.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client that has ended its side is taken to listen while nothing is said to it.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// More than what can be under way when the response starts to travel; throwing it away is cheap.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
