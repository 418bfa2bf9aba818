//! Options of sockets: what a configuration may set, and how.
//!
//! Problem: an option that cannot be set shows at the first connection, when it is too late, and
//! one that is changed by closing the socket and opening another costs the connections in its
//! queue. So every option is tried on a socket of its own before anything is changed
//! ([`Listening::rehearse`], [`Connecting::rehearse`]), and all that can change on a socket in use
//! is changed there ([`Listening::apply`]): connections that are accepted later inherit it.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::kernel_buffers::KernelBuffers;
use super::unix::{Access, SocketFile};
use crate::config::{self, DscpEntry, Intercept, KeepaliveEntry, ListenerSocket, UpstreamSocket};

/// Options of sockets that accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// Connections that wait to be accepted.
    pub(super) backlog: i32,
    keepalive: Option<Keepalive>,
    nodelay: bool,
    fast_open: bool,
    freebind: bool,
    destinations: Destinations,
    way: Way,
    /// Of sockets that take datagrams.
    buffers: KernelBuffers,
    /// Whether IPv6 leaves IPv4 alone, if that was written.
    pub(super) v6_only: Option<bool>,
    /// Whom the file of a Unix socket is for.
    pub(super) access: Access,
}

/// Options of sockets that lead to endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connecting {
    keepalive: Option<Keepalive>,
    way: Way,
    /// Of sockets for datagrams.
    buffers: KernelBuffers,
}

/// To which addresses connections are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destinations {
    /// To that of the socket.
    Own,
    /// To any that the firewall hands over (TPROXY).
    Any,
}

/// How what is sent finds its way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Way {
    mark: u32,
    /// Differentiated services (RFC 2474): the upper six bits of what was once the type of service.
    dscp: u8,
    device: Option<Box<str>>,
}

/// When the kernel asks whether the other end still exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keepalive {
    pub(super) idle: Duration,
    pub(super) interval: Duration,
    pub(super) count: u32,
}

impl Default for Listening {
    fn default() -> Self {
        Self::new(&ListenerSocket::default(), Destinations::Own)
    }
}

impl Listening {
    /// What was written of a listener.
    pub fn of(listener: &config::Listener) -> Self {
        let destinations = match listener.intercept {
            Some(Intercept::Tproxy) => Destinations::Any,
            Some(Intercept::Redirect) | None => Destinations::Own,
        };
        Self::new(&listener.socket, destinations)
    }

    /// Those of sockets that another process made: what cannot be changed of a bound one. The rest
    /// is not known.
    pub(super) fn of_adopted(device: Option<&str>, v6_only: Option<bool>) -> Self {
        let mut options = Self::default();
        options.way.device = device.map(Into::into);
        options.v6_only = v6_only;
        options
    }

    /// The interface that they are for.
    pub(super) fn device(&self) -> Option<&str> {
        self.way.device.as_deref()
    }

    fn new(written: &ListenerSocket, destinations: Destinations) -> Self {
        let backlog = written
            .backlog
            .and_then(|backlog| i32::try_from(backlog).ok());
        Self {
            backlog: backlog.unwrap_or(BACKLOG),
            keepalive: written.keepalive.map(Keepalive::new),
            nodelay: written.nodelay.unwrap_or(true),
            fast_open: written.fast_open.unwrap_or(false),
            freebind: written.freebind.unwrap_or(false),
            destinations,
            way: Way::new(
                written.mark,
                written.dscp.as_ref(),
                written.bind_to_device.as_deref(),
            ),
            buffers: KernelBuffers::of_listener(written.receive_buffer, written.send_buffer),
            v6_only: written.v6_only,
            access: Access::new(written),
        }
    }

    /// Whether sockets with those other options can become ones with these.
    pub(super) fn is_bound_as(&self, other: &Self) -> bool {
        self.has_device_of(other) && self.v6_only == other.v6_only
    }

    /// Whether both are for the same interface, or for any.
    pub(super) fn has_device_of(&self, other: &Self) -> bool {
        self.way.device == other.way.device
    }

    /// Whether nothing that comes to sockets with those other options is kept from these by the
    /// interface that they are bound to.
    pub(super) fn is_bound_as_widely_as(&self, other: &Self) -> bool {
        self.way.device.is_none() || self.has_device_of(other)
    }

    /// Whether Fast Open is asked for.
    pub fn wants_fast_open(&self) -> bool {
        self.fast_open
    }

    /// Tries on a socket of its own what may be refused.
    pub fn rehearse(&self, bind: &str, is_udp: bool) -> io::Result<()> {
        if let Some(path) = bind.strip_prefix("unix:") {
            return SocketFile::rehearse(Path::new(path), &self.access);
        }
        if self.destinations == Destinations::Any {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None::<Protocol>)?;
            self.take_destinations(&socket, false)?;
        }
        self.way.rehearse(is_udp)
    }

    /// What has to stand before the socket is bound.
    pub(super) fn prepare(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        if self.way.device.is_some() {
            self.way.bind_device(socket)?;
        }
        if self.freebind {
            let set = if is_ipv6 {
                socket.set_freebind_v6(true)
            } else {
                socket.set_freebind_v4(true)
            };
            set.map_err(named("freebind", ""))?;
        }
        Ok(())
    }

    /// Makes a socket that takes datagrams one with these options.
    pub(super) fn apply_to_datagrams(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        self.buffers.apply(socket);
        self.way.apply(socket, is_ipv6)
    }

    /// Makes a socket that listens already, or shall do so now, one with these options.
    pub(super) fn apply(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        self.way.apply(socket, is_ipv6)?;
        self.take_destinations(socket, is_ipv6)?;
        // Linux hands these down to accepted sockets: no system calls per connection.
        socket.set_tcp_nodelay(self.nodelay)?;
        match self.keepalive {
            Some(keepalive) => keepalive.apply(socket)?,
            None => socket.set_keepalive(false)?,
        }
        // Again on one that listens, it changes the length of its queue.
        socket.listen(self.backlog)?;
        let waiting = if self.fast_open { FAST_OPEN } else { 0 };
        set_number(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, waiting)
            .or_else(|error| if self.fast_open { Err(error) } else { Ok(()) })
            .map_err(named("fast_open", ""))
    }

    fn take_destinations(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        let any = self.destinations == Destinations::Any;
        let set = if is_ipv6 {
            socket.set_ip_transparent_v6(any)
        } else {
            socket.set_ip_transparent_v4(any)
        };
        match set {
            // Who never asked for it need not be allowed to do without.
            Err(_) if !any => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(io::Error::new(error.kind(), NO_TPROXY))
            }
            result => result,
        }
    }
}

impl Connecting {
    /// What was written; none if that changes nothing.
    pub fn new(written: &UpstreamSocket) -> Option<Self> {
        let options = Self {
            keepalive: written.keepalive.map(Keepalive::new),
            way: Way::new(
                written.mark,
                written.dscp.as_ref(),
                written.bind_to_device.as_deref(),
            ),
            buffers: KernelBuffers::new(written.receive_buffer, written.send_buffer),
        };
        (options != Self::default()).then_some(options)
    }

    /// Tries on a socket of its own what may be refused.
    pub fn rehearse(&self) -> io::Result<()> {
        self.way.rehearse(false)
    }

    /// What has to stand before a connection is opened.
    pub(super) fn prepare(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        if let Some(keepalive) = self.keepalive {
            keepalive.apply(socket)?;
        }
        self.prepare_way(socket, is_ipv6)
    }

    /// The same where there is none.
    pub(super) fn prepare_datagrams(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        self.buffers.apply(socket);
        self.prepare_way(socket, is_ipv6)
    }

    fn prepare_way(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        if self.way.device.is_some() {
            self.way.bind_device(socket)?;
        }
        self.way.apply(socket, is_ipv6)
    }

    /// The same of a socket that has other options.
    pub(super) fn change_datagrams(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        let present = socket.device()?;
        if present.as_deref() != self.way.device.as_deref().map(str::as_bytes) {
            self.way.bind_device(socket)?;
        }
        self.buffers.apply(socket);
        self.way.apply(socket, is_ipv6)
    }
}

impl Way {
    /// What was written.
    fn new(mark: Option<u32>, dscp: Option<&DscpEntry>, device: Option<&str>) -> Self {
        Self {
            mark: mark.unwrap_or(0),
            dscp: dscp.and_then(DscpEntry::number).unwrap_or(0),
            device: device.map(Into::into),
        }
    }

    fn rehearse(&self, is_udp: bool) -> io::Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        let kind = if is_udp { Type::DGRAM } else { Type::STREAM };
        let socket = Socket::new(Domain::IPV4, kind, None::<Protocol>)?;
        self.bind_device(&socket)?;
        self.apply(&socket, false)
    }

    fn bind_device(&self, socket: &Socket) -> io::Result<()> {
        let name = self.device.as_deref().map(str::as_bytes);
        socket.bind_device(name).map_err(|error| {
            if error.raw_os_error() == Some(libc::ENODEV) {
                let why = "there is no such interface (`ip link` lists those)";
                return named("bind_to_device", why)(error);
            }
            named("bind_to_device", "it needs CAP_NET_RAW")(error)
        })
    }

    fn apply(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        // Without a mark no privilege is needed, unless it is set.
        if socket.mark().unwrap_or(0) != self.mark {
            let set = socket.set_mark(self.mark);
            set.map_err(named("mark", "it needs CAP_NET_ADMIN"))?;
        }
        let class = u32::from(self.dscp) << 2;
        if is_ipv6 && socket.tclass_v6()? != class {
            socket.set_tclass_v6(class).map_err(named("dscp", ""))?;
        }
        // Of an IPv6 socket it is what its clients of IPv4 get.
        if socket.tos_v4().unwrap_or(0) & DSCP != class {
            socket.set_tos_v4(class).map_err(named("dscp", ""))?;
        }
        Ok(())
    }
}

impl Keepalive {
    /// What is asked where a stream may be silent for an hour and nobody wrote anything: two
    /// minutes in all, as long as mobile networks are known to be away.
    pub(super) const USUAL: Self = Self {
        idle: Duration::from_mins(1),
        interval: Duration::from_secs(15),
        count: 4,
    };

    fn new(written: KeepaliveEntry) -> Self {
        let usual = Self::USUAL;
        match written {
            KeepaliveEntry::Idle(idle) => Self {
                idle: idle.0,
                ..usual
            },
            KeepaliveEntry::Detailed(written) => Self {
                idle: written.idle.map_or(usual.idle, |time| time.0),
                interval: written.interval.map_or(usual.interval, |time| time.0),
                count: written.count.map_or(usual.count, u32::from),
            },
        }
    }

    pub(super) fn apply(self, socket: &Socket) -> io::Result<()> {
        let keepalive = TcpKeepalive::new()
            .with_time(self.idle)
            .with_interval(self.interval)
            .with_retries(self.count);
        socket.set_tcp_keepalive(&keepalive)
    }
}

/// Which option the system refused, and what would help.
fn named(option: &'static str, help: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| {
        let colon = if help.is_empty() { "" } else { ": " };
        let why = format!("`socket.{option}` cannot be set: {error}{colon}{help}");
        io::Error::new(error.kind(), why)
    }
}

#[expect(
    unsafe_code,
    reason = "no crate of the tree has these options of a socket"
)]
pub(super) fn set_number(socket: &Socket, level: i32, option: i32, number: i32) -> io::Result<()> {
    let number: libc::c_int = number;
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>());
    // SAFETY: the kernel reads as many bytes as `number` has, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const number).cast(),
            size.unwrap_or_default(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Connections that wait to be accepted, per worker. The kernel cuts it to `net.core.somaxconn`
/// (4096 by default), so this says "as many as the machine allows": a burst beyond it costs clients
/// a second each, for their SYN is dropped.
const BACKLOG: i32 = 65_535;

/// Connections with data whose clients have not yet shown that they have the address that they
/// claim: each costs memory that a stranger can claim, and beyond it the usual handshake is made.
const FAST_OPEN: i32 = 256;

const NO_TPROXY: &str = "no permission to take connections to other addresses: \
    `intercept = \"tproxy\"` needs CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN; \
    container: add NET_ADMIN)";

/// The bits of the type of service that are not for congestion (RFC 3168).
const DSCP: u32 = 0xfc;
