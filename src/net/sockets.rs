//! The listening sockets of one address: one per worker.
//!
//! Problem: workers that share one listening socket wake each other for nothing and share its lock.
//! With `SO_REUSEPORT` each worker has a socket and an accept queue of its own, and the kernel
//! spreads connections over them. But a connection in the queue of a socket that is closed is
//! reset, and a socket that is open while nobody accepts swallows connections. So the sockets of an
//! address stay open over reloads as one value, and each worker closes its own at the end, after it
//! has emptied the queue.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

use super::address::{UNNAMED, canonical};
use super::bind::{Bind, BindError};
use super::datagram;
use super::incoming::Incoming;
use super::options::Listening;
use super::unix::SocketFile;

/// Bound sockets that take connections, or datagrams: one per worker, all on the same address and
/// port.
#[derive(Debug)]
pub struct Sockets {
    /// The address with the port that was really bound; [`UNNAMED`] for a Unix socket.
    pub local: SocketAddr,
    /// The same with whom else it takes; none of a Unix socket.
    pub bound: Option<Bind>,
    /// The path of a Unix socket, or its abstract name behind `@`.
    pub path: Option<Arc<PathBuf>>,
    /// What comes by them.
    pub transport: Transport,
    /// What they were last made to be.
    pub(super) options: Mutex<Listening>,
    pub(super) open: Vec<Mutex<Option<Socket>>>,
    /// That of a Unix socket, while clients can find it.
    pub(super) file: Mutex<Option<SocketFile>>,
    /// Whether another process has them too, which goes on with them.
    pub(super) passed_on: AtomicBool,
    /// Whether it is another process that made them, with options that are not known here.
    pub(super) is_adopted: AtomicBool,
}

/// What comes by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
    /// Connections, by a Unix socket that all workers share.
    Unix,
}

impl Transport {
    /// What comes by an address, as datagrams or else as connections.
    pub fn of(bind: &str, is_udp: bool) -> Self {
        match (is_udp, bind.starts_with(UNIX)) {
            (true, _) => Self::Udp,
            (false, true) => Self::Unix,
            (false, false) => Self::Tcp,
        }
    }
}

impl Sockets {
    /// Binds and listens for so many workers (at least one). Fails when anybody else accepts on
    /// the address, even somebody who would share it.
    pub fn bind(address: &str, workers: usize) -> io::Result<Self> {
        Self::open(Transport::Tcp, address, &Listening::default(), workers)
    }

    /// The same for either transport, and with options.
    pub fn open(
        transport: Transport,
        address: &str,
        options: &Listening,
        workers: usize,
    ) -> io::Result<Self> {
        if let Some(path) = address.strip_prefix(UNIX) {
            return Self::open_unix(Path::new(path), options, workers);
        }
        let bind = address.parse::<Bind>()?.with_v6_only(options.v6_only);
        if bind.address.port() != 0 {
            // With `SO_REUSEPORT` two programs of one user share a port without an error, and each
            // gets half of the connections: a trap at start-up. A socket without it cannot.
            let guard = open_or_ipv4(bind, (transport, options), false).map(|(guard, _)| guard);
            drop(guard.map_err(|error| BindError::explain(bind.address, &error))?);
        }
        Self::listen(bind, transport, options, workers)
    }

    /// The same beside sockets that overlap, of this program or of the one it takes over from: for
    /// reloads and upgrades.
    pub fn bind_shared(address: &str, workers: usize) -> io::Result<Self> {
        Self::open_shared(Transport::Tcp, address, &Listening::default(), workers)
    }

    /// The same for either transport, and with options.
    pub fn open_shared(
        transport: Transport,
        address: &str,
        options: &Listening,
        workers: usize,
    ) -> io::Result<Self> {
        let bind = address.parse::<Bind>()?.with_v6_only(options.v6_only);
        Self::listen(bind, transport, options, workers)
    }

    /// A worker's socket, non-blocking. May be asked for again: it is a new descriptor of the same
    /// socket. `None` once [`Sockets::close`] was called, or for a worker that does not exist.
    pub fn take(&self, worker: usize) -> io::Result<Option<TcpListener>> {
        let Some(socket) = self.slot(worker) else {
            return Ok(None);
        };
        let socket = socket.as_ref().map(Socket::try_clone).transpose()?;
        Ok(socket.map(TcpListener::from))
    }

    /// The same of what takes connections of any kind, watched by the runtime.
    pub fn incoming(&self, worker: usize) -> io::Result<Option<Incoming>> {
        let socket = match self.slot(worker) {
            Some(slot) => slot.as_ref().map(Socket::try_clone).transpose()?,
            None => None,
        };
        let Some(socket) = socket else {
            return Ok(None);
        };
        Ok(Some(match self.transport {
            Transport::Unix => Incoming::Unix(tokio::net::UnixListener::from_std(socket.into())?),
            Transport::Tcp | Transport::Udp => {
                Incoming::Tcp(tokio::net::TcpListener::from_std(socket.into())?)
            }
        }))
    }

    /// The same of a socket that takes datagrams.
    pub fn take_datagrams(&self, worker: usize) -> io::Result<Option<UdpSocket>> {
        let Some(socket) = self.slot(worker) else {
            return Ok(None);
        };
        let socket = socket.as_ref().map(Socket::try_clone).transpose()?;
        Ok(socket.map(UdpSocket::from))
    }

    /// Closes a worker's socket once the descriptors that it took are gone too. What is still in
    /// the accept queue is reset: empty it first.
    pub fn close(&self, worker: usize) {
        if let Some(mut socket) = self.slot(worker) {
            *socket = None;
        }
    }

    /// Takes the file of a Unix socket away: nobody else comes, and what is in the queue is all.
    pub fn withdraw(&self) {
        drop(self.file().take());
    }

    /// Whether every worker's socket is open, so that a reload may keep them.
    pub fn is_open(&self) -> bool {
        (0..self.workers()).all(|worker| self.slot(worker).is_some_and(|socket| socket.is_some()))
    }

    /// Whether clients still find them: the file of a Unix socket is there, and it is theirs.
    pub fn can_be_found(&self) -> bool {
        self.file().as_ref().is_none_or(SocketFile::is_ours)
    }

    /// Whether both are at the same address, or path.
    pub fn is_where(&self, other: &Self) -> bool {
        (self.local, &self.path) == (other.local, &other.path)
    }

    /// Whether what comes by those others would come by these, were the others not there; but for
    /// clients of IPv4, if these take none ([`Sockets::takes_ipv4`]).
    pub fn covers(&self, others: &Self) -> bool {
        let [own, other] = [self, others].map(|sockets| canonical(sockets.local));
        let is_within = own.ip() == other.ip() || own.ip().is_unspecified();
        let has_family = if other.is_ipv4() {
            self.takes_ipv4()
        } else {
            own.is_ipv6()
        };
        self.transport == others.transport
            && own.port() == other.port()
            && is_within
            && has_family
            && self.options().is_bound_as_widely_as(&others.options())
    }

    /// Whether clients of IPv4 may come.
    pub fn takes_ipv4(&self) -> bool {
        let is_dual = |socket: &Socket| !socket.only_v6().unwrap_or(true);
        let first = self.slot(0);
        self.local.is_ipv4() || first.is_some_and(|slot| slot.as_ref().is_some_and(is_dual))
    }

    /// Workers that have a socket here.
    pub fn workers(&self) -> usize {
        self.open.len()
    }

    /// Whether they can become what these options say, without others in their place.
    pub fn may_become(&self, options: &Listening) -> bool {
        self.options().is_bound_as(options)
    }

    /// Whether they are bound to what this address and these options say, however that is written.
    pub fn are_bound_to(&self, bind: &str, options: &Listening) -> bool {
        let bind = bind
            .parse()
            .map(|bind: Bind| bind.with_v6_only(options.v6_only));
        bind.ok() == self.bound && self.bound.is_some() && self.options().has_device_of(options)
    }

    /// Makes them what these options say, for the connections that come from now on.
    pub fn become_like(&self, options: &Listening) -> io::Result<()> {
        let mut present = self.options();
        let is_known = !self.is_adopted.swap(false, Ordering::AcqRel);
        if is_known && *present == *options {
            return Ok(());
        }
        for worker in 0..self.workers() {
            let Some(slot) = self.slot(worker) else {
                continue;
            };
            if let Some(socket) = &*slot {
                begin(socket, self.transport, options, self.local.is_ipv6())?;
            }
        }
        if let Some(file) = &*self.file() {
            file.give(&options.access)?;
        }
        *present = options.clone();
        Ok(())
    }

    pub(super) fn options(&self) -> MutexGuard<'_, Listening> {
        self.options.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn file(&self) -> MutexGuard<'_, Option<SocketFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One socket for all workers: the kernel has no `SO_REUSEPORT` for paths.
    fn open_unix(path: &Path, options: &Listening, workers: usize) -> io::Result<Self> {
        let (first, file) =
            SocketFile::listen(path, &options.access, options.backlog).map_err(io::Error::other)?;
        let others = (1..workers).map(|_| first.try_clone());
        let others = others.collect::<io::Result<Vec<_>>>()?;
        let all = std::iter::once(first).chain(others);
        Ok(Self {
            local: UNNAMED,
            bound: None,
            path: Some(Arc::new(path.into())),
            transport: Transport::Unix,
            options: Mutex::new(options.clone()),
            open: all.map(|socket| Mutex::new(Some(socket))).collect(),
            file: Mutex::new(file),
            passed_on: AtomicBool::new(false),
            is_adopted: AtomicBool::new(false),
        })
    }

    fn listen(
        bind: Bind,
        transport: Transport,
        options: &Listening,
        workers: usize,
    ) -> io::Result<Self> {
        let explain = |error: io::Error| BindError::explain(bind.address, &error);
        let how = (transport, options);
        let (first, bind) = open_or_ipv4(bind, how, true).map_err(explain)?;
        let begin = |socket: &Socket| {
            if transport == Transport::Udp {
                datagram::prepare(socket, bind.address)?;
            }
            begin(socket, transport, options, bind.address.is_ipv6())
        };
        begin(&first).map_err(explain)?;
        let local = first.local_addr()?;
        let local = local.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut open = vec![Mutex::new(Some(first))];
        for _ in 1..workers {
            let socket = bound(bind.with_port(local.port()), how, true).map_err(explain)?;
            begin(&socket).map_err(explain)?;
            open.push(Mutex::new(Some(socket)));
        }
        Ok(Self {
            local,
            bound: Some(bind.with_port(local.port())),
            path: None,
            transport,
            options: Mutex::new(options.clone()),
            open,
            file: Mutex::default(),
            passed_on: AtomicBool::new(false),
            is_adopted: AtomicBool::new(false),
        })
    }

    pub(super) fn slot(&self, worker: usize) -> Option<MutexGuard<'_, Option<Socket>>> {
        let slot = self.open.get(worker)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Has a bound socket take what comes, as the options say; also one that does so already.
fn begin(
    socket: &Socket,
    transport: Transport,
    options: &Listening,
    is_ipv6: bool,
) -> io::Result<()> {
    match transport {
        Transport::Tcp => options.apply(socket, is_ipv6),
        Transport::Udp => options.apply_to_datagrams(socket, is_ipv6),
        Transport::Unix => socket.listen(options.backlog),
    }
}

/// A bound socket; on every IPv4 address where "every address" was asked for and IPv6 is missing.
fn open_or_ipv4(
    bind: Bind,
    how: (Transport, &Listening),
    share: bool,
) -> io::Result<(Socket, Bind)> {
    match (bound(bind, how, share), bind.without_ipv6()) {
        (Ok(socket), _) => Ok((socket, bind)),
        (Err(error), Some(ipv4)) if lacks_ipv6(&error) => Ok((bound(ipv4, how, share)?, ipv4)),
        (Err(error), _) => Err(error),
    }
}

/// Containers often have IPv6 compiled out (no such family) or switched off (no such address).
fn lacks_ipv6(error: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(family) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn bound(
    bind: Bind,
    (transport, options): (Transport, &Listening),
    share: bool,
) -> io::Result<Socket> {
    let domain = Domain::for_address(bind.address);
    let socket = match transport {
        Transport::Tcp | Transport::Unix => Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?,
        Transport::Udp => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
    };
    if bind.address.is_ipv6() {
        socket.set_only_v6(!bind.dual_stack)?;
    }
    if transport == Transport::Tcp {
        // Without it a restart would wait a minute for connections in TIME_WAIT. Of datagrams it
        // would let two programs have the same port, and one of them all of them.
        socket.set_reuse_address(true)?;
    }
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    options.prepare(&socket, bind.address.is_ipv6())?;
    socket.bind(&bind.address.into())?;
    Ok(socket)
}

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix:";
