//! `Via`: through whom a message came, and whether it has been here before (RFC 9110 §7.6.3).
//!
//! Problem: two proxies that take each other for the service send one request around until both are
//! out of connections. Each Evenkeel therefore leaves a mark, and refuses what carries it already.
//!
//! Two instances in a row are common (an edge in front of a sidecar), so the name `evenkeel` cannot
//! be the mark. The mark is a random number that no one else has, in the comment that the field
//! allows: `Via: 1.1 evenkeel (5f3a9c1e0b7d2a64)`. A listener may rightly forward to another
//! listener of the same process, so each listener should have its own [`Via`], made once and
//! kept over reloads.
//!
//! Responses are marked by name only: nobody looks for loops in them.

use std::sync::LazyLock;

use http::header::VIA;
use http::{HeaderValue, Version};
use memchr::memmem;

use crate::message::{Fields, PreparedLine, Value};

/// One passer-by's own entry in `Via`.
#[derive(Debug, Clone)]
pub struct Via {
    /// The comment, which is looked for.
    mark: Box<str>,
    http_1_0: PreparedLine,
    http_1_1: PreparedLine,
    http_2: PreparedLine,
}

/// The request has been here before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request has come through here before")]
pub struct LoopDetected;

impl Via {
    /// An entry with a mark of its own.
    pub fn new(random: &mut fastrand::Rng) -> Self {
        let mark = format!("({:016x})", random.u64(..));
        Self {
            http_1_0: entry("1.0", &mark),
            http_1_1: entry("1.1", &mark),
            http_2: entry("2", &mark),
            mark: mark.into(),
        }
    }

    /// Marks a request that was received in this version, unless it is marked already.
    pub fn request(&self, headers: &mut Fields, version: Version) -> Result<(), LoopDetected> {
        let mark = self.mark.as_bytes();
        let has_mark = headers
            .get_all(VIA.as_str())
            .any(|entry| memmem::find(entry.as_bytes(), mark).is_some());
        if has_mark {
            return Err(LoopDetected);
        }
        let entry = match version {
            Version::HTTP_10 => &self.http_1_0,
            Version::HTTP_2 => &self.http_2,
            _ => &self.http_1_1,
        };
        headers.append_prepared(entry);
        Ok(())
    }

    /// Marks a response that was received in this version.
    pub fn response(headers: &mut Fields, version: Version) {
        headers.append_prepared(match version {
            Version::HTTP_10 => &RESPONSE_1_0,
            Version::HTTP_2 => &RESPONSE_2,
            _ => &RESPONSE_1_1,
        });
    }
}

fn entry(version: &str, mark: &str) -> PreparedLine {
    let entry = format!("{version} evenkeel {mark}");
    let value = Value::new(entry.as_bytes()).expect("digits, letters, spaces and parentheses");
    PreparedLine::new(&VIA, value)
}

static RESPONSE_1_0: LazyLock<PreparedLine> = LazyLock::new(|| response("1.0 evenkeel"));

static RESPONSE_1_1: LazyLock<PreparedLine> = LazyLock::new(|| response("1.1 evenkeel"));

static RESPONSE_2: LazyLock<PreparedLine> = LazyLock::new(|| response("2 evenkeel"));

fn response(entry: &'static str) -> PreparedLine {
    PreparedLine::new(&VIA, &HeaderValue::from_static(entry))
}
