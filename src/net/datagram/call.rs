//! The two system calls that move several messages, as the kernel knows them.
//!
//! The headers are laid out here, by the kernel's own definition (`struct user_msghdr`, the same on
//! every architecture), and not taken from a C library: musl's have other types, and its
//! `sendmmsg` sends one message after the other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// What is said of a message (`struct user_msghdr`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) name: *mut u8,
    pub(super) name_length: libc::c_int,
    pub(super) pieces: *mut Piece,
    pub(super) piece_count: usize,
    pub(super) control: *mut u8,
    pub(super) control_length: usize,
    pub(super) flags: libc::c_int,
}

/// A message and, once it was received or sent, how long it is (`struct mmsghdr`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) length: libc::c_uint,
}

/// A piece of memory (`struct iovec`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Piece {
    pub(super) start: *mut u8,
    pub(super) length: usize,
}

/// Which of the two, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Receive,
    Send,
    /// Receive what is known of errors (`MSG_ERRQUEUE`).
    Errors,
}

impl Message {
    /// Of nothing.
    pub(super) const EMPTY: Self = Self {
        header: Header {
            name: ptr::null_mut(),
            name_length: 0,
            pieces: ptr::null_mut(),
            piece_count: 0,
            control: ptr::null_mut(),
            control_length: 0,
            flags: 0,
        },
        length: 0,
    };
}

impl Piece {
    /// Of nothing.
    pub(super) const EMPTY: Self = Self {
        start: ptr::null_mut(),
        length: 0,
    };
}

/// Moves messages without waiting, and says how many it moved.
///
/// # Safety
/// What the headers of the messages point to must have the lengths that they say, live until this
/// returns and not be used otherwise meanwhile; of messages that are sent it is only read.
#[expect(
    unsafe_code,
    reason = "`rustix` has no recvmmsg, and no control messages of datagrams"
)]
pub(super) unsafe fn many(
    way: Way,
    socket: BorrowedFd<'_>,
    messages: &mut [Message],
) -> io::Result<usize> {
    let (number, queue) = match way {
        Way::Receive => (libc::SYS_recvmmsg, 0),
        Way::Send => (libc::SYS_sendmmsg, 0),
        Way::Errors => (libc::SYS_recvmmsg, libc::MSG_ERRQUEUE),
    };
    loop {
        // SAFETY: the messages are as long as is said, and are what the caller promises. The last
        // argument is a time limit, of which there is none, and sendmmsg has no such argument.
        let moved = unsafe {
            libc::syscall(
                number,
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len(),
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | queue,
                ptr::null_mut::<libc::timespec>(),
            )
        };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
