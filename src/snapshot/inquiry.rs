//! A request that one wants to know about, read as strictly as the proxy reads one that comes.

use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method, Uri};

use crate::config::Difference;
use crate::http1::{self, RequestError};
use crate::message::Fields;

/// A request that one wants to know about.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// Its method.
    pub method: Method,
    /// Its scheme, `http` or `https`.
    pub scheme: String,
    /// Its host, with the port if there is one.
    pub authority: String,
    /// Its path.
    pub path: String,
    /// Its query.
    pub query: Option<String>,
    /// Its fields.
    pub headers: Fields,
}

/// Why a request cannot be inquired about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InquiryError {
    /// It is not a method and a URL.
    #[error("`{0}` is not a method and a URL, such as `GET https://example.com/path`")]
    Form(String),
    /// No proxy would get as far as its routes with it.
    #[error("`{request}` is refused before any route is asked: {why}")]
    Refused {
        /// The request.
        request: String,
        /// Why.
        why: RequestError,
    },
    /// A field that is none.
    #[error("`{0}` is not a field, such as `x-version: 2`")]
    Field(String),
    /// No listener of that name speaks HTTP.
    #[error("no listener `{0}` that speaks HTTP")]
    Listener(String),
}

impl Inquiry {
    /// An inquiry of `GET https://host/path` and fields. What the proxy would refuse on the wire is
    /// refused here.
    pub fn new<'a>(
        request: &str,
        fields: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InquiryError> {
        let form = || InquiryError::Form(request.to_owned());
        let (method, url) = request.trim().split_once(' ').ok_or_else(form)?;
        let method = Method::from_str(method).map_err(|_| form())?;
        let uri = Uri::from_str(url.trim()).map_err(|_| form())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(form());
        };
        check_target(&method, url.trim()).map_err(|why| InquiryError::Refused {
            request: request.to_owned(),
            why,
        })?;
        let mut headers = Fields::new();
        for (name, value) in fields {
            let field = || InquiryError::Field(format!("{name}: {value}"));
            let name = HeaderName::from_str(name).map_err(|_| field())?;
            let value = HeaderValue::from_str(value).map_err(|_| field())?;
            headers.append(&name, &value);
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
            method,
            headers,
        })
    }
}

impl InquiryError {
    pub(super) fn difference(&self) -> Difference {
        let sentence = self.to_string();
        Difference {
            setting: match self {
                Self::Form(_) | Self::Refused { .. } => &["request"],
                Self::Field(_) => &["headers"],
                Self::Listener(_) => &["listener"],
            },
            found: sentence.clone(),
            sentence,
        }
    }
}

/// Asks the proxy's own parser about the URL, since `Uri` cuts a fragment off and takes userinfo.
/// The method of a tunnel would want another form of target; its URL stands for host and port here.
fn check_target(method: &Method, url: &str) -> Result<(), RequestError> {
    if url.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(RequestError::Target);
    }
    let method = match *method {
        Method::CONNECT => Method::GET,
        _ => method.clone(),
    };
    let head = format!("{method} {url} HTTP/1.1\r\nHost: a\r\n\r\n");
    let limits = http1::Limits {
        head: head.len(),
        fields: 1,
    };
    http1::parse_request(head.as_bytes(), limits).map(drop)
}
