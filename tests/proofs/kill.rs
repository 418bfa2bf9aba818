//! The kill proof: endpoints die and come back, and no client notices.
//!
//! Three endpoints, each a process of its own, so that SIGKILL does to its connections what it does
//! in life. `EVENKEEL_PROOF_SECONDS` says how long it takes; it prints what it has seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{env, io, thread};

use crate::THE_MACHINE;
use crate::figures::{Load, proof_seconds, say};
use crate::support::clock::{eventually, eventually_within, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;

/// An endpoint in a process of its own, killed when this goes.
#[derive(Debug)]
pub(crate) struct Process {
    port: Port,
    /// The ignored test that is its body.
    body: &'static str,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub(crate) fn start(body: &'static str) -> Self {
        let port = Port::reserve();
        let said = Arc::default();
        let child = spawn(body, port.address(), &said);
        let process = Self {
            port,
            body,
            child,
            said,
        };
        process.wait_until_it_accepts();
        process
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.body, self.port.address(), &self.said);
        self.wait_until_it_accepts();
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) {
        let told = self.child.stdin.as_mut();
        let told = writeln!(told.expect("it was asked for"), "{line}");
        told.expect("it listens");
    }

    /// The lines that it has written, before it was killed too.
    pub(crate) fn said(&self) -> Vec<String> {
        let said = self.said.lock();
        said.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_until_it_accepts(&self) {
        eventually("the endpoint accepts", || {
            TcpStream::connect(self.address()).ok()
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn endpoints_that_are_killed_cost_no_request() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 3].map(|()| Process::start("kill::endpoint"));
    let addresses = addresses(&endpoints);
    // The defaults are on trial, with more than one worker: only where to is configured.
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nto = {addresses:?}\n"
    ));
    let seconds = proof_seconds();

    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    pause(Duration::from_secs(seconds / 4));
    let normal = load.stop();

    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    let rounds = usize::try_from(seconds).expect("a short time") / 2;
    for round in 0..rounds {
        let endpoint = &mut endpoints[round % 3];
        endpoint.kill();
        pause(Duration::from_secs(1));
        endpoint.restart();
        pause(Duration::from_secs(1));
    }
    let killed = load.stop();

    let outcome = |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        proxy.metric("evenkeel_retries_total", &[&label])
    };
    say(&format!(
        "kill proof, {RATE} requests/s over {CLIENTS} keep-alive connections\n  \
         normal:    {}\n  {rounds} kills:  {}\n  {} retries",
        normal.figures(),
        killed.figures(),
        outcome("success"),
    ));
    assert!(normal.failures.is_empty(), "{:?}", normal.failures);
    assert!(killed.failures.is_empty(), "{:?}", killed.failures);
    // All three are in use again: a restart is noticed, if need be when an ejection is over.
    let counted = |address: &String| {
        let endpoint = format!("endpoint=\"{address}\"");
        proxy.metric("evenkeel_endpoint_requests_total", &[&endpoint])
    };
    let before = addresses.each_ref().map(counted);
    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    eventually_within(EJECTED_TWICE, "every endpoint is asked again", || {
        let after = addresses.each_ref().map(counted);
        let mut pairs = before.iter().zip(after);
        pairs.all(|(before, after)| after > *before).then_some(())
    });
    let failures = load.stop().failures;
    assert!(failures.is_empty(), "{failures:?}");
}

/// Where these are.
pub(crate) fn addresses<const N: usize>(endpoints: &[Process; N]) -> [String; N] {
    endpoints
        .each_ref()
        .map(|endpoint| endpoint.address().to_string())
}

/// Starts this very program again, as an endpoint.
fn spawn(body: &str, address: SocketAddr, said: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut child = Command::new(env::current_exe().expect("a running program"))
        // With one thread, as on one core, its name would stand before the first line that it says.
        .args([
            "--exact",
            body,
            "--ignored",
            "--nocapture",
            "--test-threads=2",
        ])
        .env(ADDRESS, address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was started once already");
    let (lines, said) = (child.stdout.take(), Arc::clone(said));
    let lines = BufReader::new(lines.expect("it was asked for")).lines();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(line);
        }
    });
    child
}

/// In such a process: where it is to listen, and nothing anywhere else.
pub(crate) fn listener() -> Option<TcpListener> {
    let address = env::var(ADDRESS).ok()?;
    Some(TcpListener::bind(address).expect("the port is reserved"))
}

#[test]
#[ignore = "no test: the body of the processes that are killed"]
fn endpoint() {
    let Some(listener) = listener() else {
        return;
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    // Ends with whoever started it.
    drop(io::stdin().read_to_end(&mut Vec::new()));
}

/// Answers every request; none of them has a body.
fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut received = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        received.extend_from_slice(&piece[..length]);
        while let Some(end) = crate::support::message::find(&received, b"\r\n\r\n") {
            received.drain(..end + 4);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?;
        }
    }
}

/// Where such a process is told its address.
pub(crate) const ADDRESS: &str = "EVENKEEL_TEST_ENDPOINT";
/// On a slow machine a kill is met by as many requests as have its endpoint ejected. A second
/// ejection in a row lasts for a minute, up to 15 % more, and the kills leave no time for a third.
const EJECTED_TWICE: Duration = Duration::from_secs(90);
const CLIENTS: u32 = 20;
const RATE: u32 = 500;
