//! Addresses: what a listener binds, where an endpoint is, networks, Unix sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::Path;

use ipnet::IpNet;

use super::{Fault, host};
use crate::config::codes::Code;

/// What a listener accepts on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) enum Bind {
    /// `:8080`: every address of both families.
    Every(u16),
    /// One address, which may be the wildcard of its family.
    One(SocketAddr),
    /// A Unix socket's path, or its abstract name behind `@`.
    Unix(String),
}

/// Where an endpoint is, in a form in which the same place is written only one way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::config) enum Endpoint {
    Ip(SocketAddr),
    Name(String, u16),
    Unix(String),
}

impl Bind {
    /// Its port; 0, which is never the same one twice, where there is none.
    pub(in crate::config) fn port(&self) -> u16 {
        match self {
            Self::Every(port) => *port,
            Self::One(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }

    /// The same where it is written whether IPv6 leaves IPv4 alone.
    pub(in crate::config) fn with_v6_only(self, v6_only: Option<bool>) -> Self {
        let every = |port| SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        match (self, v6_only) {
            (Self::Every(port), Some(true)) => Self::One(every(port)),
            (Self::One(address), Some(false)) if address == every(address.port()) => {
                Self::Every(address.port())
            }
            (bind, _) => bind,
        }
    }

    /// Whether both cannot be bound at once. Port 0 is never the same port twice. `[::]` written
    /// out is IPv6 alone, so that it can stand beside `0.0.0.0`.
    pub(in crate::config) fn overlaps(&self, other: &Self) -> bool {
        if let (Self::Unix(a), Self::Unix(b)) = (self, other) {
            return a == b;
        }
        if self.port() != other.port() || self.port() == 0 {
            return false;
        }
        match (self, other) {
            (Self::One(a), Self::One(b)) => {
                let wildcard = a.ip().is_unspecified() || b.ip().is_unspecified();
                a.ip() == b.ip() || (wildcard && a.is_ipv4() == b.is_ipv4())
            }
            (Self::Unix(_), _) | (_, Self::Unix(_)) => false,
            (Self::Every(_), _) | (_, Self::Every(_)) => true,
        }
    }

    /// Whether a connection to an address of this machine arrives here.
    pub(in crate::config) fn receives(&self, address: SocketAddr) -> bool {
        if self.port() != address.port() || self.port() == 0 {
            return false;
        }
        match self {
            // Other addresses may be those of other machines.
            Self::Every(_) => address.ip().is_loopback(),
            Self::One(bound) if bound.ip().is_unspecified() => {
                address.ip().is_loopback() && bound.is_ipv4() == address.is_ipv4()
            }
            Self::One(bound) => bound.ip() == address.ip(),
            Self::Unix(_) => false,
        }
    }
}

/// `:8080`, `10.0.0.1:8080`, `[::1]:8080`.
pub(in crate::config) fn bind(text: &str) -> Result<Bind, Fault> {
    let fault = |why: &str| Fault::new(Code::Address, "an address to accept on", why);
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path, "an address to accept on").map(|()| Bind::Unix(path.to_owned()));
    }
    if let Some(port) = text.strip_prefix(':') {
        return port_number(port, 0)
            .map(Bind::Every)
            .ok_or_else(|| fault(PORT));
    }
    if let Ok(address) = text.parse() {
        return Ok(Bind::One(address));
    }
    if port_number(text, 1).is_some() {
        return Err(
            fault("a port alone: every address is a colon before it").meant(format!(":{text}"))
        );
    }
    if let Some(port) = text
        .strip_prefix("*:")
        .filter(|port| port_number(port, 1).is_some())
    {
        return Err(fault("every address is a colon alone").meant(format!(":{port}")));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(fault("the port is missing"));
    }
    Err(match text.rsplit_once(':') {
        Some((host, port)) if port_number(port, 0).is_none() && is_ip(host) => fault(PORT),
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => {
            fault("an IPv6 address stands in brackets").meant(format!("[{host}]:{port}"))
        }
        Some(("localhost", port)) => {
            fault("names are not looked up here").meant(format!("127.0.0.1:{port}"))
        }
        _ if text.starts_with('/') => {
            fault("the path of a Unix socket stands behind `unix:`").meant(format!("unix:{text}"))
        }
        _ => fault("`:8080`, `10.0.0.1:8080` or `[::1]:8080` is expected"),
    })
}

/// The same without Unix sockets.
pub(super) fn ip_bind(text: &str) -> Result<(), Fault> {
    match bind(text)? {
        Bind::Every(_) | Bind::One(_) => Ok(()),
        Bind::Unix(_) => {
            let why = "`admin.socket` is the one at a Unix socket";
            Err(Fault::new(Code::Address, "an address and port", why))
        }
    }
}

/// A network, or `unix`.
pub(super) fn proxy(text: &str) -> Result<(), Fault> {
    if text == "unix" {
        return Ok(());
    }
    network(text)
}

/// What stands behind `unix:`: a path, or an abstract name behind `@`.
fn unix(path: &str, what: &'static str) -> Result<(), Fault> {
    let wrong = |why: &str| Err(Fault::new(Code::Address, what, why));
    match path.strip_prefix('@') {
        Some("") => wrong("the name of an abstract socket is missing behind `@`"),
        None if !Path::new(path).is_absolute() => {
            wrong("the path of a Unix socket begins with `/`, or is a name behind `@`")
        }
        Some(_) | None => socket_path(path),
    }
}

/// `10.0.0.1:80`, `[::1]:80`, `name:80`, `unix:/path`, `unix:@name`.
pub(in crate::config) fn endpoint(text: &str) -> Result<Endpoint, Fault> {
    let fault = |why: &str| Fault::new(Code::Address, "an address of an endpoint", why);
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path, "an address of an endpoint").map(|()| Endpoint::Unix(path.to_owned()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let bare = rest.split('/').next().unwrap_or(rest);
        let port = if scheme == "https" { "443" } else { "80" };
        let meant = if bare.contains(':') {
            bare.to_owned()
        } else {
            format!("{bare}:{port}")
        };
        return Err(fault("an address has no scheme and no path").meant(meant));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(fault(
            "an IPv6 address stands in brackets, with the port behind them",
        ));
    }
    let Some((name, port)) = text.rsplit_once(':') else {
        return Err(fault("the port is missing"));
    };
    let Some(port) = port_number(port, 1) else {
        return Err(fault(PORT));
    };
    if let Ok(address) = text.parse() {
        return Ok(Endpoint::Ip(plain(address)));
    }
    if name.parse::<Ipv6Addr>().is_ok() {
        let meant = format!("[{name}]:{port}");
        return Err(fault("an IPv6 address stands in brackets").meant(meant));
    }
    match host::check_name(name) {
        Ok(()) if name.is_empty() => Err(fault("the host is missing")),
        Ok(()) => Ok(Endpoint::Name(host::normalised(name), port)),
        Err(why) => Err(fault(&why)),
    }
}

/// `10.0.0.0/8`.
pub(super) fn network(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Address, "a network", why);
    match text.parse::<IpNet>() {
        Ok(_) => Ok(()),
        Err(_) => Err(match text.parse::<IpAddr>() {
            Ok(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                fault("the length of the network is missing").meant(format!("{address}/{bits}"))
            }
            Err(_) => fault("an IP address, `/` and a number of bits are expected: 10.0.0.0/8"),
        }),
    }
}

/// A path that a Unix socket can have.
pub(super) fn socket_path(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Address, "the path of a Unix socket", why);
    if text.is_empty() {
        Err(fault("it is empty"))
    } else if text.len() > LONGEST_SOCKET_PATH {
        Err(fault("longer than the 107 bytes that the kernel allows"))
    } else if text.contains('\0') {
        Err(fault("a path cannot hold a NUL byte"))
    } else {
        Ok(())
    }
}

/// An address without what does not tell endpoints apart.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
    }
}

fn is_ip(host: &str) -> bool {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host).parse::<IpAddr>().is_ok()
}

/// A port in plain digits; `u16::from_str` would take `+80` as well.
fn port_number(text: &str, least: u16) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = text.parse().ok().filter(|_| digits)?;
    (port >= least).then_some(port)
}

const PORT: &str = "a port from 1 to 65535 is expected behind the colon";

/// `sun_path` of unix(7) has 108 bytes, the last of which is NUL.
const LONGEST_SOCKET_PATH: usize = 107;
