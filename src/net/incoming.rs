//! What comes by a worker's listening socket, whatever kind it is of.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::net::SocketFlags;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::address::UNNAMED;
use super::stream::Stream;

/// A listening socket that a worker's runtime watches.
#[derive(Debug)]
pub enum Incoming {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket, which all workers share.
    Unix(UnixListener),
}

/// The same without a runtime: what is left in its queue.
#[derive(Debug)]
pub enum Queue {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A connection that no runtime knows, on its way from one worker to another.
#[derive(Debug)]
pub enum Loose {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixStream),
}

impl Incoming {
    /// The next connection, and who is at its other end.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Stream, SocketAddr)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.map(|(stream, peer)| (Stream::from(stream), peer))
            }
            Self::Unix(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                accepted.map(|(stream, _)| (Stream::Unix(stream), UNNAMED))
            }
        })
    }

    /// What is left in its queue. Fails only while the runtime ends.
    pub fn into_queue(self) -> io::Result<Queue> {
        Ok(match self {
            Self::Tcp(listener) => Queue::Tcp(listener.into_std()?),
            Self::Unix(listener) => Queue::Unix(listener.into_std()?),
        })
    }
}

impl Queue {
    /// Takes one connection, non-blocking and not inherited by children, without waiting for an
    /// event to announce it: [`io::ErrorKind::WouldBlock`] really means an empty queue.
    pub fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = accept(listener)?;
                Ok((Stream::accepted(stream)?, peer))
            }
            Self::Unix(listener) => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                let socket = rustix::net::accept_with(listener.as_fd(), flags)?;
                Ok((Stream::accepted(Loose::Unix(socket.into()))?, UNNAMED))
            }
        }
    }
}

impl Stream {
    /// A connection that was accepted on one of [`Sockets`](super::Sockets), which made it
    /// non-blocking and without delay. Must be called on the worker that will serve it.
    pub fn accepted(stream: impl Into<Loose>) -> io::Result<Self> {
        Ok(match stream.into() {
            Loose::Tcp(stream) => TcpStream::from_std(stream)?.into(),
            Loose::Unix(stream) => Self::Unix(UnixStream::from_std(stream)?),
        })
    }

    /// The inverse of [`Stream::accepted`], to give a connection to another worker.
    pub fn into_accepted(self) -> io::Result<Loose> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(Loose::Tcp),
            Self::Unix(stream) => stream.into_std().map(Loose::Unix),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

impl From<std::net::TcpStream> for Loose {
    fn from(stream: std::net::TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

/// Takes one connection from the accept queue, as [`Queue::accept`] does.
pub fn accept(listener: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (socket, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    let peer = peer.map(SocketAddr::try_from).transpose()?;
    // The kernel names the peer of every accepted TCP connection; a type cannot say so.
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((std::net::TcpStream::from(socket), peer))
}
