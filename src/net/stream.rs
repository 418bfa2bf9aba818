//! One enum of byte streams behind the same calls.
//!
//! Reads and writes follow one rule that saves a system call per message: an operation that moved
//! less than it could have has emptied (or filled) the socket's buffer, so it takes the readiness
//! away, and nobody has to be told "would block" to learn it. That is sound under edge-triggered
//! epoll: what arrives afterwards is a new edge, and an end that came with the data stays recorded.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use rustls::ProtocolVersion;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::address::canonical;
use super::options::Keepalive;
use super::secure::Secure;
use super::tcp::Tcp;

/// A byte stream to a client or an endpoint.
#[derive(Debug)]
pub enum Stream {
    /// TCP, with `TCP_NODELAY` set.
    Tcp(Tcp),
    /// A Unix socket.
    Unix(UnixStream),
    /// A session of TLS on one of the others.
    Tls(Box<Secure>),
}

impl Stream {
    /// Ready when a read would return: bytes, the end, or an error. Costs no system call.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether a read of a stream without TLS would return, as far as is known. Has nobody woken,
    /// and takes no lock.
    pub fn is_read_ready(&self) -> bool {
        self.attempt_all(Interest::READABLE, |_| Ok(0)).is_ok()
    }

    /// Ready when a write would take bytes or fail. Costs no system call.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
            Self::Tls(stream) => stream.socket().poll_write_ready(cx),
        }
    }

    /// Appends what is there to the buffer, up to its capacity, of which some must be free. 0 is
    /// the end of the stream; [`io::ErrorKind::WouldBlock`] costs no system call if it is known.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let space = buffer.capacity() - buffer.len();
        if space == 0 {
            let why = "no room to read into";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if let Self::Tls(stream) = self {
            return stream.try_read(buffer);
        }
        self.attempt(Interest::READABLE, space, |socket| {
            retried(|| rustix::net::recv(socket, spare_capacity(buffer), RecvFlags::empty()))
                .map(|(count, _)| count)
        })
    }

    /// The first byte that is there, which stays; none at the end of the stream.
    /// [`io::ErrorKind::WouldBlock`] costs no system call if it is known.
    pub fn try_peek(&self) -> io::Result<Option<u8>> {
        if let Self::Tls(stream) = self {
            return stream.try_peek();
        }
        let mut first = [0; 1];
        let count = self.attempt(Interest::READABLE, 1, |socket| {
            retried(|| rustix::net::recv(socket, &mut first, RecvFlags::PEEK))
                .map(|(_, count)| count)
        })?;
        Ok((count > 0).then_some(first[0]))
    }

    /// Waits for bytes and appends them to the buffer as [`Stream::try_read`] does.
    pub fn poll_read_into(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Writes what the socket takes at once.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Tls(stream) = self {
            return stream.try_write(&[IoSlice::new(bytes)]);
        }
        self.attempt(Interest::WRITABLE, bytes.len(), |socket| {
            retried(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL))
        })
    }

    /// Writes from several slices what the socket takes at once.
    pub fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Self::Tls(stream) = self {
            return stream.try_write(slices);
        }
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.attempt(Interest::WRITABLE, length, |socket| {
            retried(|| {
                let mut nothing = SendAncillaryBuffer::default();
                rustix::net::sendmsg(socket, slices, &mut nothing, SendFlags::NOSIGNAL)
            })
        })
    }

    /// Writes once. Ready with the number of bytes.
    pub fn poll_write_slice(&self, cx: &mut Context<'_>, slice: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, || self.try_write(slice))
    }

    /// Writes once from several slices. Ready with the number of bytes.
    pub fn poll_write_slices(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, || match slices {
            [slice] => self.try_write(slice),
            slices => self.try_write_vectored(slices),
        })
    }

    #[inline]
    fn poll_writing(
        &self,
        cx: &mut Context<'_>,
        write: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            // Tried before it is asked for: a stream nearly always takes what it is given.
            match write() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.poll_write_ready(cx))?;
        }
    }

    /// Whether nobody between us and the other end can read it.
    #[inline]
    pub fn is_secure(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The version of TLS that is spoken, if it is.
    pub fn tls_version(&self) -> Option<ProtocolVersion> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.version(),
        }
    }

    /// Ready once everything that was written has left: a session holds back what its socket does
    /// not take, and who has nothing more to write waits here for it.
    #[inline]
    pub fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flushed(cx),
        }
    }

    /// Bytes that have left behind those who wrote them: tells whether something moved. Where
    /// nothing is held back, none.
    pub fn sent_behind(&self) -> u64 {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Tls(stream) => stream.sent(),
        }
    }

    /// Whether bytes of the socket are those of the stream, so that they may move from one to
    /// another without our looking at them.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => true,
            Self::Tls(_) => false,
        }
    }

    /// Runs an operation that takes bytes from the socket as soon as some are there, or its end.
    /// The readiness stays until the operation says that it would block.
    pub fn poll_read_with(
        &self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match self.attempt_all(Interest::READABLE, &mut read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Runs an operation that gives bytes to the socket as soon as it takes some. The readiness
    /// stays until the operation says that it would block.
    pub fn poll_write_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.attempt_all(Interest::WRITABLE, &mut write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.poll_write_ready(cx))?;
        }
    }

    /// The other end's address; an IPv4 address that came over an IPv6 socket is shown as IPv4, for
    /// that is how people write and match it. Fails for Unix sockets.
    pub fn peer_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().map(canonical),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Tls(stream) => stream.socket().peer_address(),
        }
    }

    /// This end's address, IPv4 shown as such. Fails for Unix sockets.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().map(canonical),
            Self::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Tls(stream) => stream.socket().local_address(),
        }
    }

    /// Returns once the other end has broken the connection. Bytes that wait to be read and an
    /// orderly end are not that.
    pub async fn broken(&self) {
        // The only error is that the runtime ends, and this future with it.
        let broken = match self {
            Self::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Self::Unix(stream) => stream.ready(Interest::ERROR).await,
            Self::Tls(stream) => return Box::pin(stream.socket().broken()).await,
        };
        drop(broken);
    }

    /// Makes the close that follows a reset (RST) instead of an orderly end: the other end then
    /// knows that the stream was cut and does not take what it has for the whole. What is not yet
    /// sent is thrown away. Unix sockets know no reset; theirs is an orderly end.
    pub fn reset_on_close(&self) {
        match self {
            // Fails only on a socket that is not connected any more: then nobody is left to tell.
            Self::Tcp(stream) => drop(SockRef::from(&**stream).set_linger(Some(Duration::ZERO))),
            Self::Unix(_) => {}
            Self::Tls(stream) => stream.cut(),
        }
    }

    /// Ends this direction of the stream, once everything that was written has left; reading goes
    /// on.
    pub fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(&**stream),
            Self::Unix(stream) => SockRef::from(stream),
            Self::Tls(stream) => return stream.poll_shutdown_write(cx),
        };
        Poll::Ready(socket.shutdown(Shutdown::Write))
    }

    /// Has the kernel ask now and then whether the other end still exists: a peer that lost its
    /// power says nothing, and a stream that may be silent for an hour would wait that long. Where
    /// that was asked for already, it stays as it is.
    pub fn probe_peer(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                let socket = SockRef::from(&**stream);
                if socket.keepalive()? {
                    return Ok(());
                }
                Keepalive::USUAL.apply(&socket)
            }
            Self::Unix(_) => Ok(()), // the kernel itself is the other end and tells at once
            Self::Tls(stream) => stream.socket().probe_peer(),
        }
    }

    /// Runs an operation that may move less than it could although more could be moved.
    pub(super) fn attempt_all(
        &self,
        interest: Interest,
        operation: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let run = || operation(self.as_fd());
        match self {
            Self::Tcp(stream) => stream.try_io(interest, run),
            Self::Unix(stream) => stream.try_io(interest, run),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()), // see `is_plain`
        }
    }

    /// Runs an operation that may move up to `space` bytes, and keeps the readiness true: see the
    /// module's rule.
    fn attempt(
        &self,
        interest: Interest,
        space: usize,
        operation: impl FnOnce(BorrowedFd<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut moved = 0;
        let observed = || {
            moved = operation(self.as_fd())?;
            if 0 < moved && moved < space {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(())
        };
        let result = match self {
            Self::Tcp(stream) => stream.try_io(interest, observed),
            Self::Unix(stream) => stream.try_io(interest, observed),
            Self::Tls(_) => return Err(io::ErrorKind::Unsupported.into()), // has its own
        };
        match result {
            Err(error) if moved == 0 => Err(error),
            _ => Ok(moved),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

pub(super) fn retried<T>(mut operation: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
