//! Decides how a request is answered: by what its route says, or by why it is not let through.

use http::{HeaderValue, Method, Response, Version, header};

use super::connection::boxed;
use super::exchange::{Exchange, is_misdirected};
use super::forward;
use super::grpc::GrpcCall;
use super::respond::{Asked, Cause, Details, options, respond, respond_grpc};
use super::upgrade::Tunnel;
use crate::body::Body;
use crate::message::{Fields, RequestParts, ResponseParts, Value};
use crate::policy::grpc::Code;
use crate::policy::{self, MaxForwards};
use crate::route::path;
use crate::snapshot::Action;

/// An answer: a response, and the tunnel that begins behind it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) parts: ResponseParts,
    pub(super) body: Body,
    pub(super) tunnel: Option<Box<Tunnel>>,
    /// What the response's own field said: endpoints choose a protocol, and the
    /// client is told which.
    pub(super) upgrade: Option<Box<HeaderValue>>,
}

impl Exchange<'_> {
    /// Decides on a request. `None` if its client has gone.
    pub(super) async fn answer(
        &self,
        parts: &mut RequestParts,
        body: &mut Body,
        matched: usize,
    ) -> Option<Answer> {
        if let Some(answer) = self.objection(parts) {
            return Some(answer);
        }
        match &self.route.action {
            Action::Respond(fixed) => Some(self.filtered(fixed.response())),
            Action::Redirect(redirect) => {
                let target = target(parts, self.record.scheme.get());
                // Where there is no host, there is no place to send the client to.
                let is_placed = redirect.names_host() || !target.authority.is_empty();
                Some(match redirect.response(&target) {
                    Ok(response) if is_placed => self.filtered(response),
                    Ok(_) | Err(_) => self.own(&parts.headers, Cause::BadRequest, None),
                })
            }
            Action::NotFound => Some(self.own(&parts.headers, Cause::NoRoute, None)),
            Action::Forward(split) => {
                if !self.enters_route() {
                    return Some(self.own(&parts.headers, Cause::ConcurrencyLimitReached, None));
                }
                if self.route.filters.request(parts, matched).is_err() {
                    return Some(self.own(&parts.headers, Cause::TargetTooLong, None));
                }
                self.name_host(parts);
                let choice = self
                    .connection
                    .local
                    .with_random(|random| split.pick(random));
                self.read_tie(choice, parts);
                // In a box, as the exchange is: two that are small are cheaper than a large one.
                boxed(|| forward::forward(self, choice, parts, body)).await
            }
        }
    }

    /// A request of HTTP/1.0 need not say whom it is for. To the endpoint that is the address that
    /// it came to (RFC 9112 §3.3), since servers of HTTP/1.1 refuse an empty `Host`.
    fn name_host(&self, parts: &mut RequestParts) {
        if parts.version != Version::HTTP_10 || parts.headers.contains_key(header::HOST) {
            return;
        }
        if let Ok(local) = self.connection.client.stream().local_address() {
            let local = local.to_string();
            let local = Value::of_ascii(local.as_bytes());
            parts.headers.append(&header::HOST, local);
        }
    }

    /// Why a request is answered here, before its action.
    fn objection(&self, parts: &mut RequestParts) -> Option<Answer> {
        let own = |parts: &RequestParts, cause| Some(self.own(&parts.headers, cause, None));
        if is_misdirected(self.connection, self.terms, parts) {
            return own(parts, Cause::Misdirected);
        }
        if self.record.call().is_some_and(GrpcCall::is_malformed) {
            return own(parts, Cause::BadRequest);
        }
        if let Some(field) = &self.route.deadline {
            match field.read(&parts.headers) {
                Ok(given) => self.given.set(given),
                Err(why) => {
                    tracing::debug!(%why, "request refused");
                    return own(parts, Cause::BadRequest);
                }
            }
        }
        let limit = self.time_given();
        if limit.is_some_and(|limit| self.record.started().elapsed() >= limit) {
            return own(parts, Cause::DeadlineExceeded);
        }
        if path::is_ambiguous(parts.uri.path()) {
            return own(parts, Cause::BadRequest);
        }
        // One for a WebSocket is a GET by now; of other protocols none is served.
        if is_extended_connect(parts) {
            return own(parts, Cause::NotImplemented);
        }
        if parts.method == Method::TRACE || (parts.method == Method::CONNECT && !self.route.connect)
        {
            return own(parts, Cause::MethodNotAllowed);
        }
        // What follows CONNECT is the tunnel: a body before it would be read in two ways.
        if parts.method == Method::CONNECT && self.message.framing.has_body() {
            return own(parts, Cause::BadRequest);
        }
        match policy::max_forwards(&parts.method, &mut parts.headers) {
            MaxForwards::Forward => {}
            MaxForwards::Answer => {
                let request_id = self.record.request_id.get();
                return Some(Answer::plain(options(request_id)));
            }
            MaxForwards::Malformed => return own(parts, Cause::BadRequest),
        }
        if self
            .terms
            .listener
            .via
            .request(&mut parts.headers, parts.version)
            .is_err()
        {
            return own(parts, Cause::LoopDetected);
        }
        None
    }

    /// The answer to a WebSocket over HTTP/2, whose client takes any 2xx for a yes and what follows
    /// for frames: there is no other yes than a tunnel.
    pub(super) fn in_earnest(&self, answer: Answer) -> Answer {
        let asks = self.message.version == Version::HTTP_2 && self.message.upgrade.is_some();
        if !asks || answer.tunnel.is_some() || !answer.parts.status.is_success() {
            return answer;
        }
        self.own(&Fields::new(), Cause::UpgradeFailed, None)
    }

    /// An answer that the route asked for.
    fn filtered(&self, response: Response<Body>) -> Answer {
        let mut answer = Answer::plain(response);
        self.route.filters.response(&mut answer.parts);
        answer
    }

    /// A response of our own to a request with these fields.
    pub(super) fn own(
        &self,
        headers: &Fields,
        cause: Cause,
        details: Option<Details<'_>>,
    ) -> Answer {
        self.record.cause.set(Some(cause));
        self.record.end.set(cause.end());
        // Whatever was waited for: the client has given up by now.
        let is_overdue = self.is_overdue();
        // What limited the request does not limit what is said of that.
        self.overdue.set(None);
        self.attempt_overdue.set(None);
        let asked = Asked {
            accept: headers.get(header::ACCEPT),
            request_id: self.record.request_id.get(),
            details,
            is_final: self.is_final.get(),
            drawn: self.connection.local.with_random(|random| random.u32(..)),
        };
        let Some(call) = self.record.call() else {
            return Answer::plain(respond(cause, &asked));
        };
        let code = if is_overdue {
            Code::DeadlineExceeded
        } else {
            cause.grpc()
        };
        call.tell(code);
        Answer::plain(respond_grpc(cause, code, &asked))
    }
}

impl Answer {
    /// An answer of our own.
    pub(super) fn plain(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self::new(parts.into(), body)
    }

    /// An answer without a tunnel.
    pub(super) fn new(parts: ResponseParts, body: Body) -> Self {
        Self {
            parts,
            body,
            tunnel: None,
            upgrade: None,
        }
    }
}

/// What a redirect keeps of a request.
fn target<'a>(parts: &'a RequestParts, scheme: &'static str) -> policy::Target<'a> {
    let host = parts.headers.get(header::HOST).and_then(Value::to_str);
    policy::Target {
        scheme,
        authority: host.unwrap_or_default(),
        path: parts.uri.path(),
        query: parts.uri.query(),
    }
}

/// Whether a CONNECT names a protocol, and so no authority as its target (RFC 8441 §4).
fn is_extended_connect(parts: &RequestParts) -> bool {
    parts.method == Method::CONNECT
        && parts.version == Version::HTTP_2
        && parts.uri.authority().is_none()
}
