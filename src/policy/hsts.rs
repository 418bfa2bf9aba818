//! `Strict-Transport-Security`: browsers are told to come back over HTTPS alone (RFC 6797).
//!
//! Problem: who types a name comes in plain text first, and whoever is in the way answers instead.
//! A browser that remembers the field never asks so again. It must stand once (RFC 6797 §6.1), and
//! what it promises is about the name as a whole, so the listener's replaces what an endpoint says.

use std::fmt::Write as _;

use http::HeaderValue;
use http::header::{InvalidHeaderValue, STRICT_TRANSPORT_SECURITY};

use crate::config;
use crate::message::{Fields, PreparedName};

/// What browsers are told to remember.
#[derive(Debug, Clone)]
pub struct Hsts {
    name: PreparedName,
    value: HeaderValue,
}

impl Hsts {
    /// The promise as written. An error only if digits and words could not be a value.
    pub fn new(written: &config::Hsts) -> Result<Self, InvalidHeaderValue> {
        let mut value = String::new();
        let _ = write!(value, "max-age={}", written.max_age.0.as_secs());
        if written.include_subdomains == Some(true) {
            value.push_str("; includeSubDomains");
        }
        if written.preload == Some(true) {
            value.push_str("; preload");
        }
        Ok(Self {
            name: PreparedName::new(&STRICT_TRANSPORT_SECURITY),
            value: HeaderValue::from_str(&value)?,
        })
    }

    /// Puts it into a response that leaves over TLS; never into another (RFC 6797 §7.2).
    pub fn response(&self, headers: &mut Fields) {
        headers.insert_prepared(&self.name, &self.value);
    }
}
