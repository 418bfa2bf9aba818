//! The two entrances of the admin API: a Unix socket for everything, a TCP address for looking.
//!
//! Problem: a socket file outlives a process that was killed, and the next start must neither fail
//! for it nor take the socket of an instance that lives. So a socket file is replaced only if
//! nobody answers on it ([`SocketFile`]), and it is this user's alone.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use crate::config;
use crate::net::{Access, Bind, SocketFile, SocketFileError, Sockets};

/// Where the admin API is served. Dropping it closes the entrances and removes the socket's file.
#[derive(Debug, Default)]
pub struct Entrances {
    pub(super) socket: Option<Socket>,
    pub(super) http: Option<TcpListener>,
    /// What the latter is bound to.
    bound: Option<Bind>,
}

/// A listening Unix socket and its file.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    _file: Option<SocketFile>,
}

/// Why the admin API cannot be served; says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EntranceError {
    /// The socket's directory is missing.
    #[error(
        "the directory of the admin socket {} does not exist: create it \
         (systemd: RuntimeDirectory=evenkeel), or set admin.socket to another path",
        .0.display()
    )]
    NoDirectory(PathBuf),
    /// Something else has the socket's path.
    #[error(
        "{} exists and is no socket: remove it, or set admin.socket to another path",
        .0.display()
    )]
    NotASocket(PathBuf),
    /// Another instance lives there.
    #[error(
        "another instance answers on {}: stop it, or set admin.socket to another path",
        .0.display()
    )]
    InUse(PathBuf),
    /// The system refused the socket.
    #[error("cannot make the admin socket {}: {}", .0.display(), .1)]
    Socket(PathBuf, io::Error),
    /// The system refused the TCP address.
    #[error("admin.http: {0}")]
    Http(io::Error),
}

impl Entrances {
    /// Opens the entrances that are written. Needs a tokio runtime.
    pub fn bind(written: &config::Admin) -> Result<Self, EntranceError> {
        let socket = written.socket.as_deref().map(Socket::bind).transpose()?;
        let http = written.http.as_deref().map(bind_http).transpose()?;
        let (http, bound) = http.unzip();
        Ok(Self {
            socket,
            http,
            bound: bound.flatten(),
        })
    }

    /// What the TCP address is bound to, with the port that it really has.
    pub fn http_bound(&self) -> Option<Bind> {
        self.bound
    }

    /// The TCP address with the port that was really bound.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }
}

impl Socket {
    fn bind(path: &Path) -> Result<Self, EntranceError> {
        let failed = |error| EntranceError::Socket(path.into(), error);
        let (listener, file) =
            SocketFile::listen(path, &Access::OWN, WAITING).map_err(|error| match error {
                SocketFileError::NoDirectory(path) => EntranceError::NoDirectory(path),
                SocketFileError::NotASocket(path) => EntranceError::NotASocket(path),
                SocketFileError::InUse(path) => EntranceError::InUse(path),
                SocketFileError::Other(_, error) => failed(error),
            })?;
        Ok(Self {
            listener: UnixListener::from_std(listener.into()).map_err(failed)?,
            _file: file,
        })
    }
}

fn bind_http(written: &str) -> Result<(TcpListener, Option<Bind>), EntranceError> {
    let bind = || {
        let sockets = Sockets::bind(written, 1)?;
        let listener = sockets.take(0)?.ok_or(io::ErrorKind::NotConnected)?;
        Ok((TcpListener::from_std(listener)?, sockets.bound))
    };
    bind().map_err(EntranceError::Http)
}

/// Commands that wait to be heard: there are few.
const WAITING: i32 = 128;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let name = format!("evenkeel-entrances-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        path
    }

    fn admin(socket: &Path) -> config::Admin {
        config::Admin {
            socket: Some(socket.into()),
            http: None,
        }
    }

    #[tokio::test]
    async fn the_socket_is_the_owners_alone_and_goes_with_its_holder() {
        let directory = directory("mode");
        let path = directory.join("admin.sock");
        let entrances = Entrances::bind(&admin(&path)).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        StdUnixStream::connect(&path).unwrap();
        drop(entrances);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir(directory).unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_replaced() {
        let directory = directory("stale");
        let path = directory.join("admin.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a killed process leaves its file");
        let entrances = Entrances::bind(&admin(&path)).unwrap();
        StdUnixStream::connect(&path).unwrap();
        drop(entrances);
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_living_instance_is_left_alone() {
        let directory = directory("live");
        let path = directory.join("admin.sock");
        let entrances = Entrances::bind(&admin(&path)).unwrap();
        let second = Entrances::bind(&admin(&path));
        assert!(matches!(second, Err(EntranceError::InUse(_))), "{second:?}");
        StdUnixStream::connect(&path).unwrap();
        drop(entrances);
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_successor_keeps_its_socket() {
        let directory = directory("successor");
        let path = directory.join("admin.sock");
        let first = Entrances::bind(&admin(&path)).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Entrances::bind(&admin(&path)).unwrap();
        drop(first);
        StdUnixStream::connect(&path).unwrap();
        drop(second);
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let directory = directory("file");
        let path = directory.join("admin.sock");
        fs::write(&path, "precious").unwrap();
        let refused = Entrances::bind(&admin(&path));
        assert!(
            matches!(refused, Err(EntranceError::NotASocket(_))),
            "{refused:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_dir_all(directory).unwrap();
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let path = std::env::temp_dir().join("evenkeel-no-such-directory/admin.sock");
        let error = Entrances::bind(&admin(&path)).expect_err("there is no such directory");
        assert!(error.to_string().contains("RuntimeDirectory"), "{error}");
    }

    #[tokio::test]
    async fn a_port_in_use_is_said_so() {
        let written = |port| config::Admin {
            socket: None,
            http: Some(format!("127.0.0.1:{port}")),
        };
        let first = Entrances::bind(&written(0)).unwrap();
        let port = first.http_address().unwrap().port();
        let error = Entrances::bind(&written(port)).expect_err("the port is taken");
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
