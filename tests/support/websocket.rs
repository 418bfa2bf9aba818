//! `websockets`, and `wsproto` over `h2`, as counterparts, where they are installed:
//! `websocket_peer.py`.
//!
//! `EVENKEEL_PYTHON` names the interpreter that has what `requirements.txt` lists, and
//! `EVENKEEL_WEBSOCKET=required` says that there must be one.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::python;

/// A client or a server, which ends with this.
#[derive(Debug)]
pub(crate) struct WebSocketPeer {
    child: Child,
    said: BufReader<ChildStdout>,
    told: ChildStdin,
}

impl WebSocketPeer {
    /// A server that sends messages back, and where it listens.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) fn serve() -> (Self, SocketAddr) {
        let mut peer = Self::run(&["serve"]);
        let port: u16 = peer.line().parse().expect("a port");
        (peer, ([127, 0, 0, 1], port).into())
    }

    /// A client with an open WebSocket.
    ///
    /// # Panics
    /// When it does not come about.
    pub(crate) fn talk(address: SocketAddr, more: &[&str]) -> Self {
        let address = address.to_string();
        let mut peer = Self::run(&[&["talk", &address], more].concat());
        assert_eq!(peer.line(), "open chat", "{more:?}");
        peer
    }

    /// Has a client do this, and returns what came of it.
    pub(crate) fn ask(&mut self, what: &str) -> String {
        writeln!(self.told, "{what}").expect("it listens");
        self.line()
    }

    /// The next thing that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    fn run(arguments: &[&str]) -> Self {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/websocket_peer.py"
        );
        let mut child = Command::new(python::python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was found before");
        Self {
            said: BufReader::new(child.stdout.take().expect("it was asked for")),
            told: child.stdin.take().expect("it was asked for"),
            child,
        }
    }
}

impl Drop for WebSocketPeer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether there are such counterparts. Says so where there are none, or fails where that must not
/// be.
pub(crate) fn is_there() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    python::has("websockets, wsproto, h2", "EVENKEEL_WEBSOCKET", &FOUND)
}
