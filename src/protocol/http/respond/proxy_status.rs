//! `Proxy-Status` (RFC 9209), with the quoting of structured fields (RFC 8941 §3.3.3).

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::Cause;
use crate::policy::retry::layers::NO_RETRY;

/// What a peer that may know is told: where we went and what happened.
#[derive(Debug, Clone, Copy)]
pub struct Details<'a> {
    next_hop: Option<&'a str>,
    text: &'a str,
}

impl<'a> Details<'a> {
    /// Details for a peer; `None` unless it is trusted, since they tell our inside: the address of
    /// the endpoint that was asked last, and in words what was tried.
    pub fn for_peer(is_trusted: bool, next_hop: Option<&'a str>, text: &'a str) -> Option<Self> {
        is_trusted.then_some(Self { next_hop, text })
    }
}

/// What is said of an answer, besides the details.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said {
    /// Why it is ours, if it is.
    pub cause: Option<Cause>,
    /// The status of the endpoint's, where that says that the endpoint failed.
    pub received: Option<StatusCode>,
    /// That others need not try again: see [`layers`](crate::policy::retry::layers).
    pub is_final: bool,
}

/// The field: on our own answers with their cause, on relayed ones (after a retry) without.
pub fn proxy_status(said: Said, details: Option<&Details<'_>>) -> HeaderValue {
    let mut line = String::from("evenkeel");
    if let Some(cause) = said.cause {
        line.push_str("; error=");
        line.push_str(cause.word());
    }
    if let Some(status) = said.received {
        line.push_str("; received-status=");
        line.push_str(status.as_str());
    }
    if said.is_final {
        line.push_str("; ");
        line.push_str(NO_RETRY);
    }
    if let Some(details) = details {
        if let Some(next_hop) = details.next_hop {
            push_string(&mut line, "; next-hop=", next_hop);
        }
        if !details.text.is_empty() {
            push_string(&mut line, "; details=", details.text);
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(line))
        .unwrap_or_else(|_| HeaderValue::from_static("evenkeel"))
}

/// A string holds printable ASCII only; anything else is replaced, so that a strange byte in an
/// error text cannot make the whole field void.
fn push_string(line: &mut String, key: &str, text: &str) {
    line.push_str(key);
    line.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                line.push('\\');
                line.push(letter);
            }
            ' '..='~' => line.push(letter),
            _ => line.push('?'),
        }
    }
    line.push('"');
}
