//! Hosts: names and IP addresses, as patterns of a route and as values of a Host field.

use std::net::{IpAddr, Ipv6Addr};

use super::Fault;
use crate::config::codes::Code;

/// A host of a route: a name, `*.name`, or `*` for any.
pub(super) fn pattern(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Host, "a host", why);
    if text == "*" {
        return Ok(());
    }
    if let Some(meant) = without_scheme(text) {
        return Err(fault("a host has no scheme and no path").meant(meant));
    }
    let name = text.strip_prefix("*.").unwrap_or(text);
    if let Some(rest) = name.strip_prefix('*') {
        return Err(fault("`*` stands for whole labels").meant(format!("*.{rest}")));
    }
    if name.contains('*') {
        return Err(fault(
            "`*` may only stand before the whole name: `*.example.com`",
        ));
    }
    check_host(name, &fault)?;
    if name.len() < text.len() && is_ip(name) {
        return Err(fault("there is nothing below an IP address"));
    }
    Ok(())
}

/// A name that a client asks for when it begins TLS: as the host of a route, but no address.
pub(super) fn server_name(text: &str) -> Result<(), Fault> {
    pattern(text)?;
    if is_ip(text) {
        let why = "clients send no address as a name (RFC 6066 §3)";
        return Err(Fault::new(Code::Host, "a name", why));
    }
    Ok(())
}

/// A host without a port.
pub(super) fn name(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Host, "a host", why);
    if let Some(meant) = without_scheme(text) {
        return Err(fault("a host has no scheme and no path").meant(meant));
    }
    check_host(text, &fault)
}

/// A host with or without a port, as in a Host field.
pub(super) fn authority(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Host, "a host", why);
    if let Some(meant) = without_scheme(text) {
        return Err(fault("a host has no scheme and no path").meant(meant));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err()) {
        return Err(fault("a port from 1 to 65535 is expected behind the colon"));
    }
    check_host(host, &fault)
}

/// The form in which hosts are compared: small letters, no final dot.
pub(in crate::config) fn normalised(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether a text is a DNS name (RFC 1123 §2.1) or IPv4 address; underscores are allowed, since
/// names inside clusters have them.
pub(super) fn check_name(text: &str) -> Result<(), String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 {
        return Err("a name has at most 253 characters".to_owned());
    }
    if !name.is_ascii() {
        return Err("international names stand in their ASCII form, `xn--…`".to_owned());
    }
    for label in name.split('.') {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if label.is_empty() {
            return Err("there is an empty label".to_owned());
        }
        if let Some(bad) = label.chars().find(|c| !good(*c)) {
            return Err(format!("`{}` cannot be in a name", bad.escape_default()));
        }
        if label.len() > 63 {
            return Err("a label has at most 63 characters".to_owned());
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label neither begins nor ends with `-`".to_owned());
        }
    }
    Ok(())
}

fn check_host(text: &str, fault: &dyn Fn(&str) -> Fault) -> Result<(), Fault> {
    if let Some(inner) = text.strip_prefix('[') {
        let address = inner.strip_suffix(']').map(str::parse::<Ipv6Addr>);
        return match address {
            Some(Ok(_)) => Ok(()),
            Some(Err(_)) | None => Err(fault("this is not an IPv6 address in brackets")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let meant = format!("[{text}]");
        return Err(fault("an IPv6 address stands in brackets").meant(meant));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && check_name(host).is_ok()
    {
        return Err(fault("there is no port here").meant(host));
    }
    check_name(text).map_err(|why| fault(&why))
}

fn is_ip(text: &str) -> bool {
    text.starts_with('[') || text.parse::<IpAddr>().is_ok()
}

/// The host of a URL, if a text is one.
fn without_scheme(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    Some(authority.split(':').next().unwrap_or(authority))
}
