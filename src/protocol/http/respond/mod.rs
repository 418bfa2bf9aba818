//! What Evenkeel answers itself: the only place where a cause becomes a status.
//!
//! Problem: a bare 502 tells the client nothing and the person on call less. So each answer of
//! our own names its [`Cause`] in one word, the same in `Proxy-Status` (RFC 9209), in the body,
//! in the log's `error.type` and in the metrics' `reason`, and carries the request id under which
//! the rest is found.
//!
//! The body is what the client reads best: a problem document (RFC 9457) for programs, one screen
//! of HTML for people, a line of text for everyone else. What only concerns the inside (which
//! endpoint, what was tried) is told to trusted peers alone: see [`Details::for_peer`]. A client of
//! gRPC reads no body: see [`respond_grpc`].

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::body::Body;
use crate::message::Value;
use crate::policy::RequestId;
use crate::policy::forwarding::X_REQUEST_ID;

mod accept;
mod cause;
mod grpc;
mod page;
mod proxy_status;

use self::accept::Media;
pub use self::cause::Cause;
pub use self::grpc::{grpc_trailers, respond_grpc};
pub use self::proxy_status::{Details, Said, proxy_status};

/// What is known of the request that is answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// Its `Accept`.
    pub accept: Option<Value<'a>>,
    /// Its id; `None` before it has one, as where the head cannot be read.
    pub request_id: Option<&'a RequestId>,
    /// What a trusted peer is told besides.
    pub details: Option<Details<'a>>,
    /// Whether others need not try again what failed.
    pub is_final: bool,
    /// A random number, for what should not be the same for all.
    pub drawn: u32,
}

impl Asked<'_> {
    /// What the answer for a cause says in `Proxy-Status`.
    fn proxy_status(&self, cause: Cause) -> HeaderValue {
        let said = Said {
            cause: Some(cause),
            is_final: self.is_final,
            ..Said::default()
        };
        proxy_status(said, self.details.as_ref())
    }
}

/// The answer for a cause. A HEAD request gets the same; the encoder leaves the body out.
pub fn respond(cause: Cause, asked: &Asked<'_>) -> Response<Body> {
    let id = asked.request_id.map(RequestId::as_str);
    let media = Media::choose(asked.accept);
    let body = match media {
        Media::Problem => page::problem(cause, id),
        Media::Html => page::html(cause, id),
        Media::Text => page::text(cause, id),
    };
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = cause.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media.content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(&PROXY_STATUS, asked.proxy_status(cause));
    if let Some(seconds) = cause.retry_after(asked.drawn) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if cause == Cause::MethodNotAllowed {
        headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    }
    set_request_id(headers, asked.request_id);
    response
}

/// The answer to an OPTIONS that goes no further than here (RFC 9110 §7.6.2, §9.3.7).
pub fn options(request_id: Option<&RequestId>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(METHODS));
    set_request_id(headers, request_id);
    response
}

fn set_request_id(headers: &mut HeaderMap, request_id: Option<&RequestId>) {
    if let Some(id) = request_id.and_then(|id| id.value().to_header_value()) {
        headers.insert(&X_REQUEST_ID, id);
    }
}

/// The methods that are passed on. TRACE is not: it would send back to scripts what only the
/// browser should hold, such as cookies. CONNECT is only where a route says so.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// RFC 9209 §2.
pub static PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests;
