//! The life of one request: its head, its route, its answer, its record.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, Version, header};
use http_body::Body as _;
use tokio::time::Instant;

use super::connection::{Connection, Next};
use super::forward;
use super::record::{Ending, Record};
use super::respond::{Asked, Cause, Details, options, respond};
use super::upgrade::Tunnel;
use crate::body::{Body, BodyError};
use crate::http1::{
    Buffer, Framing, Outgoing, RequestError, RequestHead, ResponseFraming, ResponseOptions,
    SendError,
    encode_response, resume_request,
};
use crate::policy::forwarding::X_REQUEST_ID;
use crate::policy::{self, MaxForwards};
use crate::route::{Question, path};
use crate::snapshot::{Action, CallTimeouts, HttpListener, Kind, Route, Snapshot};
use crate::telemetry::access::End;

/// A request that is being served, and what it is served by.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) connection: &'a Connection,
    pub(super) snapshot: &'a Snapshot,
    pub(super) listener: &'a HttpListener,
    pub(super) route: &'a Route,
    pub(super) record: &'a Record,
    /// What the head said of the message itself.
    pub(super) message: Message,
    pub(super) peer_is_trusted: bool,
    /// As the client sees it: a trusted proxy in front may have taken TLS off.
    scheme: &'static str,
    /// When the whole request is overdue.
    overdue: Cell<Option<Instant>>,
    /// When the attempt under way is, until it brings a response.
    pub(super) attempt_overdue: Cell<Option<Instant>>,
    body_idle: Cell<Duration>,
}

/// What a request's head says of the message, rather than to its recipient.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) framing: Framing,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) te_trailers: bool,
    pub(super) version: Version,
    accept: Option<HeaderValue>,
    persistent: bool,
}

/// An answer: a response, and the tunnel that begins behind it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    pub(super) tunnel: Option<Box<Tunnel>>,
    /// What the response's own field said: endpoints choose a protocol, and the client is told which.
    pub(super) upgrade: Option<HeaderValue>,
}

/// Why there is no request to serve.
enum NoHead {
    /// The client ended or was lost.
    Gone,
    /// Nothing has begun: the readiness was about bytes that had been read already.
    Nothing,
    /// The head did not end in time.
    Late,
    /// The head is refused.
    Refused(RequestError),
}

/// Serves the request that begins with the bytes that are there or about to be.
pub(super) async fn run(connection: &Connection) -> Next {
    let snapshot = connection.local.snapshot();
    let Some(listener) = snapshot.listener(&connection.facts.listener) else { return Next::Close };
    let Kind::Http(listener) = &listener.kind else { return Next::Close };
    match read_head(connection, listener).await {
        Ok(head) => serve(connection, &snapshot, listener, head).await,
        Err(NoHead::Gone) => Next::Ended,
        Err(NoHead::Nothing) => Next::Again,
        Err(NoHead::Late) => refuse(connection, &snapshot, listener, Cause::RequestTimeout).await,
        Err(NoHead::Refused(error)) => {
            tracing::debug!(peer = %connection.facts.peer, why = %error, "request refused");
            refuse(connection, &snapshot, listener, Cause::of_bad_request(error.status())).await
        }
    }
}

async fn read_head(
    connection: &Connection,
    listener: &HttpListener,
) -> Result<RequestHead, NoHead> {
    let client = &connection.client;
    let mut armed = false;
    let mut seen = 0;
    poll_fn(|cx| {
        loop {
            let there = client.received.borrow().bytes().len();
            let parsed =
                resume_request(client.received.borrow().bytes(), seen, listener.limits);
            match parsed {
                Ok(Some(head)) => {
                    client.received.borrow_mut().consume(head.size);
                    return Poll::Ready(Ok(head));
                }
                Ok(None) => seen = there,
                Err(error) => return Poll::Ready(Err(NoHead::Refused(error))),
            }
            match client.poll_receive(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(Err(NoHead::Gone)),
                Poll::Pending if client.received.borrow().is_empty() => {
                    return Poll::Ready(Err(NoHead::Nothing));
                }
                Poll::Pending => break,
            }
        }
        if !armed {
            armed = true;
            client.deadline.set(listener.timeouts.request_head);
        }
        client.deadline.poll_passed(cx).map(|()| Err(NoHead::Late))
    })
    .await
}

/// Answers what is no request that could be served, and ends the connection.
async fn refuse(
    connection: &Connection,
    snapshot: &Snapshot,
    listener: &HttpListener,
    cause: Cause,
) -> Next {
    let record = Record::new(Method::default());
    record.cause.set(Some(cause));
    record.end.set(End::Denied);
    let exchange = Exchange {
        connection,
        snapshot,
        listener,
        route: &listener.unrouted,
        record: &record,
        message: Message {
            framing: Framing::None,
            upgrade: None,
            te_trailers: false,
            version: Version::HTTP_11,
            accept: None,
            persistent: false,
        },
        peer_is_trusted: false,
        scheme: "http",
        overdue: Cell::new(None),
        attempt_overdue: Cell::new(None),
        body_idle: Cell::new(listener.timeouts.body_idle),
    };
    let answer = exchange.own(cause, None);
    exchange.finish(answer).await
}

async fn serve(
    connection: &Connection,
    snapshot: &Arc<Snapshot>,
    listener: &HttpListener,
    head: RequestHead,
) -> Next {
    let mut parts = head.parts;
    let mut record = Record::new(parts.method.clone());
    if snapshot.access_log {
        record.keep(&parts);
    }
    let body = connection.client.request_body(head.framing);
    let message = Message {
        framing: head.framing,
        upgrade: head.upgrade,
        te_trailers: head.te_trailers,
        version: parts.version,
        accept: parts.headers.get(header::ACCEPT).cloned(),
        persistent: head.persistent,
    };
    let identity = connection.local.with_random(|random| {
        listener.forwarding.apply(&mut parts.headers, connection.facts.peer, "http", random)
    });
    record.scheme.set(identity.scheme);
    record.client.set(Some(identity.client));
    *record.request_id.borrow_mut() = Some(identity.request_id);
    let (route, matched) = find_route(listener, &parts);
    route.metrics.in_flight.add(1);
    let exchange = Exchange {
        connection,
        snapshot,
        listener,
        route,
        record: &record,
        message,
        peer_is_trusted: identity.peer_is_trusted,
        scheme: identity.scheme,
        overdue: Cell::new(None),
        attempt_overdue: Cell::new(None),
        body_idle: Cell::new(listener.timeouts.body_idle),
    };
    let answer = exchange.answer(Request::from_parts(parts, body), matched).await;
    let next = match answer {
        Some(answer) => exchange.finish(answer).await,
        None => exchange.abandon(),
    };
    route.metrics.in_flight.add(-1);
    next
}

/// The route of a request, and how much of its path the route's prefix took.
fn find_route<'a>(
    listener: &'a HttpListener,
    parts: &http::request::Parts,
) -> (&'a Route, usize) {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    // `OPTIONS *` asks about the server as a whole: it goes where everything goes.
    let target = parts.uri.path();
    let question = Question {
        host: host.unwrap_or_default(),
        path: if target == "*" { "/" } else { target },
        query: parts.uri.query(),
        method: &parts.method,
        headers: &parts.headers,
    };
    match listener.routes.find(&question) {
        Some(found) => (found.target, found.prefix),
        None => (listener.fallback.as_ref().unwrap_or(&listener.unrouted), 0),
    }
}

impl Exchange<'_> {
    /// Decides on a request. `None` if its client has gone.
    async fn answer(&self, request: Request<Body>, matched: usize) -> Option<Answer> {
        let (mut parts, body) = request.into_parts();
        if let Some(answer) = self.objection(&mut parts) {
            return Some(answer);
        }
        match &self.route.action {
            Action::Respond(fixed) => Some(self.filtered(fixed.response())),
            Action::Redirect(redirect) => Some(match redirect.response(&target(&parts, self.scheme)) {
                Ok(response) => self.filtered(response),
                Err(_) => self.own(Cause::BadRequest, None),
            }),
            Action::NotFound => Some(self.own(Cause::NoRoute, None)),
            Action::Forward(split) => {
                if self.route.filters.request(&mut parts, matched).is_err() {
                    return Some(self.own(Cause::TargetTooLong, None));
                }
                let choice = self.connection.local.with_random(|random| split.pick(random));
                forward::forward(self, choice, parts, body).await
            }
        }
    }

    /// Why a request is answered here, before its action.
    fn objection(&self, parts: &mut http::request::Parts) -> Option<Answer> {
        let own = |cause| Some(self.own(cause, None));
        if path::is_ambiguous(parts.uri.path()) {
            return own(Cause::BadRequest);
        }
        if parts.method == Method::TRACE || (parts.method == Method::CONNECT && !self.route.connect)
        {
            return own(Cause::MethodNotAllowed);
        }
        match policy::max_forwards(&parts.method, &mut parts.headers) {
            MaxForwards::Forward => {}
            MaxForwards::Answer => {
                let request_id = self.record.request_id.borrow();
                return Some(Answer::plain(options(request_id.as_ref())));
            }
            MaxForwards::Malformed => return own(Cause::BadRequest),
        }
        if self.listener.via.request(&mut parts.headers, parts.version).is_err() {
            return own(Cause::LoopDetected);
        }
        None
    }

    /// An answer that the route asked for.
    pub(super) fn filtered(&self, response: Response<Body>) -> Answer {
        let (mut parts, body) = response.into_parts();
        self.route.filters.response(&mut parts);
        Answer::plain(Response::from_parts(parts, body))
    }

    /// A response of our own.
    pub(super) fn own(&self, cause: Cause, details: Option<Details<'_>>) -> Answer {
        self.record.cause.set(Some(cause));
        let request_id = self.record.request_id.borrow();
        let response = respond(
            cause,
            &Asked {
                accept: self.message.accept.as_ref(),
                request_id: request_id.as_ref(),
                details,
            },
        );
        Answer::plain(response)
    }

    /// The client has gone before there was an answer: there is nobody to tell.
    fn abandon(&self) -> Next {
        self.record.end.set(End::ClientAbort);
        let ending = Ending { status: CLIENT_CLOSED_REQUEST, response_bytes: 0 };
        self.record.finish(self.connection, self.snapshot, self.route, ending);
        Next::Abort
    }

    /// Takes over the limits of the call that the request has become.
    pub(super) fn limit(&self, timeouts: &CallTimeouts) {
        self.overdue.set(timeouts.request.map(|limit| self.record.started() + limit));
        self.body_idle.set(timeouts.body_idle);
    }

    /// Whether the attempt under way had a limit of its own, and it has passed.
    pub(super) fn is_attempt_overdue(&self) -> bool {
        self.attempt_overdue.get().is_some_and(|at| Instant::now() >= at)
            && self.overdue.get().is_none_or(|at| Instant::now() < at)
    }

    /// Sets the connection's deadline, within the limit of the whole request.
    pub(super) fn wait_at_most(&self, limit: Duration) {
        let ends = [self.overdue.get(), self.attempt_overdue.get()];
        let at = ends.into_iter().flatten().fold(Instant::now() + limit, Instant::min);
        self.connection.client.deadline.set_at(at);
    }

    /// Sends the answer, keeps the record, and decides what becomes of the connection.
    async fn finish(&self, answer: Answer) -> Next {
        let Answer { response, tunnel, upgrade } = answer;
        let (mut parts, body) = response.into_parts();
        self.complete(&mut parts);
        let length = body.size_hint().exact();
        let (method, version) = (self.record.method(), self.message.version);
        let framing = ResponseFraming::choose(method, version, parts.status, length);
        let persistent = tunnel.is_none() && self.persists(framing);
        let mut head = Buffer::take();
        let options = ResponseOptions {
            version: self.message.version,
            close: !persistent && tunnel.is_none(),
            upgrade: upgrade.as_ref(),
            keep_alive_1_0: persistent && version == Version::HTTP_10,
        };
        encode_response(&mut head, &parts, framing, options);
        let mut outgoing = Outgoing::new(head, body, body_framing(framing));
        let sent = self.send(&mut outgoing).await;
        let next = match sent {
            Ok(()) => match tunnel {
                Some(tunnel) => Next::Tunnel(tunnel),
                None if persistent && self.connection.client.has_whole_request() => Next::Again,
                None => Next::Close,
            },
            Err(end) => {
                self.record.end.set(end);
                Next::Abort
            }
        };
        let ending = Ending { status: parts.status.as_u16(), response_bytes: outgoing.body_bytes() };
        self.record.finish(self.connection, self.snapshot, self.route, ending);
        next
    }

    async fn send(&self, outgoing: &mut Outgoing) -> Result<(), End> {
        let limit = || self.wait_at_most(self.body_idle.get());
        let sent = self.connection.client.send(outgoing, limit).await;
        match sent {
            Some(Ok(())) => Ok(()),
            Some(Err(SendError::Write(_))) => Err(End::ClientAbort),
            Some(Err(SendError::Body(BodyError::Idle | BodyError::Deadline))) | None => {
                Err(End::Timeout)
            }
            Some(Err(SendError::Body(_) | SendError::Length)) => Err(End::EndpointReset),
        }
    }

    /// The fields that every response gets, whoever made it.
    fn complete(&self, parts: &mut http::response::Parts) {
        if !parts.headers.contains_key(header::DATE) {
            let date = self.connection.local.date(self.record.started());
            parts.headers.insert(header::DATE, date);
        }
        if let Some(request_id) = self.record.request_id.borrow().as_ref() {
            parts.headers.insert(&X_REQUEST_ID, request_id.clone());
        }
    }

    fn persists(&self, framing: ResponseFraming) -> bool {
        self.message.persistent
            && framing != ResponseFraming::UntilClose
            && self.connection.client.has_whole_request()
            && !self.connection.client.has_failed()
            && !self.connection.local.drain.is_draining()
    }
}

impl Answer {
    /// An answer without a tunnel.
    pub(super) fn plain(response: Response<Body>) -> Self {
        Self { response, tunnel: None, upgrade: None }
    }
}

/// What a redirect keeps of a request.
fn target<'a>(parts: &'a http::request::Parts, scheme: &'static str) -> policy::Target<'a> {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    policy::Target {
        scheme,
        authority: host.unwrap_or_default(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    }
}

fn body_framing(framing: ResponseFraming) -> Framing {
    match framing {
        ResponseFraming::Bodiless => Framing::None,
        ResponseFraming::Length(length) => Framing::Length(length),
        ResponseFraming::Chunked => Framing::Chunked,
        ResponseFraming::UntilClose => Framing::UntilClose,
    }
}

/// nginx's status of a client that did not wait; it is only ever logged.
const CLIENT_CLOSED_REQUEST: u16 = 499;
