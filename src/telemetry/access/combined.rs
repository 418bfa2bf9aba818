//! A line of the access log in the Combined Log Format of Apache and nginx, for the tools that have
//! read it for thirty years.

use crate::telemetry::text::{self, Clock};

use super::Entry;

/// Appends one line:
/// `10.0.0.1 - - [02/Jan/2026:03:04:05 +0000] "GET / HTTP/1.1" 200 12 "-" "curl"`.
pub(super) fn line(out: &mut Vec<u8>, clock: &mut Clock, entry: &Entry<'_>, query: Option<&[u8]>) {
    text::address(out, entry.client.ip());
    out.extend_from_slice(b" - - [");
    clock.combined(out, entry.at);
    out.extend_from_slice(b"] \"");
    request(out, entry, query);
    out.extend_from_slice(b"\" ");
    match entry.status {
        Some(status) => text::number(out, status),
        None => out.push(b'-'),
    }
    out.push(b' ');
    text::number(out, entry.response_bytes);
    quoted(out, entry.referer);
    quoted(out, entry.user_agent);
    out.push(b'\n');
}

/// What was asked for; `-`, as for all that is not known, where the bytes were not read.
fn request(out: &mut Vec<u8>, entry: &Entry<'_>, query: Option<&[u8]>) {
    if entry.method.is_empty() {
        return out.push(b'-');
    }
    text::hex_escaped(out, entry.method.as_bytes());
    out.push(b' ');
    text::hex_escaped(out, entry.path);
    if let Some(query) = query {
        out.push(b'?');
        text::hex_escaped(out, query);
    }
    out.extend_from_slice(b" HTTP/");
    out.extend_from_slice(entry.version.as_bytes());
}

fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b" \"");
    text::hex_escaped(out, if value.is_empty() { b"-" } else { value });
    out.push(b'"');
}
