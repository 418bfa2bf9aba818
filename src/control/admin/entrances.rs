//! The two entrances of the admin API: a Unix socket for everything, a TCP address for looking.
//!
//! Problem: a socket file outlives a process that was killed, and the next start must neither fail
//! for it nor take the socket of an instance that lives. So a socket file is replaced only if
//! nobody answers on it ([`SocketFile`]), and it is this user's alone unless more was written.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::doors::Doors;
use super::token::TokenError;
use crate::config;
use crate::control::inherited::Inherited;
use crate::net::{Access, Bind, SocketFile, SocketFileError, Sockets, UnknownAccount};

/// Where the admin API is served. Dropping it closes the entrances and removes the socket's file.
#[derive(Debug, Default)]
pub struct Entrances {
    pub(super) socket: Option<UnixListener>,
    pub(super) http: Option<TcpListener>,
    /// Who may come in.
    pub(super) doors: Doors,
    gates: Vec<Gate>,
    /// Whom the file of a socket that was handed over is to be for.
    access: Option<Access>,
    /// Turns true once another instance serves them.
    left: watch::Sender<bool>,
}

/// What is needed to leave the entrances to another instance.
#[derive(Debug)]
pub struct Gates {
    pub(crate) gates: Vec<Gate>,
    left: watch::Sender<bool>,
}

/// The sockets of one entrance, and its address as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) bind: String,
    pub(crate) sockets: Arc<Sockets>,
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
    /// A user or group that may come in does not exist.
    #[error("admin.allow_users, allow_groups, group: {0}")]
    Account(UnknownAccount),
    /// There is no token.
    #[error("admin.token_file: {}: {}", .0.display(), .1)]
    Token(PathBuf, TokenError),
    /// The system refused the TCP address.
    #[error("admin.http: {0}")]
    Http(io::Error),
}

impl Entrances {
    /// Opens the entrances that are written. Needs a tokio runtime.
    pub fn bind(written: &config::Admin) -> Result<Self, EntranceError> {
        Self::open(written, &Inherited::default())
    }

    /// The same; those that the instance before hands over stay as they are, until this one serves
    /// ([`Entrances::settle`]).
    pub fn open(written: &config::Admin, inherited: &Inherited) -> Result<Self, EntranceError> {
        let mut entrances = Self {
            doors: Doors::new(written)?,
            ..Self::default()
        };
        if let Some(path) = &written.socket {
            let access = Access::own_with(written.mode.as_deref(), written.group.as_deref());
            let (gate, is_new) = socket(path, &access, inherited)?;
            entrances.access = (!is_new).then_some(access);
            let listener = listener(&gate.sockets, UnixListener::from_std);
            let failed = |error| EntranceError::Socket(path.clone(), error);
            entrances.socket = Some(listener.map_err(failed)?);
            entrances.gates.push(gate);
        }
        if let Some(bind) = &written.http {
            let gate = http(bind, inherited).map_err(EntranceError::Http)?;
            let listener = listener(&gate.sockets, TcpListener::from_std);
            entrances.http = Some(listener.map_err(EntranceError::Http)?);
            entrances.gates.push(gate);
        }
        Ok(entrances)
    }

    /// Gives the file of a socket that was handed over to whom it is for by now. Once this instance
    /// serves: until then it is the other one's.
    pub fn settle(&self) {
        let Some((access, path)) = self.access.as_ref().zip(self.socket_path()) else {
            return;
        };
        for gate in self.gates.iter().filter(|gate| gate.bind.starts_with(UNIX)) {
            if let Err(error) = gate.sockets.give_file(access) {
                tracing::warn!(
                    %error,
                    "{} stays for whom it was: admin.mode and admin.group are taken at the next restart",
                    path.display()
                );
            }
        }
    }

    /// Where the socket's file is.
    pub fn socket_path(&self) -> Option<&Path> {
        self.gates
            .iter()
            .find_map(|gate| gate.bind.strip_prefix(UNIX))
            .map(Path::new)
    }

    /// What the TCP address is bound to, with the port that it really has.
    pub fn http_bound(&self) -> Option<Bind> {
        self.gates.iter().find_map(|gate| gate.sockets.bound)
    }

    /// The TCP address with the port that was really bound.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref()?.local_addr().ok()
    }

    /// What is needed to leave them to another instance.
    pub fn gates(&self) -> Gates {
        Gates {
            gates: self.gates.clone(),
            left: self.left.clone(),
        }
    }

    /// What they accept on.
    pub fn sockets(&self) -> impl Iterator<Item = Arc<Sockets>> {
        self.gates.iter().map(|gate| Arc::clone(&gate.sockets))
    }

    /// Turns true once another instance serves them.
    pub(super) fn left(&self) -> watch::Receiver<bool> {
        self.left.subscribe()
    }
}

impl Gates {
    /// Accepts no more: another instance does. Who is connected is answered.
    pub(crate) fn leave(&self) {
        for gate in &self.gates {
            gate.sockets.close(0);
        }
        self.left.send_replace(true);
    }
}

/// The socket at a path, and whether it is a new one.
fn socket(
    path: &Path,
    access: &Access,
    inherited: &Inherited,
) -> Result<(Gate, bool), EntranceError> {
    let bind = format!("{UNIX}{}", path.display());
    if let Some(sockets) = inherited.admin(&bind) {
        return Ok((Gate { bind, sockets }, false));
    }
    let failed = |error| EntranceError::Socket(path.into(), error);
    let (listener, file) =
        SocketFile::listen(path, access, WAITING).map_err(|error| match error {
            SocketFileError::NoDirectory(path) => EntranceError::NoDirectory(path),
            SocketFileError::NotASocket(path) => EntranceError::NotASocket(path),
            SocketFileError::InUse(path) => EntranceError::InUse(path),
            SocketFileError::Other(_, error) => failed(error),
        })?;
    let sockets = Arc::new(Sockets::of_socket(path, listener, file));
    Ok((Gate { bind, sockets }, true))
}

fn http(bind: &str, inherited: &Inherited) -> io::Result<Gate> {
    let sockets = match inherited.admin(bind) {
        Some(sockets) => sockets,
        None => Arc::new(Sockets::bind(bind, 1)?),
    };
    let bind = bind.to_owned();
    Ok(Gate { bind, sockets })
}

/// What the runtime watches of an entrance.
fn listener<S: From<OwnedFd>, L>(
    sockets: &Sockets,
    watched: impl FnOnce(S) -> io::Result<L>,
) -> io::Result<L> {
    let own = sockets.duplicates()?.into_iter().next();
    watched(own.ok_or(io::ErrorKind::NotConnected)?.into())
}

/// Before the path of a Unix socket.
const UNIX: &str = "unix:";

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
            ..config::Admin::default()
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
            ..config::Admin::default()
        };
        let first = Entrances::bind(&written(0)).unwrap();
        let port = first.http_address().unwrap().port();
        let error = Entrances::bind(&written(port)).expect_err("the port is taken");
        assert!(error.to_string().contains("in use"), "{error}");
    }
}
