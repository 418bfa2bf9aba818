//! Endpoints that fail, where there are two of them, and where there are two thousand: one process
//! that listens on as many addresses of the loopback network.

use std::env;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::THE_MACHINE;
use crate::failing::{CLIENTS, RATE, during};
use crate::figures::{Load, Tally, proof_seconds, say};
use crate::kill::{ADDRESS, Process};
use crate::support::clock::{eventually, eventually_within, pause};
use crate::support::evenkeel::Evenkeel;
use crate::support::message::find;

/// Two, and as many as many have at most.
const NUMBERS: [usize; 2] = [2, MANY];

/// What the bounds of these proofs are held against: whoever compares nothing, and ejects nobody.
const BLIND: &str = "balance = \"round_robin\"\noutlier.enabled = false";

#[test]
fn what_becomes_slow_is_hardly_asked() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    // Each has to be slow two or three times until it is known: so there are as many as are asked
    // five times a second each.
    for (number, slow) in [(2, 1), (60, 6)] {
        for balance in ["power_of_two", "peak_ewma"] {
            let mut group = Group::start(number, &format!("balance = \"{balance}\""), "");
            group.be("delay 5", number);
            let normal = during(&group.proxy, || pause(a_while()));
            group.be("delay 1000", slow);
            let is_told = number == 2 && balance == "power_of_two";
            let penalty = |proxy: &Evenkeel| proxy.metric_now("evenkeel_endpoint_penalty", &[]);
            let after = during(&group.proxy, || {
                pause(2 * a_while());
                if is_told {
                    eventually("it is told", || (penalty(&group.proxy) > 0).then_some(()));
                }
            });
            let asked = group.asked(slow);
            let penalty = penalty(&group.proxy);
            say(&format!(
                "{slow} of {number} endpoints 200 times slower, {balance}\n  normal: {}\n  after:  \
                 {}\n  {asked} requests went there, the penalties are {penalty}",
                normal.figures(),
                after.figures(),
            ));
            assert!(after.failures.is_empty(), "{:?}", after.failures);
            // Three each, or what all clients have sent before the first answers; some trials.
            let (all, known) = (after.requests(), (3 * slow).max(CLIENTS as usize));
            assert!(asked <= all / 100 + known + 10, "{asked} of {all}");
        }
        let mut group = Group::start(number, BLIND, "");
        group.be("delay 5", number);
        group.be("delay 1000", slow);
        let blind = during(&group.proxy, || pause(a_while()));
        let (asked, all) = (group.asked(slow), blind.requests());
        say(&format!(
            "  unnoticed: {asked} of {all} requests went there"
        ));
        // Its clients wait for it, and so cannot ask more.
        assert!(asked * number * 4 > all * slow * 3, "{asked} of {all}");
    }
}

#[test]
fn what_answers_500_fails_once_and_with_retries_nobody() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, bad) in NUMBERS.into_iter().zip([1, MANY / 3]) {
        for retry in ["", "retry = { statuses = [500] }"] {
            let mut group = Group::start(number, "", retry);
            let normal = during(&group.proxy, || pause(a_while()));
            group.be("status 500", bad);
            let after = group.while_each_is_asked(number);
            let (failed, all) = (after.failures.len(), after.requests());
            let asked = group.asked(bad);
            let ejected = group.proxy.events("endpoint_ejected").len();
            say(&format!(
                "{bad} of {number} endpoints answer 500 ({retry})\n  {}\n  {asked} requests went \
                 there, {ejected} events of ejections",
                after.figures(),
            ));
            assert!(normal.failures.is_empty(), "{:?}", normal.failures);
            // Each is asked until it is known: once, and what is under way at that moment; and some
            // a second time, as trials.
            let known = bad + CLIENTS as usize + all / 50;
            assert!(asked <= known, "{asked} of {all}");
            if retry.is_empty() {
                assert!(failed <= known, "{failed} of {all}");
            } else {
                // Of two there is no doubt who is well. Of many nobody can know it at the first.
                let most = if number == 2 { 0 } else { CLIENTS as usize / 2 };
                assert!(failed <= most, "{:?}", after.failures);
            }
        }
        let mut group = Group::start(number, BLIND, "");
        group.be("status 500", bad);
        let blind = group.while_each_is_asked(number);
        let (failed, all) = (blind.failures.len(), blind.requests());
        say(&format!("  unnoticed: {failed} of {all} failed"));
        assert!(failed * number * 4 > all * bad * 3, "{failed} of {all}");
    }
}

#[test]
fn what_hangs_now_and_then_costs_nobody_else() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    for number in NUMBERS {
        let route = "timeouts = { response_head = \"1s\" }";
        let mut group = Group::start(number, "", route);
        let normal = during(&group.proxy, || pause(a_while()));
        group.be("hang 3", number);
        let hanging = during(&group.proxy, || pause(2 * a_while()));
        group.be("hang 0", number);
        say(&format!(
            "every third request to {number} endpoints hangs\n  {}",
            hanging.figures()
        ));
        let (failed, all) = (hanging.failures.len(), hanging.requests());
        assert!(
            failed * 3 <= all + 3 * CLIENTS as usize,
            "{failed} of {all}"
        );
        let held_up = hanging.stalls.saturating_sub(failed);
        assert!(held_up * 100 <= all, "{held_up} of {all} came late");
        hanging.waits_as_in(&normal);
        eventually("nothing is in flight", || {
            let in_flight = group.proxy.metric_now("evenkeel_upstream_in_flight", &[]);
            (in_flight == 0).then_some(())
        });
        let after = during(&group.proxy, || pause(Duration::from_secs(1)));
        assert!(after.failures.is_empty(), "{:?}", after.failures);
    }
}

/// Endpoints, and a proxy in front of them.
struct Group {
    process: Process,
    proxy: Evenkeel,
}

impl Group {
    fn start(number: usize, upstream: &str, route: &str) -> Self {
        let process = Process::start("many::endpoint");
        let port = process.address().port();
        let all = (0..number).map(|place| address(place, port).to_string());
        let all: Vec<String> = all.collect();
        let proxy = Evenkeel::start(&format!(
            "workers = 2\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{route}\n\
             [upstream.app]\nendpoints = {all:?}\n{upstream}\n"
        ));
        Self { process, proxy }
    }

    /// From now on the first ones are like that.
    fn be(&mut self, what: &str, first: usize) {
        self.process.tell(&format!("{what} {first}"));
        let done = self.process.said().len();
        // The lines that it says are of what it was asked.
        self.process.tell(&format!("count 0 {first}"));
        eventually("it has heard that", || {
            (self.process.said().len() > done).then_some(())
        });
    }

    /// Load until there were four requests for each of so many, and for two `a_while`.
    fn while_each_is_asked(&mut self, number: usize) -> Tally {
        let before = self.asked(number);
        // What one process and two cores can bear; where it is less, it takes longer.
        let rate = if number == MANY { FAST } else { RATE };
        let load = Load::start(self.proxy.address("web"), CLIENTS, rate);
        pause(2 * a_while());
        eventually_within(LONG, "each was asked", || {
            pause(Duration::from_millis(100));
            (self.asked(number) >= before + 4 * number).then_some(())
        });
        load.stop()
    }

    /// Requests to the first ones since they are as they are.
    fn asked(&mut self, first: usize) -> usize {
        let before = self.process.said().len();
        self.process.tell(&format!("count 0 {first}"));
        eventually("it has counted", || {
            let said = self.process.said();
            said.get(before)?.strip_prefix("asked ")?.parse().ok()
        })
    }
}

/// The address of an endpoint of that process.
fn address(place: usize, port: u16) -> SocketAddr {
    let [high, low] = u16::try_from(place).expect("few").to_be_bytes();
    (Ipv4Addr::new(127, 1, high, low), port).into()
}

fn a_while() -> Duration {
    Duration::from_secs(proof_seconds().div_ceil(10))
}

/// What one of them does, as it is told.
#[derive(Debug, Default)]
struct Behaviour {
    /// 0 for 200.
    status: AtomicU32,
    /// Milliseconds.
    delay: AtomicU32,
    asked: AtomicU32,
}

/// What all of them do.
#[derive(Debug)]
struct Behaviours {
    each: Vec<Behaviour>,
    /// The how manieth request to any is never answered; 0 for none.
    hang_every: AtomicU32,
    requests: AtomicU32,
}

#[test]
#[ignore = "no test: the body of the process that is many endpoints"]
fn endpoint() {
    let Ok(first) = env::var(ADDRESS) else {
        return;
    };
    let first: SocketAddr = first.parse().expect("an address");
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Some(most.map_or(FILES, |most| most.min(FILES)));
    let limit = Rlimit {
        current: limit,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).expect("it is below the hard one");
    let behaviours = Arc::new(Behaviours {
        each: (0..MANY).map(|_| Behaviour::default()).collect(),
        hang_every: AtomicU32::new(0),
        requests: AtomicU32::new(0),
    });
    let listen = |at: SocketAddr| {
        let listener = TcpListener::bind(at).expect("the port is reserved");
        listener.set_nonblocking(true).expect("a socket");
        listener
    };
    let mut listeners: Vec<TcpListener> = (0..MANY)
        .map(|place| listen(address(place, first.port())))
        .collect();
    // It is looked for here, once all are there.
    listeners.push(listen(first));
    let serving = Arc::clone(&behaviours);
    thread::spawn(move || run(listeners, &serving));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        behaviours.told(&line);
    }
}

fn run(listeners: Vec<TcpListener>, behaviours: &Arc<Behaviours>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        for (place, listener) in listeners.into_iter().enumerate() {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let behaviours = Arc::clone(behaviours);
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, place.min(MANY - 1), Arc::clone(&behaviours)));
                }
            });
        }
        std::future::pending::<()>().await;
    });
}

/// Answers requests without bodies.
async fn serve(
    mut stream: tokio::net::TcpStream,
    place: usize,
    behaviours: Arc<Behaviours>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut received, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        received.extend_from_slice(&piece[..length]);
        while let Some(end) = find(&received, b"\r\n\r\n") {
            received.drain(..end + 4);
            let behaviour = &behaviours.each[place];
            behaviour.asked.fetch_add(1, Ordering::Relaxed);
            let number = behaviours.requests.fetch_add(1, Ordering::Relaxed) + 1;
            match behaviours.hang_every.load(Ordering::Relaxed) {
                0 => {}
                every if number.is_multiple_of(every) => std::future::pending().await,
                _ => {}
            }
            let delay = behaviour.delay.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay.into())).await;
            }
            let status = match behaviour.status.load(Ordering::Relaxed) {
                0 => 200,
                status => status,
            };
            let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 5\r\n\r\nhello");
            stream.write_all(answer.as_bytes()).await?;
        }
    }
}

impl Behaviours {
    /// What is to be, which number, and of how many.
    fn told(&self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next().expect("a word");
        let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
        let (value, first) = (number().expect("a number"), number().expect("another"));
        let those = &self.each[..first as usize];
        if what == "count" {
            let asked = those.iter().map(|one| one.asked.load(Ordering::Relaxed));
            say_line(&format!("asked {}", asked.sum::<u32>()));
            return;
        }
        for one in those {
            one.asked.store(0, Ordering::Relaxed);
            match what {
                "status" => one.status.store(value, Ordering::Relaxed),
                "delay" => one.delay.store(value, Ordering::Relaxed),
                _ => self.hang_every.store(value, Ordering::Relaxed),
            }
        }
    }
}

/// To who has started this process.
fn say_line(line: &str) {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}

const MANY: usize = 2_000;

/// Requests a second, where there are as many.
const FAST: u32 = 1_500;

/// How long a slow machine may take for them.
const LONG: Duration = Duration::from_mins(2);

/// Two for each endpoint and worker, and some.
const FILES: u64 = 16_000;
