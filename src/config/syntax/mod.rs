//! The syntax of strings: addresses, hosts, paths, fields. One function a form,
//! named in the schema.
//!
//! Each answers with what is wrong in the terms of its form and, where it can tell, with what was
//! probably meant. It knows nothing of places and settings: the check of the structure adds those.

use super::codes::Code;
use super::units::{Factor, Rate, Ratio, Size, Time, UnitError};

pub(super) mod address;
mod affinity;
mod field;
mod file;
mod grpc;
mod host;
mod octets;
mod path;
mod regex;
mod request;
mod socket;
mod status;
mod tls;

pub(super) use self::host::normalised as normalised_host;
pub(super) use self::regex::compile;

#[cfg(test)]
mod tests;

/// Why a string does not have its form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// What it is not: "a path", "an address to accept on".
    pub(super) what: &'static str,
    pub(super) why: String,
    pub(super) suggestion: Option<String>,
}

impl Fault {
    fn new(code: Code, what: &'static str, why: impl Into<String>) -> Self {
        Self {
            code,
            what,
            why: why.into(),
            suggestion: None,
        }
    }

    /// Adds what was probably meant.
    fn meant(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

/// Limits of a value with a unit, from the schema.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// Zero means something.
    pub(super) zero: bool,
    /// The smallest size in bytes.
    pub(super) least: Option<u64>,
    /// The largest size in bytes.
    pub(super) most: Option<u64>,
}

/// Checks a string against the form that the schema names.
pub(super) fn check(format: &str, text: &str, bounds: Bounds) -> Result<(), Fault> {
    match format {
        "x-time" => time(text, bounds),
        "x-size" => size(text, bounds),
        "x-ratio" => text
            .parse::<Ratio>()
            .map(drop)
            .map_err(|e| unit("a ratio", &e)),
        "x-rate" => text
            .parse::<Rate>()
            .map(drop)
            .map_err(|e| unit("a rate", &e)),
        "x-factor" => text
            .parse::<Factor>()
            .map(drop)
            .map_err(|e| unit("more than a whole", &e)),
        "x-name" => name(text),
        "x-bind" => address::bind(text).map(drop),
        "x-ip-bind" => address::ip_bind(text),
        "x-proxy" => address::proxy(text),
        "x-mode" => socket::mode(text),
        "x-account" => socket::account(text),
        "x-user" => socket::user(text),
        "x-address" => address::endpoint(text).map(drop),
        "x-network" => address::network(text),
        "x-file" => file::path(text),
        "x-socket" => address::socket_path(text),
        "x-host-pattern" => host::pattern(text),
        "x-host" => host::name(text),
        "x-server-name" => host::server_name(text),
        "x-authority" => host::authority(text),
        "x-san" => tls::san(text),
        "x-alpn" => tls::protocol(text),
        "x-grpc-service" => grpc::service(text),
        "x-interface" => socket::interface(text),
        "x-dscp" => socket::dscp(text),
        "x-octets" => octets::sent(text),
        "x-octet-pattern" => octets::expected(text),
        "x-path-pattern" => path::pattern(text),
        "x-path" => path::path(text),
        "x-target" => path::target(text),
        "x-method" => field::method(text),
        "x-protocol" => field::protocol(text),
        "x-field-name" => field::name(text),
        "x-hash-key" => affinity::hash_key(text),
        "x-cookie-name" => affinity::cookie_name(text),
        "x-cookie-path" => affinity::cookie_path(text),
        "x-secret" => affinity::secret(text),
        "x-field-value" => field::value(text),
        "x-value-pattern" => regex::value_pattern(text),
        "x-status-pattern" => status::pattern(text),
        "x-request" => request::request(text),
        // Formats of numbers; the types are checked elsewhere.
        _ => Ok(()),
    }
}

fn time(text: &str, bounds: Bounds) -> Result<(), Fault> {
    let time: Time = text.parse().map_err(|error| unit("a time", &error))?;
    if time.0.is_zero() && !bounds.zero {
        let why = "zero would end it before it begins";
        return Err(Fault::new(Code::Unit, "a time that works here", why));
    }
    Ok(())
}

fn size(text: &str, bounds: Bounds) -> Result<(), Fault> {
    let size: Size = text.parse().map_err(|error| unit("a size", &error))?;
    let (least, most) = (bounds.least.unwrap_or(1), bounds.most.unwrap_or(u64::MAX));
    if size.0 < least || size.0 > most {
        let why = match bounds.most {
            Some(most) => format!("from {} to {}", Size(least), Size(most)),
            None => format!("at least {}", Size(least)),
        };
        return Err(Fault::new(Code::Unit, "a size that works here", why));
    }
    Ok(())
}

fn unit(what: &'static str, error: &UnitError) -> Fault {
    Fault {
        code: Code::Unit,
        what,
        why: error.to_string(),
        suggestion: error.suggestion().map(str::to_owned),
    }
}

fn name(text: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let wrong = |why: &str| Err(Fault::new(Code::Name, "a name", why));
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        wrong("a name begins with a letter or digit")
    } else if let Some(bad) = text.chars().find(|c| !good(*c)) {
        wrong(&format!(
            "`{}` cannot be in a name, only letters, digits, `-`, `_` and `.`",
            bad.escape_default()
        ))
    } else if text.len() > LONGEST_NAME {
        wrong("a name has at most 64 characters")
    } else {
        Ok(())
    }
}

/// Names become values of metric labels, which are written once per series.
const LONGEST_NAME: usize = 64;
