//! What TLS names: who a certificate is for, and protocols.

use super::{Fault, host};
use crate::config::codes::Code;

/// A name of a host, an IP address, or a URI.
pub(super) fn san(text: &str) -> Result<(), Fault> {
    let parts = text.split_once("://");
    let parts = parts.or_else(|| Some(("urn", text.strip_prefix("urn:")?)));
    let Some((scheme, rest)) = parts else {
        return host::name(text);
    };
    let wrong = |why: &str| Err(Fault::new(Code::Host, "a name of a certificate", why));
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(in_scheme) {
        wrong("a URI begins with its scheme: `spiffe://example.org/api`")
    } else if rest.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        wrong("a URI is made of visible characters of ASCII")
    } else {
        Ok(())
    }
}

/// The name of a protocol (RFC 7301 §3.1): up to 255 bytes, here of visible ones.
pub(super) fn protocol(text: &str) -> Result<(), Fault> {
    let is_good = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_good && (1..=255).contains(&text.len()) {
        return Ok(());
    }
    let why = "such as `http/1.1`: up to 255 visible characters of ASCII";
    Err(Fault::new(Code::WrongValue, "a protocol", why))
}
