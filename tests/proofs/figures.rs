//! Load at a constant rate, and what its clients saw.
//!
//! Each client has a beat of its own and measures from the beat, not from the moment at which it
//! got round to sending: a stall then costs all the requests that should have been sent meanwhile,
//! as it costs real clients, instead of one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::client::{Client, Response};
use crate::support::clock::{Pace, timed};
use crate::support::message::Broken;

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// From the beat to the last byte of the response, of each request that was answered.
    pub(crate) latencies: Vec<Duration>,
    /// The same from the moment at which it was sent: what held up the client itself, which waits
    /// for each answer before it goes on, does not count.
    pub(crate) waits: Vec<Duration>,
    /// What went wrong, in words.
    pub(crate) failures: Vec<String>,
    /// Requests that took longer than a second by themselves, whatever came before.
    pub(crate) stalls: usize,
    /// How often a connection ended after a response that had said so.
    pub(crate) farewells: usize,
}

impl Load {
    /// Starts `clients` keep-alive clients that send GETs for `/`, `rate` a second in all.
    pub(crate) fn start(address: SocketAddr, clients: u32, rate: u32) -> Self {
        Self::start_over(move || Client::connect(address), clients, rate)
    }

    /// The same over connections that are made like this.
    pub(crate) fn start_over<S: Read + Write>(
        connect: impl Fn() -> Client<S> + Clone + Send + 'static,
        clients: u32,
        rate: u32,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let every = Duration::from_secs(1) * clients / rate;
        let clients = (0..clients)
            .map(|number| {
                let (stop, connect) = (Arc::clone(&stop), connect.clone());
                // Spread over the beat, or all would send at once.
                let pace = Pace::new(every, every * number / clients);
                thread::spawn(move || run(connect, pace, &stop))
            })
            .collect();
        Self { stop, clients }
    }

    /// Ends the load after the requests under way.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Release);
        let mut all = Tally::default();
        for client in self.clients {
            let tally = client.join().expect("a client does not fail");
            all.latencies.extend(tally.latencies);
            all.waits.extend(tally.waits);
            all.failures.extend(tally.failures);
            all.farewells += tally.farewells;
            all.stalls += tally.stalls;
        }
        all.latencies.sort_unstable();
        all.waits.sort_unstable();
        all
    }
}

impl Tally {
    /// Requests that were sent.
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len() + self.failures.len()
    }

    /// The latency below which this many of a thousand requests stayed.
    ///
    /// # Panics
    /// When nothing was answered.
    pub(crate) fn quantile(&self, per_mille: usize) -> Duration {
        let last = self.latencies.len() - 1;
        self.latencies[last * per_mille / 1000]
    }

    /// The time in which 99 % of those that were answered had their answer, once they were sent.
    ///
    /// # Panics
    /// When nothing was answered.
    pub(crate) fn usual_wait(&self) -> Duration {
        self.waits[(self.waits.len() - 1) * 99 / 100]
    }

    /// Wants that wait to be about what it was at another time: twice as long at the most, or no
    /// longer than a busy machine may take for anything.
    pub(crate) fn waits_as_in(&self, normal: &Self) {
        let (wait, usual) = (self.usual_wait(), normal.usual_wait());
        say(&format!(
            "  p99 of those answered {wait:.1?}, normal {usual:.1?}"
        ));
        assert!(
            wait <= (2 * usual).max(BUSY),
            "{wait:?} instead of {usual:?}"
        );
    }

    /// How many failed, by how.
    pub(crate) fn failures_by_kind(&self) -> BTreeMap<&str, usize> {
        let mut kinds = BTreeMap::new();
        for failure in &self.failures {
            *kinds.entry(&**failure).or_default() += 1;
        }
        kinds
    }

    /// The figures, on one line.
    pub(crate) fn figures(&self) -> String {
        let (requests, failed) = (self.requests(), self.failures.len());
        let [p50, p99, p999, most] = [500, 990, 999, 1000].map(|share| self.quantile(share));
        format!(
            "{requests} requests, {failed} failed; p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, \
             most {most:.1?}"
        )
    }
}

/// Says something that is to be seen of a test that passes too, which the test framework hides
/// otherwise.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// How long a proof under load takes, in seconds: `EVENKEEL_PROOF_SECONDS`, or what is enough for
/// every day. The full form takes 60.
pub(crate) fn proof_seconds() -> u64 {
    let written = std::env::var("EVENKEEL_PROOF_SECONDS").ok();
    written
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(EVERY_DAY)
}

fn run<S: Read + Write>(
    connect: impl Fn() -> Client<S>,
    mut pace: Pace,
    stop: &AtomicBool,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = None;
    while !stop.load(Ordering::Acquire) {
        let beat = pace.wait();
        let connection = client.get_or_insert_with(&connect);
        let (outcome, took) = timed(|| {
            connection.send("GET / HTTP/1.1\r\nHost: load\r\n\r\n");
            connection.try_response_to("GET")
        });
        tally.stalls += usize::from(took > STALL);
        match outcome {
            Ok(response) if response.status == 200 && response.is_whole() => {
                tally.latencies.push(beat.elapsed());
                tally.waits.push(took);
                if response.head.list("connection") == ["close"] {
                    tally.farewells += 1;
                    client = None;
                }
            }
            outcome => {
                tally.failures.push(in_words(outcome));
                client = None;
            }
        }
    }
    tally
}

fn in_words(outcome: Result<Response, Broken>) -> String {
    match outcome {
        Ok(response) => {
            let why = response.head.value("proxy-status").unwrap_or_default();
            format!("answered {} ({why})", response.status)
        }
        Err(broken) => format!("{broken:?}"),
    }
}

/// A person notices.
const STALL: Duration = Duration::from_secs(1);

/// What two cores with something else to do let anybody wait, and far below any limit of time.
const BUSY: Duration = Duration::from_millis(250);

const EVERY_DAY: u64 = 20;
