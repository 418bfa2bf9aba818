//! Listening sockets that another process made: the instance before, or systemd.
//!
//! Problem: a number is not yet a socket, and a socket is not yet one that a listener wants.
//! Whoever hands descriptors over may be wrong about what they are, so each is asked itself: its
//! kind, where it is bound, whether it listens. And both processes have them: what closes one,
//! closes nothing for the other, but what the one sets holds for both, and a socket's file is
//! removed for both. So nothing is set or removed before the other has let go.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::net::{AddressFamily, SocketType};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::address::UNNAMED;
use super::bind::Bind;
use super::datagram;
use super::options::Listening;
use super::sockets::{Sockets, Transport};
use super::unix::{Access, FileNumbers, SocketFile};

/// What is to be known of sockets beside their descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What comes by them.
    pub transport: Transport,
    /// Where they are bound; [`UNNAMED`] for a Unix socket.
    pub local: SocketAddr,
    bound: Option<Bind>,
    /// The path of a Unix socket.
    pub path: Option<PathBuf>,
    file: Option<FileNumbers>,
    device: Option<String>,
    v6_only: Option<bool>,
}

/// Why descriptors are not the sockets that they should be.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There are none.
    #[error("it has no descriptor")]
    None,
    /// They are something else.
    #[error("it is {0}")]
    Other(&'static str),
    /// They are bound elsewhere.
    #[error("it is bound to {0}")]
    Elsewhere(String),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl Description {
    /// What a descriptor says of itself. Of what listens or takes datagrams alone.
    pub fn of(socket: BorrowedFd<'_>) -> Result<Self, AdoptError> {
        let transport = transport(socket)?;
        let socket = Socket::from(socket.try_clone_to_owned()?);
        let device = socket.device().unwrap_or_default();
        let device = device.and_then(|name| String::from_utf8(name).ok());
        let address = socket.local_addr()?;
        let (local, path) = match address.as_socket() {
            Some(local) => (local, None),
            None => (UNNAMED, Some(path_of(&address)?)),
        };
        let is_dual = || socket.only_v6().is_ok_and(|only| !only);
        Ok(Self {
            transport,
            local,
            bound: path.is_none().then(|| Bind {
                address: local,
                dual_stack: local.is_ipv6() && is_dual(),
            }),
            path,
            file: None,
            device: device.filter(|name| !name.is_empty()),
            v6_only: None,
        })
    }

    /// Where they are, for people.
    pub fn place(&self) -> String {
        match (&self.path, self.transport) {
            (Some(path), _) => format!("unix:{}", path.display()),
            (None, Transport::Udp) => format!("{} (UDP)", self.local),
            (None, _) => self.local.to_string(),
        }
    }

    /// Fails unless this descriptor is one of them.
    fn admit(&self, socket: &Socket) -> Result<(), AdoptError> {
        let found = transport(socket.as_fd())?;
        if found != self.transport {
            return Err(AdoptError::Other("of another kind"));
        }
        let address = socket.local_addr()?;
        match address.as_socket() {
            // A Unix socket was bound to a name beside that by which it is found.
            None => Ok(()),
            Some(local) if local == self.local => Ok(()),
            Some(local) => Err(AdoptError::Elsewhere(local.to_string())),
        }
    }
}

impl Sockets {
    /// What another process has to know of them.
    pub fn description(&self) -> Description {
        let options = self.options();
        let file = self.file();
        let file = file.as_ref().filter(|file| file.is_ours());
        Description {
            transport: self.transport,
            local: self.local,
            bound: self.bound,
            path: self.path.as_deref().cloned(),
            file: file.map(SocketFile::numbers),
            device: options.device().map(str::to_owned),
            v6_only: options.v6_only,
        }
    }

    /// Further descriptors of them, one for each worker.
    pub fn duplicates(&self) -> io::Result<Vec<OwnedFd>> {
        let open = (0..self.open.len()).filter_map(|worker| self.slot(worker));
        let copies = open.filter_map(|slot| slot.as_ref().map(Socket::try_clone));
        copies.map(|copy| copy.map(OwnedFd::from)).collect()
    }

    /// Sockets of another process, for so many workers. Of connections, several workers may have
    /// one; of datagrams, each has one worker, since sessions belong to workers.
    pub fn adopt(
        description: &Description,
        descriptors: Vec<OwnedFd>,
        workers: usize,
    ) -> Result<Self, AdoptError> {
        let mut sockets: Vec<Socket> = descriptors.into_iter().map(Socket::from).collect();
        if sockets.is_empty() {
            return Err(AdoptError::None);
        }
        let is_udp = description.transport == Transport::Udp;
        for socket in &sockets {
            description.admit(socket)?;
            // Both belong to the socket, so another process may have made them otherwise.
            socket.set_nonblocking(true)?;
            if is_udp {
                datagram::prepare(socket, description.local)?;
            }
        }
        let own = sockets.len();
        if !is_udp {
            for worker in own..workers {
                let shared = sockets[worker % own].try_clone()?;
                sockets.push(shared);
            }
        }
        let (path, file) = (&description.path, description.file);
        let file = path.as_ref().zip(file);
        let file = file.map(|(path, numbers)| SocketFile::adopt(path, numbers));
        let options = Listening::of_adopted(description.device.as_deref(), description.v6_only);
        Ok(Self {
            local: description.local,
            bound: description.bound,
            path: path.clone().map(Arc::new),
            transport: description.transport,
            options: Mutex::new(options),
            open: sockets
                .into_iter()
                .map(|one| Mutex::new(Some(one)))
                .collect(),
            file: Mutex::new(file.transpose()?),
            passed_on: AtomicBool::new(false),
            is_adopted: AtomicBool::new(true),
        })
    }

    /// A Unix socket that was made elsewhere in this process, for one who accepts on it.
    pub fn of_socket(path: &Path, socket: Socket, file: Option<SocketFile>) -> Self {
        Self {
            local: UNNAMED,
            bound: None,
            path: Some(Arc::new(path.into())),
            transport: Transport::Unix,
            options: Mutex::default(),
            open: vec![Mutex::new(Some(socket))],
            file: Mutex::new(file),
            passed_on: AtomicBool::new(false),
            is_adopted: AtomicBool::new(false),
        }
    }

    /// Takes the file of an adopted Unix socket over, to be removed at the end.
    pub fn take_file(&self) {
        if let Some(file) = &*self.file() {
            file.take();
        }
    }

    /// Gives the file of a Unix socket to others.
    pub fn give_file(&self, access: &Access) -> io::Result<()> {
        self.file()
            .as_ref()
            .map_or(Ok(()), |file| file.give(access))
    }

    /// Leaves them to a process that has them too. Their queue and their file are that one's.
    pub fn pass_on(&self) {
        self.passed_on.store(true, Ordering::Release);
        if let Some(file) = &*self.file() {
            file.leave();
        }
    }

    /// Whether another process goes on with them.
    pub fn are_passed_on(&self) -> bool {
        self.passed_on.load(Ordering::Acquire)
    }
}

/// A descriptor that this process was started with, by its number; no child of this process gets
/// it. Fails where there is none of this number.
///
/// To be called before anything else opens descriptors, once for each number.
#[expect(
    unsafe_code,
    reason = "a number from the environment is all that a new process has"
)]
pub fn descriptor(number: RawFd) -> io::Result<OwnedFd> {
    if number <= STANDARD_ERROR {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is only looked whether there is such a descriptor.
    let found = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(found)?;
    fcntl_setfd(found, flags | FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and nobody in this process owns it: it came with the start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What comes by a socket that listens, or takes datagrams.
fn transport(socket: BorrowedFd<'_>) -> Result<Transport, AdoptError> {
    let not_a_socket = |_| AdoptError::Other("no socket");
    let kind = rustix::net::sockopt::socket_type(socket).map_err(not_a_socket)?;
    let family = rustix::net::sockopt::socket_domain(socket).map_err(io::Error::from)?;
    let transport = match (family, kind) {
        (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM) => Transport::Tcp,
        (AddressFamily::INET | AddressFamily::INET6, SocketType::DGRAM) => Transport::Udp,
        (AddressFamily::UNIX, SocketType::STREAM) => Transport::Unix,
        _ => return Err(AdoptError::Other("neither TCP, UDP nor a Unix stream")),
    };
    let takes_connections = transport != Transport::Udp;
    let listens = rustix::net::sockopt::socket_acceptconn(socket).map_err(io::Error::from)?;
    if takes_connections && !listens {
        let why = "a socket that does not listen (systemd: Accept=no is wanted)";
        return Err(AdoptError::Other(why));
    }
    Ok(transport)
}

/// The path of a Unix socket; an abstract name behind `@`.
fn path_of(address: &socket2::SockAddr) -> Result<PathBuf, AdoptError> {
    if let Some(path) = address.as_pathname() {
        return Ok(path.into());
    }
    let name = address.as_abstract_namespace();
    let name = name.and_then(|name| str::from_utf8(name).ok());
    let name = name.ok_or(AdoptError::Other("a Unix socket without a name"))?;
    Ok(format!("@{name}").into())
}

/// What is up to it belongs to the shell.
const STANDARD_ERROR: RawFd = 2;
