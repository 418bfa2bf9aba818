//! The kill proof: endpoints die and come back, and no client notices.
//!
//! Three endpoints, each a process of its own, so that SIGKILL does to its connections what it does
//! in life. `EVENKEEL_PROOF_SECONDS` says how long it takes; it prints what it has seen.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;
use std::time::Duration;
use std::{env, io, thread};

use crate::THE_MACHINE;
use crate::figures::{Load, proof_seconds, say};
use crate::support::clock::{eventually, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;

/// An endpoint in a process of its own, killed when this goes.
#[derive(Debug)]
struct Process {
    port: Port,
    child: Child,
}

impl Process {
    fn start() -> Self {
        let port = Port::reserve();
        let child = spawn(port.address());
        let process = Self { port, child };
        process.wait_until_it_accepts();
        process
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    fn restart(&mut self) {
        self.child = spawn(self.port.address());
        self.wait_until_it_accepts();
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
    let mut endpoints = [(); 3].map(|()| Process::start());
    let addresses = endpoints
        .each_ref()
        .map(|endpoint| endpoint.address().to_string());
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
    // All three are in use again: a restart is noticed.
    let counted = |address: &String| {
        let endpoint = format!("endpoint=\"{address}\"");
        proxy.metric("evenkeel_endpoint_requests_total", &[&endpoint])
    };
    let before = addresses.each_ref().map(counted);
    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    eventually("every endpoint is asked again", || {
        let after = addresses.each_ref().map(counted);
        let mut pairs = before.iter().zip(after);
        pairs.all(|(before, after)| after > *before).then_some(())
    });
    let failures = load.stop().failures;
    assert!(failures.is_empty(), "{failures:?}");
}

/// Starts this very program again, as an endpoint.
fn spawn(address: SocketAddr) -> Child {
    Command::new(env::current_exe().expect("a running program"))
        .args(["--exact", "kill::endpoint", "--ignored", "--nocapture"])
        .env(ADDRESS, address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it was started once already")
}

#[test]
#[ignore = "no test: the body of the processes that are killed"]
fn endpoint() {
    let Ok(address) = env::var(ADDRESS) else {
        return;
    };
    let listener = TcpListener::bind(address).expect("the port is reserved");
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

const ADDRESS: &str = "EVENKEEL_TEST_ENDPOINT";
const CLIENTS: u32 = 20;
const RATE: u32 = 500;
