//! Where a listener accepts, and why it may not.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::intercept::is_local;

/// An address to accept on, parsed from what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Whether an IPv6 socket takes IPv4 as well: only `:8080`, "every address", asks for that.
    /// `[::]:8080` means IPv6 alone, so that it can stand beside `0.0.0.0:8080`.
    pub dual_stack: bool,
}

/// Why an address cannot be accepted on; says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Not one of the forms of an address.
    #[error(
        "`{0}` is not an address to accept on: write `:8080` for every address, `10.0.0.1:8080`, \
         or `[::1]:8080`"
    )]
    Syntax(String),
    /// Somebody listens there already.
    #[error(
        "address {0} is in use: another program accepts on this port \
         (`ss -lntup 'sport = :{port}'` names it)",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// A port below 1024 without the privilege.
    #[error(
        "no permission to accept on {0}: ports below 1024 need CAP_NET_BIND_SERVICE \
         (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE; container: add NET_BIND_SERVICE; with \
         `user`: security.keep_capabilities = [\"net_bind_service\"]), \
         or use a port from 1024 on"
    )]
    Privileged(SocketAddr),
    /// Refused by the system for another reason than the port's number.
    #[error("no permission to accept on {0}: a security policy of this machine forbids it")]
    Forbidden(SocketAddr),
    /// The machine does not have this address.
    #[error("address {0} is not one of this machine (`ip address` lists those)")]
    NotHere(SocketAddr),
    /// The process may not open more files.
    #[error("too many open files to accept on {0}: raise the limit (`ulimit -n`, LimitNOFILE=)")]
    Files(SocketAddr),
    /// Anything else.
    #[error("cannot accept on {0}: {1}")]
    Other(SocketAddr, String),
}

impl Bind {
    /// Every IPv4 address instead of every address: for machines without IPv6.
    pub(super) fn without_ipv6(self) -> Option<Self> {
        self.dual_stack.then(|| Self {
            address: SocketAddr::from(([0, 0, 0, 0], self.address.port())),
            dual_stack: false,
        })
    }

    /// The same where it is written whether IPv6 leaves IPv4 alone.
    pub(super) fn with_v6_only(mut self, v6_only: Option<bool>) -> Self {
        if self.address.is_ipv6() {
            self.dual_stack = v6_only.map_or(self.dual_stack, |v6_only| !v6_only);
        }
        self
    }

    /// Whether a connection to an address is taken here.
    pub fn takes(self, address: SocketAddr) -> bool {
        let ip = self.address.ip();
        let is_spoken = address.is_ipv6() == ip.is_ipv6() || ip.is_ipv6() && self.dual_stack;
        let is_here = || ip.is_unspecified() && is_spoken && is_local(address.ip());
        self.address.port() == address.port() && (ip == address.ip() || is_here())
    }

    /// The same with another port.
    pub(super) fn with_port(mut self, port: u16) -> Self {
        self.address.set_port(port);
        self
    }
}

impl FromStr for Bind {
    type Err = BindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || BindError::Syntax(text.to_owned());
        if let Some(port) = text.strip_prefix(':') {
            // `u16::from_str` takes a sign, which is not a port.
            if !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(syntax());
            }
            let port = port.parse().map_err(|_| syntax())?;
            let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            return Ok(Self {
                address,
                dual_stack: true,
            });
        }
        let address = text.parse().map_err(|_| syntax())?;
        Ok(Self {
            address,
            dual_stack: false,
        })
    }
}

impl BindError {
    /// What an error of the system means for this address.
    pub(super) fn explain(address: SocketAddr, error: &io::Error) -> Self {
        if error.get_ref().is_some() {
            // It says already which option is to blame.
            return Self::Other(address, error.to_string());
        }
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NotHere(address),
            io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
                Self::Privileged(address)
            }
            io::ErrorKind::PermissionDenied => Self::Forbidden(address),
            _ if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => Self::Files(address),
            _ => Self::Other(address, error.to_string()),
        }
    }

    /// The kind of the error as the standard library names it.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Syntax(_) => io::ErrorKind::InvalidInput,
            Self::InUse(_) => io::ErrorKind::AddrInUse,
            Self::Privileged(_) | Self::Forbidden(_) => io::ErrorKind::PermissionDenied,
            Self::NotHere(_) => io::ErrorKind::AddrNotAvailable,
            Self::Files(_) | Self::Other(..) => io::ErrorKind::Other,
        }
    }
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The process has as many open files as it may.
const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
/// The system has as many open files as it can.
const ENFILE: i32 = rustix::io::Errno::NFILE.raw_os_error();
