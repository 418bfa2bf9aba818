//! A TCP socket, and the guard of who watches it.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::stream::Stream;
use super::tcp_info::{WatchGuard, Watched, Watching};

/// A TCP socket, without delay.
#[derive(Debug)]
pub struct Tcp {
    /// Before the socket: it has to go first.
    guard: Option<WatchGuard>,
    stream: TcpStream,
}

impl Tcp {
    /// Has it watched under a number.
    pub(super) fn watch(&mut self, number: u64, watching: &Arc<Watching>) -> Arc<Watched> {
        let guard = WatchGuard::new(self.stream.as_raw_fd(), number, watching);
        let watched = guard.watched();
        self.guard = Some(guard);
        watched
    }

    /// The socket alone, which nobody watches any more.
    pub(super) fn into_std(self) -> io::Result<std::net::TcpStream> {
        drop(self.guard);
        self.stream.into_std()
    }
}

impl From<TcpStream> for Tcp {
    fn from(stream: TcpStream) -> Self {
        Self {
            guard: None,
            stream,
        }
    }
}

impl Stream {
    /// Has a connection of TCP watched, under a number that it says when it ends; `None` of any
    /// other.
    pub fn watch(&mut self, number: u64, watching: &Arc<Watching>) -> Option<Arc<Watched>> {
        match self {
            Self::Tcp(stream) => Some(stream.watch(number, watching)),
            Self::Unix(_) => None,
            Self::Tls(stream) => stream.socket_mut().watch(number, watching),
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream.into())
    }
}

impl Deref for Tcp {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Tcp {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}
