//! Redirects: where else the client shall ask.
//!
//! What is left out is kept from the request. The port follows the Gateway API: a scheme without a
//! port means the scheme's own, since the port of this listener would be wrong for the
//! other scheme. `Location` is always absolute, so a path that begins with `//` cannot be
//! taken for a host.

use bytes::Bytes;
use http::header::{InvalidHeaderValue, LOCATION};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Response, StatusCode};

use crate::body::Body;
use crate::config;
use crate::route::path;

/// A redirect.
#[derive(Debug, Clone)]
pub struct Redirect {
    status: StatusCode,
    scheme: Option<Scheme>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Option<Box<str>>,
}

/// What the client asked for, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host, with its port if there was one.
    pub authority: &'a str,
    /// The path as it came.
    pub path: &'a str,
    /// The query as it came.
    pub query: Option<&'a str>,
}

/// What is wrong with a redirect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// Of `status`.
    #[error("the status {0} is none of 301, 302, 303, 307 and 308")]
    Status(u16),
    /// Of `scheme`.
    #[error("the scheme `{0}` is neither `http` nor `https`")]
    Scheme(String),
    /// Of `host`.
    #[error("`{0}` is not a host; its port has its own setting")]
    Host(String),
    /// Of `path`.
    #[error("`{0}` is not a path: it starts with `/`; the query is kept from the request")]
    Path(String),
    /// Nothing is changed, so the client would be sent in a circle.
    #[error("it changes nothing, so it would lead back to itself")]
    Circle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

impl Redirect {
    /// The redirect as written.
    pub fn new(written: &config::Redirect) -> Result<Self, RedirectError> {
        let status = written.status.unwrap_or(308);
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Err(RedirectError::Status(status));
        }
        let redirect = Self {
            status: StatusCode::from_u16(status).map_err(|_| RedirectError::Status(status))?,
            scheme: written.scheme.as_deref().map(Scheme::parse).transpose()?,
            host: written.host.as_deref().map(check_host).transpose()?,
            port: written.port,
            path: written.path.as_deref().map(check_path).transpose()?,
        };
        let changes_host = redirect.host.is_some() || redirect.port.is_some();
        if redirect.scheme.is_none() && !changes_host && redirect.path.is_none() {
            return Err(RedirectError::Circle);
        }
        Ok(redirect)
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Whether it leads to a host of its own, whatever the request asked for.
    pub fn names_host(&self) -> bool {
        self.host.is_some()
    }

    /// Where it leads from a request. An error only if the request's parts could not have been
    /// parts of a request.
    pub fn location(&self, target: &Target<'_>) -> Result<HeaderValue, InvalidHeaderValue> {
        let scheme = match self.scheme {
            Some(scheme) => scheme.word(),
            None => target.scheme,
        };
        let (target_host, target_port) = split(target.authority);
        let host = self.host.as_deref().unwrap_or(target_host);
        let written_port = self.port.map(|port| port.to_string());
        let port = match (&written_port, self.scheme) {
            (Some(port), _) => port,
            (None, Some(_)) => "",
            (None, None) => target_port,
        };
        let is_default = matches!((scheme, port), (_, "") | ("http", "80") | ("https", "443"));
        let (colon, port) = if is_default { ("", "") } else { (":", port) };
        let path = match self.path.as_deref().unwrap_or(target.path) {
            path if path.starts_with('/') => path,
            _ => "/", // `*` is no place to go to
        };
        let mark = if target.query.is_some() { "?" } else { "" };
        let query = target.query.unwrap_or_default();
        let location = [scheme, "://", host, colon, port, path, mark, query].concat();
        HeaderValue::from_maybe_shared(Bytes::from(location))
    }

    /// The answer to a request.
    pub fn response(&self, target: &Target<'_>) -> Result<Response<Body>, InvalidHeaderValue> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .insert(LOCATION, self.location(target)?);
        Ok(response)
    }
}

impl Scheme {
    fn parse(written: &str) -> Result<Self, RedirectError> {
        match written {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err(RedirectError::Scheme(written.to_owned())),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A host and its port, empty where there is none.
fn split(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    }
}

fn check_host(written: &str) -> Result<Box<str>, RedirectError> {
    let is_host = written
        .parse::<Authority>()
        .is_ok_and(|host| host.host() == written);
    if is_host {
        Ok(written.into())
    } else {
        Err(RedirectError::Host(written.to_owned()))
    }
}

fn check_path(written: &str) -> Result<Box<str>, RedirectError> {
    let is_path = written.starts_with('/')
        && !written.contains(['?', '#'])
        && written.is_ascii()
        && !path::is_ambiguous(written)
        && written.parse::<PathAndQuery>().is_ok();
    if is_path {
        Ok(written.into())
    } else {
        Err(RedirectError::Path(written.to_owned()))
    }
}
