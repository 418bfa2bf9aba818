//! The line between the two instances of an upgrade: packets, with descriptors beside them.
//!
//! It is a pair of sockets, of which one end is inherited by the new process. Nothing of it has a
//! name, so nobody else can speak on it, and it is gone with its ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame::{Frame, FrameError, PACKET};

/// One end of the line.
#[derive(Debug)]
pub(super) struct Channel {
    socket: AsyncFd<OwnedFd>,
}

/// Why nothing can be said or heard any more.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other end is closed.
    #[error("the other end is gone")]
    Gone,
    /// It says what nobody understands.
    #[error(transparent)]
    Nonsense(#[from] FrameError),
    /// Something was said out of turn.
    #[error("a message out of turn")]
    OutOfTurn,
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Channel {
    /// A line: an end for this process, and one for its child.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let (own, other) = rustix::net::socketpair(AddressFamily::UNIX, kind, flags, None)?;
        Ok((Self::new(own)?, other))
    }

    /// An end that this process was started with. Within a runtime only.
    pub(super) fn inherited(socket: OwnedFd) -> io::Result<Self> {
        let is_one = rustix::net::sockopt::socket_domain(&socket)? == AddressFamily::UNIX
            && rustix::net::sockopt::socket_type(&socket)? == SocketType::SEQPACKET;
        if !is_one {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Self::new(socket)
    }

    fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = watched(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket })
    }

    pub(super) async fn say(&self, frame: &Frame) -> Result<(), ChannelError> {
        self.hand(frame, &[]).await
    }

    /// The same with descriptors, at most [`DESCRIPTORS`].
    pub(super) async fn hand(
        &self,
        frame: &Frame,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        let packet = frame.encode();
        let sent = self.socket.async_io(Interest::WRITABLE, |socket| {
            let mut room = [MaybeUninit::uninit(); SPACE];
            let mut beside = SendAncillaryBuffer::new(&mut room);
            if !descriptors.is_empty() {
                beside.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let packet = [IoSlice::new(&packet)];
            let flags = SendFlags::NOSIGNAL;
            Ok(rustix::net::sendmsg(
                socket.as_fd(),
                &packet,
                &mut beside,
                flags,
            )?)
        });
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) if is_end(&error) => Err(ChannelError::Gone),
            Err(error) => Err(error.into()),
        }
    }

    /// The next message, with what was handed over beside it.
    pub(super) async fn hear(&self) -> Result<(Frame, Vec<OwnedFd>), ChannelError> {
        let mut packet = vec![0; PACKET];
        let mut descriptors = Vec::new();
        let received = self.socket.async_io(Interest::READABLE, |socket| {
            let mut room = [MaybeUninit::uninit(); SPACE];
            let mut beside = RecvAncillaryBuffer::new(&mut room);
            let mut packet = [IoSliceMut::new(&mut packet)];
            // No child of this process gets them.
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received = rustix::net::recvmsg(socket.as_fd(), &mut packet, &mut beside, flags)?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(handed) = message {
                    descriptors.extend(handed);
                }
            }
            Ok(received.bytes)
        });
        match received.await {
            Ok(0) => Err(ChannelError::Gone),
            Ok(size) => Ok((Frame::decode(&packet[..size])?, descriptors)),
            Err(error) if is_end(&error) => Err(ChannelError::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

/// A descriptor that the runtime watches.
#[expect(
    unsafe_code,
    reason = "tokio cannot see from a type that a descriptor stays what it is"
)]
pub(super) fn watched(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it owns its one descriptor, which so is open, and the same, until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

/// The kernel takes 253 beside one packet (`SCM_MAX_FD`).
pub(super) const DESCRIPTORS: usize = 250;

/// Room for them.
const SPACE: usize = rustix::cmsg_space!(ScmRights(DESCRIPTORS));

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_handed_over_arrives_with_its_message() {
        let (own, other) = Channel::pair().unwrap();
        let other = Channel::inherited(other).unwrap();
        let listeners: Vec<TcpListener> = (0..DESCRIPTORS)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let handed: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
        own.hand(&Frame::Commit, &handed).await.unwrap();
        own.say(&Frame::Done).await.unwrap();
        let (frame, arrived) = other.hear().await.unwrap();
        assert_eq!(frame, Frame::Commit);
        assert_eq!(arrived.len(), DESCRIPTORS);
        let first = TcpListener::from(arrived.into_iter().next().unwrap());
        let address = listeners[0].local_addr().unwrap();
        assert_eq!(first.local_addr().unwrap(), address);
        let (frame, arrived) = other.hear().await.unwrap();
        assert_eq!((frame, arrived.len()), (Frame::Done, 0));
        drop(own);
        assert!(matches!(other.hear().await, Err(ChannelError::Gone)));
        let said = other.say(&Frame::Commit).await;
        assert!(matches!(said, Err(ChannelError::Gone)));
    }

    #[tokio::test]
    async fn another_descriptor_is_no_line() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Channel::inherited(listener.into()).is_err());
    }
}
