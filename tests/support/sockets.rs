//! The sockets of a running program, asked what they really are: what was written is not what the
//! kernel does, unless it says so itself.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::{fs, io};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use socket2::{Domain, Socket, Type};

/// A socket of another process, and which it is there.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// The same one here.
    pub(crate) socket: Socket,
    /// The kernel's number of it: another one is another socket.
    pub(crate) inode: String,
}

/// Those of a process that listen.
///
/// # Panics
/// When the process may not be looked into.
pub(crate) fn listening(process: u32, port: u16) -> Vec<Foreign> {
    of(process, |socket| {
        socket.is_listener().unwrap_or(false) && local(socket).is_some_and(|at| at.port() == port)
    })
}

/// Those of a process whose other end is at this address.
///
/// # Panics
/// When the process may not be looked into.
pub(crate) fn connected_to(process: u32, peer: SocketAddr) -> Vec<Foreign> {
    of(process, |socket| {
        let at = socket.peer_addr().ok().and_then(|at| at.as_socket());
        at.is_some_and(|at| (at.ip().to_canonical(), at.port()) == (peer.ip(), peer.port()))
    })
}

/// Those of a process that take datagrams at this address, whoever sends them.
///
/// # Panics
/// When the process may not be looked into.
pub(crate) fn bound_to(process: u32, address: SocketAddr) -> Vec<Foreign> {
    of(process, |socket| {
        socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
            && socket.peer_addr().is_err()
            && local(socket) == Some(address)
    })
}

fn of(process: u32, is_meant: impl Fn(&Socket) -> bool) -> Vec<Foreign> {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    let handle = pidfd_open(id.expect("a process has an id"), PidfdFlags::empty());
    let handle = handle.expect("a running program");
    let folder = format!("/proc/{process}/fd");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("our own child") {
        let entry = entry.expect("a readable entry");
        let is = fs::read_link(entry.path()).unwrap_or_default();
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let (Some(is), Some(number)) = (is.to_str(), number) else {
            continue;
        };
        if !is.starts_with("socket:") || found.iter().any(|one: &Foreign| one.inode == is) {
            continue;
        }
        let Ok(taken) = pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()) else {
            continue; // closed since
        };
        let socket = Socket::from(taken);
        if is_meant(&socket) {
            found.push(Foreign {
                socket,
                inode: is.to_owned(),
            });
        }
    }
    found
}

fn local(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}

/// An option of a socket that is a number.
///
/// # Panics
/// When the kernel does not know it.
#[expect(unsafe_code, reason = "no crate of the tree reads these options")]
pub(crate) fn number(socket: &Socket, level: i32, option: i32) -> i32 {
    let mut number: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).expect("four");
    // SAFETY: the kernel writes at most as many bytes as `number` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut number).cast(),
            &raw mut length,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    number
}

/// Whether this process may set what only administrators of the network may. Where it may not, what
/// needs that cannot be tested.
pub(crate) fn may_mark() -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None);
    socket.expect("a socket").set_mark(1).is_ok()
}
