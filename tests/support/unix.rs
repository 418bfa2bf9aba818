//! Unix sockets from the other sides: a directory for their files, clients, and an endpoint.

use std::io::Write;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use super::client::Client;
use super::clock::{PATIENCE, eventually};
use super::message::Wire;

/// A directory for files of sockets, which goes with its value.
#[derive(Debug)]
pub(crate) struct Sockets(PathBuf);

/// A server at a Unix socket that answers every request with its own head.
#[derive(Debug)]
pub(crate) struct LocalEndpoint {
    connections: Arc<AtomicUsize>,
}

impl Sockets {
    /// One of this name, which no other test of this process may have.
    ///
    /// # Panics
    /// When the temporary directory cannot be written.
    pub(crate) fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("evenkeel-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).expect("the temporary directory can be written");
        Self(path)
    }

    /// The path of a socket here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same, as it is written.
    pub(crate) fn written(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl LocalEndpoint {
    /// One at this path, or at an abstract name behind `@`.
    ///
    /// # Panics
    /// When it cannot be there.
    pub(crate) fn at(path: &Path) -> Self {
        let listener = UnixListener::bind_addr(&address(path)).expect("a free path");
        Self::behind(listener)
    }

    /// One that takes what this has in its queue, and all else.
    pub(crate) fn behind(listener: UnixListener) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || serve(stream));
            }
        });
        Self { connections }
    }

    /// Connections that have come.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A client of the socket at this path, or at an abstract name behind `@`.
///
/// # Panics
/// When nobody listens there.
pub(crate) fn client(path: &Path) -> Client<UnixStream> {
    let stream = UnixStream::connect_addr(&address(path)).expect("the proxy accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    Client::over(stream)
}

/// Whether anybody listens at a path.
pub(crate) fn is_there(path: &Path) -> bool {
    UnixStream::connect_addr(&address(path)).is_ok()
}

/// Waits until nothing is at a path any more.
///
/// # Panics
/// When it stays.
pub(crate) fn wait_until_gone(path: &Path) {
    eventually("the file is removed", || (!path.exists()).then_some(()));
}

fn serve(stream: UnixStream) {
    let mut answers = stream.try_clone().expect("a spare descriptor");
    let mut wire = Wire::new(stream);
    loop {
        let Ok(head) = wire.head() else { return };
        let fields = head.fields.iter();
        let fields = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
        let body = format!("{}\r\n{}", head.start, fields.collect::<String>());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn address(path: &Path) -> SocketAddr {
    let text = path.to_str().expect("plain names");
    match text.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
    .expect("it is short")
}
