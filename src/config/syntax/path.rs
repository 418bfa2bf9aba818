//! Paths: of a route, of a rewrite, of a probe.

use std::fmt::Write as _;

use super::{Fault, compile};
use crate::config::codes::Code;

/// A route's path: a prefix, `=` an exact path, `~` a regular expression.
pub(super) fn pattern(text: &str) -> Result<(), Fault> {
    if let Some(expression) = text.strip_prefix('~') {
        return compile(expression).map(drop);
    }
    let (mark, path_part) = match text.strip_prefix('=') {
        Some(exact) => ("=", exact),
        None => ("", text),
    };
    path(path_part).map_err(|fault| Fault {
        suggestion: fault.suggestion.map(|path| format!("{mark}{path}")),
        ..fault
    })?;
    if let Some(prefix) = text.strip_suffix("/*") {
        let why = "a path is a prefix by itself; a star would be a plain character";
        return Err(fault(why).meant(format!("{prefix}/")));
    }
    if has_dots(path_part) {
        return Err(fault("requests with `.` and `..` segments are refused"));
    }
    Ok(())
}

/// A path without query.
pub(super) fn path(text: &str) -> Result<(), Fault> {
    if let Some(at) = text.find(['?', '#']) {
        let why = format!("`{}` ends a path", &text[at..=at]);
        let path = &text[..at];
        return Err(if path.starts_with('/') {
            fault(&why).meant(path)
        } else {
            fault(&why)
        });
    }
    target(text)
}

/// A path with or without query.
pub(super) fn target(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(fault("it is empty").meant("/"));
    }
    if !text.starts_with('/') {
        let why = "a path begins with `/`";
        let good = text.chars().all(|c| is_target(c) || c == '?' || c == '%');
        return Err(if good && !text.contains("://") {
            fault(why).meant(format!("/{text}"))
        } else {
            fault(why)
        });
    }
    for (at, c) in text.char_indices() {
        if c == '%' {
            let digits = text.get(at + 1..at + 3).unwrap_or("");
            if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(fault(
                    "`%` stands before two hexadecimal digits; a plain one is `%25`",
                ));
            }
        } else if !is_target(c) && c != '?' {
            let escaped = escaped(c);
            let why = format!("`{}` has to be written as `{escaped}`", c.escape_debug());
            return Err(fault(&why));
        }
    }
    Ok(())
}

fn fault(why: &str) -> Fault {
    Fault::new(Code::Path, "a path", why)
}

/// `pchar` and `/` of RFC 3986 §3.3, without `%`.
fn is_target(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c)
}

fn escaped(c: char) -> String {
    c.to_string().bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "%{byte:02X}"); // a String takes everything
        out
    })
}

fn has_dots(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}
