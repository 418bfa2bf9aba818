//! Load at a steady pace, and what its clients noticed.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::client::Client;
use crate::support::clock::{pause, timed};
use crate::support::evenkeel::Evenkeel;

/// Clients that send GETs over connections that stay, until they are stopped.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Figures>>,
}

/// What clients noticed.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    /// What went wrong, with everything that a client could see of it.
    pub(crate) failures: Vec<String>,
    latencies: Vec<Duration>,
}

impl Load {
    /// `clients` connections to the listener `web`, each sending a request every `interval`.
    pub(crate) fn start(proxy: &Evenkeel, clients: usize, interval: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let address = proxy.address("web");
        let client = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || run_client(address, interval, &stop))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    /// Stops the clients, and returns what they noticed together.
    pub(crate) fn stop(self) -> Figures {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Figures::default();
        for client in self.clients {
            let figures = client.join().expect("a client only counts");
            all.requests += figures.requests;
            all.failures.extend(figures.failures);
            all.latencies.extend(figures.latencies);
        }
        all.latencies.sort_unstable();
        all
    }
}

impl Figures {
    /// The latency that this share of the requests stayed below, in thousandths.
    pub(crate) fn per_mille(&self, share: usize) -> Duration {
        let index = self.latencies.len() * share / 1000;
        let last = self.latencies.len().saturating_sub(1);
        self.latencies
            .get(index.min(last))
            .copied()
            .unwrap_or_default()
    }

    /// Prints the figures where they are seen even of a test that passes.
    pub(crate) fn print(&self, what: &str) {
        say(&format!(
            "{what}: {} requests, {} failed; p50 {:?}, p99 {:?}, p99.9 {:?}",
            self.requests,
            self.failures.len(),
            self.per_mille(500),
            self.per_mille(990),
            self.per_mille(999),
        ));
        for failure in self.failures.iter().take(5) {
            say(&format!("  {failure}"));
        }
    }

    /// Sends a request, and says how long its answer took and whether it was a good one.
    fn ask(&mut self, client: &mut Client) -> (Duration, bool) {
        let (took, answer) = timed(|| {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            client.try_response_to("GET")
        });
        self.requests += 1;
        self.latencies.push(took);
        match answer {
            Ok(response) if response.status == 200 && response.is_whole() => (took, true),
            other => {
                self.failures.push(format!("{other:?}"));
                (took, false)
            }
        }
    }
}

fn run_client(address: SocketAddr, interval: Duration, stop: &AtomicBool) -> Figures {
    let mut client = Client::connect(address);
    let mut figures = Figures::default();
    while !stop.load(Ordering::Relaxed) {
        let (took, succeeded) = figures.ask(&mut client);
        if !succeeded {
            client = Client::connect(address);
        }
        pause(interval.saturating_sub(took));
    }
    figures
}

/// Past the capture of the test framework: these lines are what the proofs are for.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}
