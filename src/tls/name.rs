//! Whom a session is with.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

/// The name that a host is asked for by: what stands before the port, without brackets.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => ServerName::try_from(bare.to_owned()).ok(),
    }
}
