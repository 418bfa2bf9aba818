//! `Forwarded` (RFC 7239): one element for each proxy, the nearest last.

use std::net::IpAddr;

use http::header;

use crate::message::{Fields, Value, is_token_byte};
use crate::net::UNNAMED;
use crate::policy::list::split;

use super::chain;

/// Our element: whom we got the request from, for which host and by which scheme.
pub(super) fn element(peer: IpAddr, host: Option<Value<'_>>, scheme: &str) -> String {
    let node = match peer {
        // §6.2: it came by a Unix socket.
        peer if peer == UNNAMED.ip() => "unknown".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""), // §6: quoted, for its colons
    };
    let host = match host.and_then(Value::to_str) {
        Some(host) if !host.is_empty() => format!(";host={}", value(host)),
        _ => String::new(),
    };
    format!("for={node}{host};proto={scheme}")
}

/// The hops that `for` names, from the nearest to the farthest; `None` for `unknown`, hidden names
/// (§6.3) and whatever is no address.
pub(super) fn chain(headers: &Fields) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    for line in headers.get_all(header::FORWARDED.as_str()) {
        let line = line.to_str().unwrap_or("unreadable");
        let elements = split(line, ',')
            .map(str::trim)
            .filter(|element| !element.is_empty());
        hops.extend(elements.map(hop));
    }
    hops.reverse();
    hops
}

fn hop(element: &str) -> Option<IpAddr> {
    split(element, ';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("for"))
        .and_then(|(_, node)| chain::address(node.trim_matches('"')))
}

/// A token as it is, anything else quoted (§4; RFC 9110 §5.6.2, §5.6.4).
fn value(text: &str) -> String {
    if text.bytes().all(is_token_byte) {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }
}
