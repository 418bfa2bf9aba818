//! Whom a session is with.

use std::net::IpAddr;

use rustls::pki_types::ServerName;

/// The name that a host is asked for by: what stands before the port, without brackets.
pub fn server_name(host: &str) -> Option<ServerName<'static>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.into());
    }
    let bare = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    match bare.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => ServerName::try_from(bare.to_owned()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_asked_for_without_its_port() {
        let name = |host| server_name(host).map(|name| name.to_str().into_owned());
        let is = |host, expected: &str| assert_eq!(name(host).as_deref(), Some(expected), "{host}");
        is("a.test", "a.test");
        is("a.test:8443", "a.test");
        is("192.0.2.7:443", "192.0.2.7");
        is("[2001:db8::1]:443", "2001:db8::1");
        is("[2001:db8::1]", "2001:db8::1");
        is("2001:db8::1", "2001:db8::1");
        is("::1", "::1");
        for nobody in ["", ":443", "a b", "[::1", "ä.test", "*.test", "a..test"] {
            assert_eq!(name(nobody), None, "{nobody}");
        }
    }
}
