//! The kernel's buffers of sockets for datagrams: how much may wait there, either way.
//!
//! Problem: what the buffers do not hold is lost, without an error, and the usual 208 KiB are some
//! ninety datagrams of a full frame. One socket of a listener takes what all clients of a worker
//! send, so it has more by default; that of a session is one client's, of whom there may be
//! thousands. The kernel cuts what is asked for to `net.core.rmem_max` and `net.core.wmem_max`,
//! unless one may pass over them (`CAP_NET_ADMIN`).

use socket2::Socket;

use super::options::set_number;
use crate::config::Size;

/// How large they are to be; what is not said is the system's affair.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KernelBuffers {
    receive: Option<i32>,
    send: Option<i32>,
}

impl KernelBuffers {
    /// What was written of an upstream.
    pub(super) fn new(receive: Option<Size>, send: Option<Size>) -> Self {
        let [receive, send] = [receive, send].map(|size| Some(small(size?.0)));
        Self { receive, send }
    }

    /// What was written of a listener.
    pub(super) fn of_listener(receive: Option<Size>, send: Option<Size>) -> Self {
        let written = Self::new(receive, send);
        Self {
            receive: written.receive.or(Some(OF_LISTENERS)),
            send: written.send.or(Some(OF_LISTENERS)),
        }
    }

    /// Gives a socket these buffers, as far as the kernel allows.
    pub(super) fn apply(self, socket: &Socket) {
        for (size, beyond, within) in [
            (self.receive, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
            (self.send, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
        ] {
            let Some(size) = size else { continue };
            let set = |option| set_number(socket, libc::SOL_SOCKET, option, size);
            if let Err(error) = set(beyond).or_else(|_| set(within)) {
                tracing::debug!(%error, size, "the kernel's buffers stay as they were");
            }
        }
    }
}

fn small(size: u64) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// 4 MiB: some thousands of datagrams, which is what comes in the tens of milliseconds for which a
/// worker may be away.
const OF_LISTENERS: i32 = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn sockets_get_what_is_asked_for() {
        let socket = || Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let usual = socket();
        let size = Some(Size(20_000));
        let own = socket();
        KernelBuffers::new(size, None).apply(&own);
        // The kernel counts what it needs besides.
        assert_eq!(own.recv_buffer_size().unwrap(), 40_000);
        let send = own.send_buffer_size().unwrap();
        assert_eq!(send, usual.send_buffer_size().unwrap());
        let listener = socket();
        KernelBuffers::of_listener(None, size).apply(&listener);
        assert_eq!(listener.send_buffer_size().unwrap(), 40_000);
        let more = listener.recv_buffer_size().unwrap();
        assert!(more > usual.recv_buffer_size().unwrap(), "{more}");
    }
}
