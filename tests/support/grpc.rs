//! grpcio as a counterpart on both sides, where it is installed: `grpc_peer.py`.
//!
//! `EVENKEEL_PYTHON` names the interpreter that has what `requirements.txt` lists, and
//! `EVENKEEL_GRPC=required` says that there must be one.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use super::python;

/// The server, which ends with this.
#[derive(Debug)]
pub(crate) struct GrpcServer {
    child: Child,
    said: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// A client with a call that is under way.
#[derive(Debug)]
pub(crate) struct GrpcCaller {
    child: Child,
    said: BufReader<ChildStdout>,
    tells: ChildStdin,
}

impl GrpcServer {
    /// One with these arguments: `&["serve"]`.
    ///
    /// # Panics
    /// When it does not start.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = peer(arguments);
        let mut said = BufReader::new(child.stdout.take().expect("it was asked for"));
        let mut port = String::new();
        said.read_line(&mut port).expect("its port");
        let port: u16 = port.trim().parse().expect("a port");
        Self {
            child,
            said,
            address: ([127, 0, 0, 1], port).into(),
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next thing that it says of a call.
    pub(crate) fn line(&mut self) -> String {
        line(&mut self.said)
    }
}

impl Drop for GrpcServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl GrpcCaller {
    /// Begins a case.
    pub(crate) fn begin(address: SocketAddr, case: &str) -> Self {
        let mut child = peer(&["call", &address.to_string(), case]);
        Self {
            said: BufReader::new(child.stdout.take().expect("it was asked for")),
            tells: child.stdin.take().expect("it was asked for"),
            child,
        }
    }

    /// The next thing that it says.
    pub(crate) fn line(&mut self) -> String {
        line(&mut self.said)
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.tells, "{what}").expect("it waits");
    }

    /// Lets the call go on.
    pub(crate) fn release(&mut self) {
        self.tell("");
    }
}

impl Drop for GrpcCaller {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes the calls of a case, and returns the lines that tell what came of them.
///
/// # Panics
/// When it fails otherwise than the case expects.
pub(crate) fn call(address: SocketAddr, case: &str, more: &[&str]) -> Vec<String> {
    let address = address.to_string();
    let arguments = [&["call", &address, case], more].concat();
    let output = peer(&arguments).wait_with_output().expect("our own child");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(str::to_owned).collect()
}

/// Whether there is grpcio. Says so where there is not, or fails where that must not be.
pub(crate) fn is_there() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    python::has("grpc, grpc_health", "EVENKEEL_GRPC", &FOUND)
}

fn peer(arguments: &[&str]) -> Child {
    Command::new(python::python())
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/support/grpc_peer.py"
        ))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was found before")
}

fn line(said: &mut impl BufRead) -> String {
    let mut line = String::new();
    said.read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}
