//! A fixed response.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::body::Body;
use crate::config;

/// A response that is the same for every request.
#[derive(Debug, Clone)]
pub struct Fixed {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

/// What is wrong with a fixed response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FixedError {
    /// Of `status`.
    #[error("the status {0} is not one from 200 to 599")]
    Status(u16),
    /// Of `content_type`.
    #[error("`{0}` is not a media type")]
    ContentType(String),
    /// Of `body`, where the status allows none (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
    #[error("a response of status {0} has no body")]
    Body(u16),
}

impl Fixed {
    /// The response as written.
    pub fn new(written: &config::Respond) -> Result<Self, FixedError> {
        let status = written.status.unwrap_or(200);
        if !(200..=599).contains(&status) {
            return Err(FixedError::Status(status));
        }
        let body = written.body.clone().unwrap_or_default();
        if matches!(status, 204 | 205 | 304) && !body.is_empty() {
            return Err(FixedError::Body(status));
        }
        let media = written.content_type.as_deref().unwrap_or(DEFAULT_TYPE);
        let wrong = || FixedError::ContentType(media.to_owned());
        if !media
            .split_once('/')
            .is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty())
        {
            return Err(wrong());
        }
        Ok(Self {
            status: StatusCode::from_u16(status).map_err(|_| FixedError::Status(status))?,
            content_type: HeaderValue::from_str(media).map_err(|_| wrong())?,
            body: Bytes::from(body),
        })
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body.clone()));
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, self.content_type.clone());
        }
        response
    }
}

/// What a body is unless the file says otherwise.
const DEFAULT_TYPE: &str = "text/plain; charset=utf-8";
