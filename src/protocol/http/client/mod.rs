//! The client's side of a request: what carries it, the body it is sending, and whether it has
//! gone.

mod http1;
mod http2;
mod outgoing;

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::http::Version;
use bytes::Bytes;
use tokio::time::Instant;

use crate::body::Body;
use crate::context::ConnectionFacts;
use crate::http1::{Decoder, Framing, Trailers};
use crate::http2::{Stream as Http2, StreamError};
use crate::net::Stream;
use crate::time::Deadline;

use self::http1::{BodyState, RequestBody};
use self::http2::StreamBody;
use super::bulkhead::Routes;

pub(super) use self::http1::Http1;
pub(super) use self::outgoing::{Outgoing, SendError};

/// A client: its connection, or one stream of it. The request's body and the response share it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) facts: ConnectionFacts,
    /// The one deadline of what carries the request: whoever waits sets it.
    pub(super) deadline: Deadline,
    transport: Transport,
    body_bytes: Cell<u64>,
    has_failed: Cell<bool>,
    rests_since: Cell<Option<Instant>>,
}

/// What carries requests.
#[derive(Debug)]
enum Transport {
    /// A connection: one after the other.
    Http1(Http1),
    /// A stream: this one, and the routes of all of its connection.
    Http2(Http2, Rc<Routes>),
}

/// What a client was when it left HTTP.
#[derive(Debug)]
pub(super) enum Left {
    /// All of a connection.
    Connection(Stream),
    /// One stream.
    Stream(Http2),
}

impl Left {
    /// The socket, which may be that of many streams.
    pub(super) fn stream(&self) -> &Stream {
        match self {
            Self::Connection(stream) => stream,
            Self::Stream(stream) => stream.connection().stream(),
        }
    }
}

/// Who sends a message.
pub(super) trait Sender {
    /// Something moved: sets the deadline anew.
    fn moved(&self);

    /// The message does not go on; with no error, the deadline has passed. False if the client
    /// could not be told in order.
    fn break_off(&self, outgoing: &mut Outgoing, error: Option<&SendError>) -> bool;
}

/// A message on its way. If it does not get to its end (also because its task is dropped with the
/// worker), the connection must end by a reset: to a client of HTTP/1.0 a close would be the end of
/// a body that is whole. A stream ends by one in the same way.
#[derive(Debug)]
struct Unfinished<'a> {
    client: &'a Client,
    is_cut: bool,
}

impl Client {
    /// A connection on which one request comes after the other.
    pub(super) fn new(stream: Stream, facts: ConnectionFacts) -> Self {
        Self::of(Transport::Http1(Http1::new(stream)), facts)
    }

    /// A stream on which one request has come, beside those of these routes.
    pub(super) fn on_stream(stream: Http2, routes: Rc<Routes>, facts: ConnectionFacts) -> Self {
        Self::of(Transport::Http2(stream, routes), facts)
    }

    fn of(transport: Transport, facts: ConnectionFacts) -> Self {
        Self {
            facts,
            deadline: Deadline::default(),
            transport,
            body_bytes: Cell::new(0),
            has_failed: Cell::new(false),
            rests_since: Cell::new(None),
        }
    }

    /// The socket, which may be that of many streams: for what is known of the other end, not for
    /// its bytes.
    pub(super) fn stream(&self) -> &Stream {
        match &self.transport {
            Transport::Http1(http1) => &http1.stream,
            Transport::Http2(stream, _) => stream.connection().stream(),
        }
    }

    /// The version of what cannot be read.
    pub(super) fn version(&self) -> Version {
        match &self.transport {
            Transport::Http1(_) => Version::HTTP_11,
            Transport::Http2(..) => Version::HTTP_2,
        }
    }

    /// The connection, where it is all the client's.
    pub(super) fn http1(&self) -> Option<&Http1> {
        match &self.transport {
            Transport::Http1(http1) => Some(http1),
            Transport::Http2(..) => None,
        }
    }

    /// The stream, where that is what carries the request.
    pub(super) fn http2(&self) -> Option<&Http2> {
        match &self.transport {
            Transport::Http1(_) => None,
            Transport::Http2(stream, _) => Some(stream),
        }
    }

    /// The routes of all requests on its connection, where that carries many.
    pub(super) fn routes(&self) -> Option<&Rc<Routes>> {
        match &self.transport {
            Transport::Http1(_) => None,
            Transport::Http2(_, routes) => Some(routes),
        }
    }

    /// The connection that leaves HTTP/1.1, with what has come on it; `None` where it is not all
    /// the client's.
    pub(super) fn into_connection(self) -> Option<(Stream, Bytes, ConnectionFacts)> {
        match self.transport {
            Transport::Http1(Http1 {
                stream, received, ..
            }) => Some((stream, received.into_inner().into_bytes(), self.facts)),
            Transport::Http2(..) => None,
        }
    }

    /// What leaves HTTP, with what has come and nobody has read. What has come on a stream waits
    /// there.
    pub(super) fn leave(self) -> (Left, Bytes, ConnectionFacts) {
        match self.transport {
            Transport::Http1(Http1 {
                stream, received, ..
            }) => {
                let received = received.into_inner().into_bytes();
                (Left::Connection(stream), received, self.facts)
            }
            Transport::Http2(stream, _) => (Left::Stream(stream), Bytes::new(), self.facts),
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

    /// The body of the request whose head has just been taken.
    pub(super) fn request_body(self: &Rc<Self>, framing: Framing, trailers: Trailers) -> Body {
        self.body_bytes.set(0);
        self.grant();
        let has_body = framing.has_body() && framing != Framing::UntilClose;
        match &self.transport {
            Transport::Http1(http1) if !has_body => {
                http1.body.set(BodyState::Received);
                Body::empty()
            }
            Transport::Http1(http1) => {
                http1.body.set(BodyState::Coming);
                let decoder = Decoder::with_trailers(framing, trailers);
                Body::stream(RequestBody::new(Rc::clone(self), decoder))
            }
            Transport::Http2(..) if !has_body => Body::empty(),
            Transport::Http2(..) => Body::stream(StreamBody::new(Rc::clone(self))),
        }
    }

    /// Forgets the request before: what has come is none.
    pub(super) fn no_request(&self) {
        self.body_bytes.set(0);
    }

    /// Whether the request under way has been received wholly.
    pub(super) fn has_whole_request(&self) -> bool {
        match &self.transport {
            Transport::Http1(http1) => http1.has_whole_request(),
            Transport::Http2(stream, _) => stream.has_ended(),
        }
    }

    /// Whether reading from the client has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.get()
    }

    /// Reading from the client has failed.
    fn fail(&self) {
        self.has_failed.set(true);
    }

    /// Bytes of the body of the request under way.
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes.get()
    }

    /// So many more of them have been taken.
    fn took(&self, count: usize) {
        self.body_bytes.set(self.body_bytes.get() + count as u64);
    }

    /// Ready once the client has gone, while its request is being served: it has reset its stream,
    /// or [its connection](Http1::poll_gone) has ended.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.transport {
            Transport::Http1(http1) => ready!(http1.poll_gone(cx)),
            Transport::Http2(stream, _) => drop(ready!(stream.poll_broken(cx))),
        }
        self.fail();
        Poll::Ready(())
    }

    /// Whether it is gone since what it said on its stream was malformed, and that has been reset.
    pub(super) fn is_malformed(&self) -> bool {
        let broken = self.http2().and_then(Http2::broken);
        matches!(broken, Some(StreamError::Malformed(_)))
    }

    /// Gives a client that has ended its side a further moment.
    fn grant(&self) {
        if let Transport::Http1(http1) = &self.transport {
            http1.grant();
        }
    }

    /// Bytes that have left behind those who wrote them.
    fn sent_behind(&self) -> u64 {
        match &self.transport {
            Transport::Http1(http1) => http1.stream.sent_behind(),
            Transport::Http2(..) => 0,
        }
    }

    /// Has what carries the request end by a reset.
    pub(super) fn cut(&self) {
        match &self.transport {
            Transport::Http1(http1) => http1.stream.reset_on_close(),
            Transport::Http2(stream, _) => stream.cut(),
        }
    }

    /// Ends what carries the request gently, although the client may still be sending: nobody wants
    /// that any more.
    pub(super) async fn linger(&self) {
        match &self.transport {
            Transport::Http1(http1) => http1.linger(&self.deadline).await,
            Transport::Http2(stream, _) => http2::linger(stream, &self.deadline).await,
        }
    }

    /// Sends a message; `None` if the deadline passed, which the sender sets whenever something
    /// moved. Where it cannot go on, the sender may tell the client in order; else, or if the
    /// future is dropped before it is ready, the connection is cut, or the stream.
    ///
    /// No `async fn`: its future would hold the arguments twice, and so would each exchange.
    pub(super) fn send<'a>(
        &'a self,
        outgoing: &'a mut Outgoing,
        sender: &'a impl Sender,
    ) -> impl Future<Output = Option<Result<(), SendError>>> + 'a {
        let mut armed = None;
        let mut unfinished = Unfinished {
            client: self,
            is_cut: true,
        };
        poll_fn(move |cx| {
            if let Poll::Ready(result) = outgoing.poll_send(cx, self) {
                let error = result.as_ref().err();
                unfinished
                    .ends(error.is_some_and(|error| !sender.break_off(outgoing, Some(error))));
                return Poll::Ready(Some(result));
            }
            outgoing.poll_behind(cx);
            let sent = outgoing.progress() + self.sent_behind();
            let progress = (sent, self.body_bytes());
            if armed != Some(progress) {
                armed = Some(progress);
                sender.moved();
                self.grant();
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Some(Err(SendError::Gone)));
            }
            ready!(self.deadline.poll_passed(cx));
            unfinished.ends(!sender.break_off(outgoing, None));
            Poll::Ready(None)
        })
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
            self.client.cut();
        }
    }
}

/// Enough for the last packets of a client that is sending to arrive and for our close to reach it.
const LINGER: Duration = Duration::from_secs(2);

/// More than what can be under way when the response starts to travel; throwing it away is cheap.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
