//! The chain of addresses in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::message::Fields;

use super::X_FORWARDED_FOR;

/// The hops, from the nearest to the farthest; `None` for what is no address.
pub(super) fn x_forwarded_for(headers: &Fields) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR.as_str()).rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
        .map(|entry| address(std::str::from_utf8(entry).ok()?))
        .collect()
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bracketed =
        || -> Option<Ipv6Addr> { text.strip_prefix('[')?.strip_suffix(']')?.parse().ok() };
    let address = text
        .parse()
        .ok()
        .or_else(|| {
            text.parse()
                .ok()
                .map(|with_port: SocketAddr| with_port.ip())
        })
        .or_else(|| bracketed().map(IpAddr::V6))?;
    // Nobody has the unspecified one (RFC 1122 §3.2.1.3, RFC 4291 §2.5.2), which stands for those
    // without an address here.
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}
