//! Header fields and methods.

use super::Fault;
use crate::config::codes::Code;

/// A field's name (RFC 9110 §5.1).
pub(super) fn name(text: &str) -> Result<(), Fault> {
    match not_a_token(text) {
        Some(why) => Err(Fault::new(Code::Field, "a field's name", why)),
        None => Ok(()),
    }
}

/// A field's value (RFC 9110 §5.5), without what is obsolete.
pub(super) fn value(text: &str) -> Result<(), Fault> {
    let fault = |why: String| Err(Fault::new(Code::Field, "a field's value", why));
    if let Some(bad) = text.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        return fault(format!(
            "`{}` cannot be in a field's value",
            bad.escape_default()
        ));
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return fault("white space at either end is not part of a value".to_owned());
    }
    Ok(())
}

/// A protocol's name (RFC 7301 §3.1).
pub(super) fn protocol(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Err(Fault::new(Code::WrongValue, "a protocol", why));
    if text.is_empty() {
        return fault("its name is empty");
    }
    if text.len() > 255 {
        return fault("its name has at most 255 bytes");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fault("its name is of visible ASCII");
    }
    Ok(())
}

/// A method (RFC 9110 §9.1).
pub(super) fn method(text: &str) -> Result<(), Fault> {
    let fault = |why: String| Fault::new(Code::Method, "a method", why);
    if let Some(why) = not_a_token(text) {
        return Err(fault(why));
    }
    let upper = text.to_ascii_uppercase();
    if upper != text && STANDARD.contains(&upper.as_str()) {
        return Err(fault("the case of a method matters".to_owned()).meant(upper));
    }
    Ok(())
}

fn not_a_token(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("it is empty".to_owned());
    }
    // RFC 9110 §5.6.2
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let bad = text.chars().find(|c| !good(*c))?;
    Some(format!("`{}` cannot be in it", bad.escape_default()))
}

/// RFC 9110 §9.3 and RFC 5789.
const STANDARD: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];
