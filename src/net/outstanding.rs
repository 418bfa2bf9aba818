//! What the kernel still has to deliver (`SIOCOUTQ`).
//!
//! A write is over once the kernel has the bytes, and a socket is writable again only once a third
//! of its buffer has drained, which may be megabytes. Who has to know whether a slow reader still
//! reads, or whether all of what was written has arrived before a reset throws the rest away, asks
//! here; it costs a system call.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::stream::Stream;
use super::tcp_info::is_in_vain;

impl Stream {
    /// Bytes that were written, and that the other end's kernel has not acknowledged. Of a Unix
    /// socket none: the other end has them at once, and keeps them when it is closed. In a session
    /// of TLS those that [have left it](Stream::sent_behind).
    pub fn outstanding(&self) -> u32 {
        match self {
            Self::Tcp(stream) => asked(stream.as_fd()),
            Self::Unix(_) => 0,
            Self::Tls(stream) => stream.socket().outstanding(),
        }
    }

    /// Whether what was written does not arrive: it was sent again and again, and nothing of it was
    /// acknowledged. That is the network, or a machine that is gone: not a reader that stalls.
    pub fn writes_in_vain(&self) -> bool {
        match self {
            Self::Tcp(stream) => is_in_vain(stream.as_fd()),
            Self::Unix(_) => false,
            Self::Tls(stream) => stream.socket().writes_in_vain(),
        }
    }
}

/// Asks the kernel. Nothing is outstanding on a socket that cannot be asked.
fn asked(socket: BorrowedFd<'_>) -> u32 {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one `int`, which this is (tcp(7)).
    #[expect(unsafe_code, reason = "`rustix` has no SIOCOUTQ")]
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCOUTQ, &raw mut count) };
    if failed == 0 {
        u32::try_from(count).unwrap_or_default()
    } else {
        0
    }
}

/// As the kernel's headers have it (include/uapi/linux/sockios.h).
const SIOCOUTQ: libc::Ioctl = libc::TIOCOUTQ;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    use super::*;

    #[tokio::test]
    async fn what_a_reader_leaves_is_outstanding_until_it_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut far = far.expect("it was asked").0;
        let near = Stream::from(near.expect("it listens"));
        assert_eq!(near.outstanding(), 0);
        // More than the reader's kernel takes unread.
        let piece = vec![0; 1 << 16];
        let mut written = 0;
        while let Ok(count) = near.try_write(&piece) {
            written += count;
        }
        assert!(near.outstanding() > 0, "of {written} bytes");
        let mut left = vec![0; written];
        far.read_exact(&mut left).await.expect("all comes");
        while near.outstanding() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn of_a_unix_socket_nothing_is() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let near = Stream::Unix(near);
        near.try_write(b"unread").expect("there is room");
        assert_eq!(near.outstanding(), 0);
    }
}
