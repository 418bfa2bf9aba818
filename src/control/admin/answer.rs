//! Answers of the admin API: JSON, text, and problems (RFC 9457).

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Map, Value};

/// What the admin server sends.
pub(super) type Response = http::Response<Full<Bytes>>;

/// Why a request to the admin API is not carried out.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    field: Option<(&'static str, &'static str)>,
    members: Map<String, Value>,
}

/// A value as JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => response(status, "application/json", body.into()),
        Err(error) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into(),
    }
}

/// A text.
pub(super) fn text(status: StatusCode, media: &'static str, body: impl Into<Bytes>) -> Response {
    response(status, media, body.into())
}

impl Problem {
    /// A problem with a sentence that says what to do about it.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            field: None,
            members: Map::new(),
        }
    }

    /// There is nothing of that name.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The request makes no sense.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// The method does not fit; these do.
    pub(super) fn not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("the methods here are {allow}"),
        );
        problem.with_field("allow", allow)
    }

    /// It is not known who asks.
    pub(super) fn unauthorized() -> Self {
        let detail = "this needs the token of admin.token_file: Authorization: Bearer …";
        let problem = Self::new(StatusCode::UNAUTHORIZED, detail);
        problem.with_field("www-authenticate", "Bearer")
    }

    /// The sentence.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// It cannot be done just now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        problem.with_field("retry-after", "1")
    }

    /// Adds members of the problem's own (RFC 9457 §3.2).
    pub(super) fn with_members(mut self, members: Map<String, Value>) -> Self {
        self.members = members;
        self
    }

    fn with_field(mut self, name: &'static str, value: &'static str) -> Self {
        self.field = Some((name, value));
        self
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        let status = problem.status;
        let mut body = problem.members;
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), status.canonical_reason().into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), problem.detail.into());
        let body = Value::Object(body).to_string();
        let mut response = response(status, "application/problem+json", body.into());
        if let Some((name, value)) = problem.field {
            let headers = response.headers_mut();
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

fn response(status: StatusCode, media: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    // The state of this moment is of no use to anyone later.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
