//! The life of one request: its head, its route, its answer, its record.

use std::cell::{Cell, OnceCell};

use http::{HeaderValue, Method, Version, header};
use tokio::time::Instant;

use super::connection::{Connection, Next};
use super::grpc::GrpcCall;
use super::head::{NoHead, read_head};
use super::hedge::Interims;
use super::rare::Rare;
use super::record::{Record, Who};
use super::respond::Cause;
use super::terms::Terms;
use super::waiting::nanoseconds;
use crate::body::Body;
use crate::http1::{Framing, RequestHead};
use crate::message::{Fields, RequestParts, Value};
use crate::policy::deadline::Given;
use crate::policy::{self, Arrival};
use crate::route::{Question, host};
use crate::snapshot::{HttpListener, Route, UnderWay};

/// A request that is being served, and what it is served by.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) connection: &'a Connection,
    pub(super) terms: &'a Terms,
    pub(super) route: &'a Route,
    pub(super) record: &'a Record,
    /// What the head said of the message itself.
    pub(super) message: Message,
    pub(super) peer_is_trusted: bool,
    /// Whether it is counted within the limit of its route.
    pub(super) is_within: Cell<bool>,
    /// When the whole request is overdue.
    pub(super) overdue: Cell<Option<Instant>>,
    /// What a field of the client's said of that.
    pub(super) given: Cell<Option<Given>>,
    /// When the attempt under way is, until it brings a response.
    pub(super) attempt_overdue: Cell<Option<Instant>>,
    /// In nanoseconds, which take half the room of a [`Duration`].
    pub(super) body_idle: Cell<u64>,
    /// The last look at the clock: what need not be exact to the microsecond does without its own.
    pub(super) now: Cell<Instant>,
    /// When the waiting began, for a client or an endpoint.
    pub(super) waiting_since: Cell<Option<Instant>>,
    /// What few have, in a box.
    pub(super) rare: OnceCell<Box<Rare>>,
    pub(super) interims: Cell<Interims>,
    /// Whether others need not try again what fails here.
    pub(super) is_final: Cell<bool>,
    /// `None` beside another one of the same request.
    pub(super) under_way: Option<UnderWay<'a>>,
}

/// What a request's head says of the message, rather than to its recipient.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) framing: Framing,
    pub(super) upgrade: Option<Box<HeaderValue>>,
    pub(super) te_trailers: bool,
    pub(super) version: Version,
    pub(super) persistent: bool,
    /// Whether the client may wait with its body until it is told to send it (`Expect`).
    pub(super) awaits_go_ahead: Cell<bool>,
}

/// Serves the request that begins with the bytes that are there or about to be.
pub(super) async fn run(connection: &Connection, terms: &Terms) -> Next {
    let record = OnceCell::new();
    let exchange = OnceCell::new();
    // What is not needed to send the answer goes with this block, and its room is used again: a
    // future has that room only for what one of its waits needs and no other.
    let answered = async {
        let began = Instant::now();
        let mut head = None;
        let read = read_head(connection, &terms.listener, began, &mut head).await;
        let (now, head) = match (read, &mut head) {
            (Ok(now), Some(head)) => (now, head),
            (Ok(_), None) => return Err(Next::Ended),
            (Err(none), _) => return Err(no_request(connection, terms, none, began).await),
        };
        let cells = (&record, &exchange);
        let (exchange, mut body, matched) = set_out(connection, terms, cells, head, (began, now));
        match exchange.answer(&mut head.parts, &mut body, matched).await {
            Some(answer) => Ok((exchange, answer)),
            None => Err(exchange.abandon()),
        }
    };
    let (exchange, answer) = match answered.await {
        Ok(answered) => answered,
        Err(next) => return next,
    };
    let mut sending = exchange.start(answer);
    exchange.finish(&mut sending).await
}

/// Serves a request whose head has been read, on its stream.
pub(super) async fn serve(connection: &Connection, terms: &Terms, head: Box<RequestHead>) -> Next {
    let record = OnceCell::new();
    let exchange = OnceCell::new();
    let answered = async {
        let mut head = head;
        let now = Instant::now();
        let cells = (&record, &exchange);
        let set_out = set_out(connection, terms, cells, &mut head, (now, now));
        let (exchange, mut body, matched) = set_out;
        match exchange.answer(&mut head.parts, &mut body, matched).await {
            Some(answer) => Ok((exchange, exchange.in_earnest(answer))),
            None => Err(exchange.abandon()),
        }
    };
    let (exchange, answer) = match answered.await {
        Ok(answered) => answered,
        Err(next) => return next,
    };
    let mut sending = exchange.start(answer);
    exchange.finish(&mut sending).await
}

/// Makes an exchange of a request whose head is there: who asks, by which route, with what body,
/// and how much of the path the route's prefix took.
#[inline]
fn set_out<'e, 'a>(
    connection: &'a Connection,
    terms: &'a Terms,
    (record, exchange): (&'a OnceCell<Record>, &'e OnceCell<Exchange<'a>>),
    head: &mut RequestHead,
    (began, now): (Instant, Instant),
) -> (&'e Exchange<'a>, Body, usize) {
    let record = record.get_or_init(|| begin(terms, head, (began, now)));
    let body = connection.client.request_body(head.framing, head.trailers);
    let is_trusted = identify(connection, terms, head, record);
    let (route, matched) = if is_misdirected(connection, terms, &head.parts) {
        (&*terms.listener.unrouted, 0)
    } else {
        find_route(&terms.listener, &head.parts, record.scheme.get())
    };
    let said = (message(head), is_trusted);
    let exchange =
        exchange.get_or_init(|| Exchange::new(connection, terms, (route, record), said, now));
    (exchange, body, matched)
}

/// Answers where there is no request, if there is somebody to answer.
async fn no_request(connection: &Connection, terms: &Terms, none: NoHead, began: Instant) -> Next {
    let cause = match none {
        NoHead::Gone => return Next::Ended,
        NoHead::Late => Cause::RequestHeadTimeout,
        NoHead::Refused(error) => {
            let peer = connection.client.facts.peer;
            tracing::debug!(%peer, why = %error, "request refused");
            Cause::of_bad_request(error.status())
        }
    };
    Box::pin(refuse(connection, terms, cause, began)).await
}

/// Answers what is no request that could be served, and ends the connection.
pub(super) async fn refuse(
    connection: &Connection,
    terms: &Terms,
    cause: Cause,
    began: Instant,
) -> Next {
    connection.client.no_request();
    let now = Instant::now();
    let version = connection.client.version();
    let record = unread(terms, version, (began, now));
    let message = Message {
        framing: Framing::None,
        upgrade: None,
        te_trailers: false,
        version,
        persistent: false,
        awaits_go_ahead: Cell::new(false),
    };
    let route = &terms.listener.unrouted;
    let said = (message, false);
    let exchange = Exchange::new(connection, terms, (route, &record), said, now);
    let mut sending = exchange.start(exchange.own(&Fields::new(), cause, None));
    exchange.finish(&mut sending).await
}

/// Keeps the record of what is no request that could be served, and is not answered: there is no
/// stream to answer on any more.
pub(super) fn note_refused(terms: &Terms, who: &Who<'_>, cause: Cause) {
    let now = Instant::now();
    let record = unread(terms, Version::HTTP_2, (now, now));
    record.cause.set(Some(cause));
    record.end.set(cause.end());
    let Terms {
        snapshot, listener, ..
    } = terms;
    let status = cause.status().as_u16();
    record.finish_unanswered(who, snapshot, &listener.unrouted, status);
}

/// Begins the record of what could not be read.
fn unread(terms: &Terms, version: Version, (began, now): (Instant, Instant)) -> Record {
    // Its method is not known; this one is counted with those that are not.
    let method = Method::from_bytes(b"_OTHER").unwrap_or_default();
    let mut record = Record::new(method, began);
    record.waited(now - began);
    if terms.snapshot.access_log {
        record.keep_unread(version);
    }
    record
}

/// Begins the record of a request whose head is there.
fn begin(terms: &Terms, head: &RequestHead, (began, now): (Instant, Instant)) -> Record {
    let mut record = Record::new(head.parts.method.clone(), began);
    if now != began {
        record.waited(now - began);
    }
    if terms.snapshot.access_log {
        record.keep(&head.parts);
    }
    if let Some(call) = GrpcCall::of(&head.parts) {
        record.keep_call(call);
    }
    record
}

/// Finds out who asks, and has it said in the fields and the record. Whether the peer is trusted.
fn identify(
    connection: &Connection,
    terms: &Terms,
    head: &mut RequestHead,
    record: &Record,
) -> bool {
    let (headers, facts) = (&mut head.parts.headers, &connection.client.facts);
    let forwarding = &terms.listener.forwarding;
    let local = &connection.local;
    let is_secure = connection.client.stream().is_secure() || facts.was_secure();
    let arrival = Arrival {
        peer: facts.peer,
        may_be_believed: facts.may_be_believed(),
        scheme: if is_secure { "https" } else { "http" },
        id: facts.proxied.as_ref().and_then(|proxied| proxied.take_id()),
    };
    let identity = local.with_random(|random| forwarding.apply(headers, arrival, random));
    if let Some(certificate) = connection.client.stream().client_certificate() {
        policy::tell_certificate(headers, certificate);
    }
    record.scheme.set(identity.scheme);
    record.client.set(Some(identity.client));
    record.request_id.get_or_init(|| identity.request_id);
    identity.peer_is_trusted
}

/// What a head said of its message.
fn message(head: &mut RequestHead) -> Message {
    Message {
        framing: head.framing,
        // A request with a body is not sent on as one that wants to switch, so no answer to it may.
        upgrade: head.upgrade.take().filter(|_| !head.framing.has_body()),
        te_trailers: head.te_trailers,
        version: head.parts.version,
        persistent: head.persistent,
        awaits_go_ahead: Cell::new(head.expect_continue),
    }
}

/// Whether a request is for a host whose clients are asked for another certificate than this one
/// was (RFC 9110 §15.5.20). The client may ask again, on a connection that it opens for that host;
/// so may one that was let in before a reload changed the rule.
pub(super) fn is_misdirected(connection: &Connection, terms: &Terms, parts: &RequestParts) -> bool {
    let Some(rules) = &terms.listener.client_rules else {
        return false;
    };
    let host = parts.headers.get(header::HOST).and_then(Value::to_str);
    let agreed = connection.client.stream().client().map(|facts| &facts.rule);
    rules.of(host.map(host::bare)) != agreed
}

/// The route of a request, and how much of its path the route's prefix took.
fn find_route<'a>(
    listener: &'a HttpListener,
    parts: &RequestParts,
    scheme: &str,
) -> (&'a Route, usize) {
    let (routes, fallback) = listener.routing(scheme);
    if routes.is_empty() {
        return (fallback, 0);
    }
    let host = parts.headers.get(header::HOST).and_then(Value::to_str);
    // `OPTIONS *` asks about the server as a whole: it goes where everything goes.
    let target = parts.uri.path();
    let question = Question {
        host: host.unwrap_or_default(),
        path: if target == "*" { "/" } else { target },
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    match routes.find(&question) {
        Some(found) => (found.target, found.prefix),
        None => (fallback, 0),
    }
}

/// A request that a fault of ours ends is told by the fault, and not here.
impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.leave_route();
        if !self.record.is_finished() && !std::thread::panicking() {
            self.cut();
        }
    }
}

impl<'a> Exchange<'a> {
    /// An exchange that has waited for nobody yet.
    fn new(
        connection: &'a Connection,
        terms: &'a Terms,
        (route, record): (&'a Route, &'a Record),
        (message, peer_is_trusted): (Message, bool),
        now: Instant,
    ) -> Self {
        Self {
            connection,
            terms,
            route,
            record,
            message,
            peer_is_trusted,
            overdue: Cell::new(None),
            given: Cell::new(None),
            attempt_overdue: Cell::new(None),
            body_idle: Cell::new(nanoseconds(terms.listener.timeouts.body_idle)),
            now: Cell::new(now),
            waiting_since: Cell::new(None),
            rare: OnceCell::new(),
            interims: Cell::default(),
            is_final: Cell::default(),
            under_way: Some(route.metrics.begin()),
            is_within: Cell::new(false),
        }
    }
}
