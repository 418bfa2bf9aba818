//! The listening sockets of one address: one per worker.
//!
//! Problem: workers that share one listening socket wake each other for nothing and share its lock.
//! With `SO_REUSEPORT` each worker has a socket and an accept queue of its own, and the kernel
//! spreads connections over them. But a connection in the queue of a socket that is closed is
//! reset, and a socket that is open while nobody accepts swallows connections. So the sockets of an
//! address stay open over reloads as one value, and each worker closes its own at the end, after it
//! has emptied the queue.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

use super::bind::{Bind, BindError};
use super::datagram;

/// Bound sockets that take connections, or datagrams: one per worker, all on the same address and
/// port.
#[derive(Debug)]
pub struct Sockets {
    /// The address with the port that was really bound.
    pub local: SocketAddr,
    /// What comes by them.
    pub transport: Transport,
    open: Vec<Mutex<Option<Socket>>>,
}

/// What comes by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Sockets {
    /// Binds and listens for so many workers (at least one). Fails when anybody else accepts on
    /// the address, even somebody who would share it.
    pub fn bind(address: &str, workers: usize) -> io::Result<Self> {
        Self::bind_for(Transport::Tcp, address, workers)
    }

    /// The same for either transport.
    pub fn bind_for(transport: Transport, address: &str, workers: usize) -> io::Result<Self> {
        let bind: Bind = address.parse()?;
        if bind.address.port() != 0 {
            // With `SO_REUSEPORT` two programs of one user share a port without an error, and each
            // gets half of the connections: a trap at start-up. A socket without it cannot.
            let guard = open_or_ipv4(bind, transport, false).map(|(guard, _)| guard);
            drop(guard.map_err(|error| BindError::explain(bind.address, &error))?);
        }
        Self::listen(bind, transport, workers)
    }

    /// The same beside sockets that overlap, of this program or of the one it takes over from: for
    /// reloads and upgrades.
    pub fn bind_shared(address: &str, workers: usize) -> io::Result<Self> {
        Self::bind_shared_for(Transport::Tcp, address, workers)
    }

    /// The same for either transport.
    pub fn bind_shared_for(
        transport: Transport,
        address: &str,
        workers: usize,
    ) -> io::Result<Self> {
        Self::listen(address.parse()?, transport, workers)
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

    /// Whether every worker's socket is open, so that a reload may keep them.
    pub fn is_open(&self) -> bool {
        (0..self.workers()).all(|worker| self.slot(worker).is_some_and(|socket| socket.is_some()))
    }

    /// Has the sockets take connections to any address that the firewall hands them (TPROXY), or
    /// not any more.
    pub fn take_any_destination(&self, is_taken: bool) -> io::Result<()> {
        for worker in 0..self.workers() {
            let Some(slot) = self.slot(worker) else {
                continue;
            };
            let Some(socket) = &*slot else { continue };
            let set = if self.local.is_ipv4() {
                socket.set_ip_transparent_v4(is_taken)
            } else {
                socket.set_ip_transparent_v6(is_taken)
            };
            set.map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => io::Error::new(error.kind(), NO_TPROXY),
                _ => error,
            })?;
        }
        Ok(())
    }

    /// Workers that have a socket here.
    pub fn workers(&self) -> usize {
        self.open.len()
    }

    fn listen(bind: Bind, transport: Transport, workers: usize) -> io::Result<Self> {
        let explain = |error: io::Error| BindError::explain(bind.address, &error);
        let (first, bind) = open_or_ipv4(bind, transport, true).map_err(explain)?;
        begin(&first, transport, bind).map_err(explain)?;
        let local = first.local_addr()?;
        let local = local.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let mut open = vec![Mutex::new(Some(first))];
        for _ in 1..workers {
            let socket = bound(bind.with_port(local.port()), transport, true).map_err(explain)?;
            begin(&socket, transport, bind).map_err(explain)?;
            open.push(Mutex::new(Some(socket)));
        }
        Ok(Self {
            local,
            transport,
            open,
        })
    }

    fn slot(&self, worker: usize) -> Option<MutexGuard<'_, Option<Socket>>> {
        let slot = self.open.get(worker)?;
        Some(slot.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes one connection from the accept queue, non-blocking and not inherited by children, without
/// waiting for an event to announce it: [`io::ErrorKind::WouldBlock`] really means an empty queue.
pub fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.map(SocketAddr::try_from).transpose()?;
    // The kernel names the peer of every accepted TCP connection; a type cannot say so.
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((TcpStream::from(socket), peer))
}

/// Has a bound socket take what comes.
fn begin(socket: &Socket, transport: Transport, bind: Bind) -> io::Result<()> {
    match transport {
        Transport::Tcp => socket.listen(BACKLOG),
        Transport::Udp => datagram::prepare(socket, bind.address),
    }
}

/// A bound socket; on every IPv4 address where "every address" was asked for and IPv6 is missing.
fn open_or_ipv4(bind: Bind, transport: Transport, share: bool) -> io::Result<(Socket, Bind)> {
    match (bound(bind, transport, share), bind.without_ipv6()) {
        (Ok(socket), _) => Ok((socket, bind)),
        (Err(error), Some(ipv4)) if lacks_ipv6(&error) => {
            Ok((bound(ipv4, transport, share)?, ipv4))
        }
        (Err(error), _) => Err(error),
    }
}

/// Containers often have IPv6 compiled out (no such family) or switched off (no such address).
fn lacks_ipv6(error: &io::Error) -> bool {
    let family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.raw_os_error() == Some(family) || error.kind() == io::ErrorKind::AddrNotAvailable
}

fn bound(bind: Bind, transport: Transport, share: bool) -> io::Result<Socket> {
    let domain = Domain::for_address(bind.address);
    let socket = match transport {
        Transport::Tcp => Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?,
        Transport::Udp => Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?,
    };
    if bind.address.is_ipv6() {
        socket.set_only_v6(!bind.dual_stack)?;
    }
    if transport == Transport::Tcp {
        // Without it a restart would wait a minute for connections in TIME_WAIT. Of datagrams it
        // would let two programs have the same port, and one of them all of them.
        socket.set_reuse_address(true)?;
        // Linux hands this down to accepted sockets: one system call less per connection.
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&bind.address.into())?;
    Ok(socket)
}

const NO_TPROXY: &str = "no permission to take connections to other addresses: \
    `intercept = \"tproxy\"` needs CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN; \
    container: add NET_ADMIN)";

/// Connections that wait to be accepted, per worker. The kernel cuts it to `net.core.somaxconn`
/// (4096 by default), so this says "as many as the machine allows": a burst beyond it costs clients
/// a second each, for their SYN is dropped.
const BACKLOG: i32 = 65_535;
