//! Endpoints that fail without dying: stopped and continued, hanging, answering errors, gone all
//! at once. What clients notice is printed; what does not depend on how fast the machine is, is
//! held to a bound.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::THE_MACHINE;
use crate::figures::{Load, Tally, proof_seconds, say};
use crate::kill::{Process, addresses, listener};
use crate::support::client::Client;
use crate::support::clock::{eventually, pause, timed};
use crate::support::evenkeel::Evenkeel;

#[test]
fn an_endpoint_that_stops_and_goes_on_costs_no_request() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = [(); 3].map(|()| Process::start(BODY));
    let addresses = addresses(&endpoints);
    // The defaults are on trial.
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nto = {addresses:?}\n"
    ));
    let normal = during(&proxy, || pause(Duration::from_secs(proof_seconds() / 4)));
    let posts = Posts::start(proxy.address("web"));
    let rounds = proof_seconds() / 4;
    let stopped = during(&proxy, || stand_still_and_go_on(&endpoints[0], rounds));
    let (sent, failed) = posts.stop();
    let late = stopped.stalls;
    say(&format!(
        "stopped for 2 s of every 4 s, {RATE} requests/s, {rounds} times\n  normal:  {}\n  \
         stopped: {}\n  {late} took more than 1 s; {sent} POSTs, {} failed",
        normal.figures(),
        stopped.figures(),
        failed.len(),
    ));
    assert!(normal.failures.is_empty(), "{:?}", normal.failures);
    assert!(stopped.failures.is_empty(), "{:?}", stopped.failures);
    assert!(failed.is_empty(), "{failed:?}");
    assert!(
        late * 100 <= stopped.requests(),
        "{late} of {}",
        stopped.requests()
    );
    // None was carried out twice.
    let done: Vec<String> = endpoints.iter().flat_map(Process::said).collect();
    let done = done.iter().filter(|line| line.starts_with("post "));
    let all: Vec<&String> = done.collect();
    let once: BTreeSet<&&String> = all.iter().collect();
    assert_eq!(all.len(), once.len(), "a POST was carried out twice");
    assert_eq!(u32::try_from(all.len()), Ok(sent), "and none got lost");
}

/// Stops an endpoint for two seconds of every four.
fn stand_still_and_go_on(endpoint: &Process, rounds: u64) {
    for _ in 0..rounds {
        endpoint.signal(Signal::STOP);
        pause(Duration::from_secs(2));
        endpoint.signal(Signal::CONT);
        pause(Duration::from_secs(2));
    }
}

/// The same where a second endpoint is asked for what takes long: then nobody waits for it at all.
#[test]
fn an_endpoint_that_stops_and_goes_on_is_not_waited_for_with_hedges() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let endpoints = [(); 3].map(|()| Process::start(BODY));
    let addresses = addresses(&endpoints);
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         [route.all.hedge]\nmethods = [\"GET\"]\n[upstream.app]\nendpoints = {addresses:?}\n"
    ));
    // What is usual is known after a hundred.
    let normal = during(&proxy, || pause(Duration::from_secs(proof_seconds() / 4)));
    let rounds = proof_seconds() / 4;
    let stopped = during(&proxy, || stand_still_and_go_on(&endpoints[0], rounds));
    let late = stopped.stalls;
    let outcomes = ["won", "lost", "budget_exhausted"].map(|outcome| {
        let label = format!("outcome=\"{outcome}\"");
        proxy.metric("evenkeel_hedges_total", &[&label])
    });
    say(&format!(
        "stopped for 2 s of every 4 s, hedged, {RATE} requests/s, {rounds} times\n  normal:  {}\n  \
         stopped: {}\n  {late} took more than 1 s; hedges won, lost, beyond the budget: \
         {outcomes:?}; p99 {:.1} times as long",
        normal.figures(),
        stopped.figures(),
        stopped.quantile(990).div_duration_f64(normal.quantile(990)),
    ));
    assert!(normal.failures.is_empty(), "{:?}", normal.failures);
    assert!(stopped.failures.is_empty(), "{:?}", stopped.failures);
    assert!(outcomes[0] > 0, "none was hedged");
    // None, but for what the machine itself holds up: one in a thousand.
    let most = stopped.requests() / 1_000;
    assert!(late <= most, "{late} of {}", stopped.requests());
    // Unhedged it is more than a second: those that wait, and what their clients would have sent.
    let (p99, usual) = (stopped.quantile(990), normal.quantile(990));
    let most = (2 * usual).max(Duration::from_millis(800));
    assert!(p99 <= most, "{p99:?}, normal {usual:?}");
}

#[test]
fn a_bad_version_is_noticed() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    // Where the balancer shuns nobody, ejections alone have to do it. The defaults have all the
    // time that there is.
    let shorter = (proof_seconds() / 3).max(12);
    for (balance, is_retried, seconds) in [
        ("power_of_two", false, proof_seconds()),
        ("power_of_two", true, shorter),
        ("round_robin", false, shorter),
    ] {
        let mut endpoints = [(); 9].map(|()| Process::start(BODY));
        let addresses = addresses(&endpoints);
        let retry = if is_retried {
            // With a third at fault, two of them can be new to us in a row.
            "retry = { statuses = [500], attempts = 4 }"
        } else {
            ""
        };
        let proxy = Evenkeel::start(&format!(
            "workers = 2\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n{retry}\n\
             [upstream.app]\nendpoints = {addresses:?}\nbalance = \"{balance}\"\n"
        ));
        let mut within = Duration::ZERO;
        let bad = during(&proxy, || {
            pause(Duration::from_secs(1));
            for endpoint in &mut endpoints[..3] {
                endpoint.tell("status 500");
            }
            if balance == "round_robin" {
                within =
                    timed(|| eventually("they are ejected", || have_been_ejected(&proxy, 3))).1;
            }
            pause(Duration::from_secs(seconds));
        });
        let ejected = proxy.events("endpoint_ejected").len();
        let failed = |address: &String| {
            let endpoint = format!("endpoint=\"{address}\"");
            let labels = [&*endpoint, "class=\"5xx\""];
            proxy.metric("evenkeel_endpoint_requests_total", &labels)
        };
        let failed = addresses.each_ref().map(failed);
        say(&format!(
            "a third answers 500, {balance}, retry of statuses: {is_retried}\n  {}\n  \
             {ejected} ejected after {:?} failures, without a balancer's help within {within:.1?}",
            bad.figures(),
            &failed[..3],
        ));
        // A hundredth of these requests, the second included in which all was well.
        let most = if is_retried { 0 } else { bad.requests() / 100 };
        assert!(
            bad.failures.len() <= most,
            "{} of {}",
            bad.failures.len(),
            bad.requests()
        );
        // Where hardly anything is in flight, one failure is enough for the balancer to leave an
        // endpoint alone for seconds; a second one ejects it, since nothing else fails.
        let failed_there = failed[..3].iter().sum::<u64>();
        assert!(failed_there * 100 <= u64::try_from(bad.requests()).expect("few"));
        assert_eq!(failed[3..], [0; 6], "and no other failed");
        if balance == "round_robin" {
            // Five, what was under way by then, and a trial now and then: of the 33 requests a
            // second that each gets that is less than one second's.
            let trials = proof_seconds() / 20;
            let most = 5 + u64::from(CLIENTS) + trials;
            assert!(failed[..3].iter().all(|failed| *failed <= most));
        }
    }
}

/// What the bounds above are worth: with neither a balancer that compares nor ejections a third
/// fails for as long as it is bad.
#[test]
fn a_bad_version_that_nobody_notices_costs_a_third() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 9].map(|()| Process::start(BODY));
    let addresses = addresses(&endpoints);
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = {addresses:?}\nbalance = \"round_robin\"\n\
         outlier.enabled = false\n"
    ));
    for endpoint in &mut endpoints[..3] {
        endpoint.tell("status 500");
    }
    let bad = during(&proxy, || pause(Duration::from_secs(2)));
    say(&format!(
        "a third answers 500, unnoticed\n  {}",
        bad.figures()
    ));
    assert!(bad.failures.len() * 4 > bad.requests());
}

#[test]
fn what_hangs_costs_the_others_nothing() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 3].map(|()| Process::start(BODY));
    let addresses = addresses(&endpoints);
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\n[route.all]\nupstream = \"app\"\n\
         timeouts = {{ response_head = \"1s\" }}\n[upstream.app]\nendpoints = {addresses:?}\n"
    ));
    let normal = during(&proxy, || pause(Duration::from_secs(proof_seconds() / 4)));
    for endpoint in &mut endpoints {
        endpoint.tell("hang 3");
    }
    pause(Duration::from_millis(200));
    let hanging = during(&proxy, || pause(Duration::from_secs(proof_seconds() / 2)));
    for endpoint in &mut endpoints {
        endpoint.tell("hang 0");
    }
    say(&format!(
        "every third request hangs\n  normal:  {}\n  hanging: {}",
        normal.figures(),
        hanging.figures()
    ));
    let (failed, all) = (hanging.failures.len(), hanging.requests());
    assert!(
        failed * 3 <= all + 3 * CLIENTS as usize,
        "{failed} of {all} failed"
    );
    // Nobody is held up by those that hang: who is answered is answered in time.
    let held_up = hanging.stalls.saturating_sub(failed);
    assert!(held_up * 100 <= all, "{held_up} of {all} came late");
    hanging.waits_as_in(&normal);
    // Nothing leaks, and it is as it was.
    eventually("nothing is in flight", || {
        (proxy.metric("evenkeel_endpoint_in_flight", &[]) == 0).then_some(())
    });
    let after = during(&proxy, || pause(Duration::from_secs(1)));
    assert!(after.failures.is_empty(), "{:?}", after.failures);
}

#[test]
fn when_all_are_gone_others_go_on_and_all_come_back() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut endpoints = [(); 4].map(|()| Process::start(BODY));
    let (addresses, other) = (addresses(&endpoints), Process::start(BODY));
    let other = other.address().to_string();
    let proxy = Evenkeel::start(&format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nto = [\"{other}\"]\n\
         [listener.app]\nbind = \"@app\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = {addresses:?}\nslow_start = \"{SLOW_START}s\"\n\
         health = {{ tcp = {{}}, interval = \"500ms\", timeout = \"400ms\" }}\n"
    ));
    let untouched = Load::start(proxy.address("web"), CLIENTS, RATE);
    let app = Load::start(proxy.address("app"), CLIENTS, RATE);
    pause(Duration::from_secs(1));
    for endpoint in &mut endpoints {
        endpoint.kill();
    }
    pause(Duration::from_secs(proof_seconds() / 4));
    for endpoint in &mut endpoints[..3] {
        endpoint.restart();
    }
    let app = {
        pause(Duration::from_secs(2));
        app.stop()
    };
    eventually("it answers again", || {
        (Client::connect(proxy.address("app")).get("/").status == 200).then_some(())
    });
    let counted = |address: &String| {
        let endpoint = format!("endpoint=\"{address}\"");
        let class = "class=\"2xx\"";
        proxy.metric_now("evenkeel_endpoint_requests_total", &[&endpoint, class])
    };
    let shares = |during: &dyn Fn()| -> Vec<u64> {
        let before = addresses.each_ref().map(counted);
        during();
        let after = addresses.each_ref().map(counted);
        let both = before.iter().zip(after);
        both.map(|(before, after)| after - before).collect()
    };
    let back = Load::start(proxy.address("app"), CLIENTS, RATE);
    let first = shares(&|| pause(Duration::from_secs(SLOW_START + 1)));
    // The last one comes when the others are warm.
    endpoints[3].restart();
    eventually("it is back", || {
        let ups = proxy.events("endpoint_up").into_iter();
        let of_it = |up: &serde_json::Value| up["endpoint"] == *addresses[3];
        (ups.filter(of_it).count() == 2).then_some(())
    });
    let last = shares(&|| pause(Duration::from_millis(1_500)));
    let back = back.stop();
    let untouched = untouched.stop();
    say(&format!(
        "all gone, and back\n  {} failed while it lasted: {:?}\n  back:    {}\n  \
         other:   {}\n  shares {first:?}, when the last one comes {last:?}",
        app.failures.len(),
        app.failures_by_kind(),
        back.figures(),
        untouched.figures(),
    ));
    is_told_at_once(&app);
    assert!(untouched.failures.is_empty(), "{:?}", untouched.failures);
    assert!(back.failures.is_empty(), "{:?}", back.failures);
    let sum: u64 = first.iter().sum();
    // The fourth is not there yet. A third each; half of all would be the beginning of a stampede.
    assert!(first.iter().all(|share| share * 2 < sum), "{first:?}");
    // A quarter is its due. It gets a tenth of that at first, a third after two seconds.
    let sum: u64 = last.iter().sum();
    assert!(last[3] > 0 && last[3] * 100 < sum * 17, "{last:?}");
}

/// Each client hears that it is the service, and does so at once.
fn is_told_at_once(app: &Tally) {
    assert!(!app.failures.is_empty(), "nothing was gone");
    let kinds = app.failures_by_kind();
    assert!(
        kinds.keys().all(|it| it.starts_with("answered 502")),
        "{kinds:?}"
    );
    let (late, all) = (app.stalls, app.requests());
    assert!(late * 100 <= all, "{late} of {all} came late");
}

/// Whether so many endpoints have.
fn have_been_ejected(proxy: &Evenkeel, count: usize) -> Option<()> {
    (proxy.events("endpoint_ejected").len() >= count).then_some(())
}

/// What load there is while something else happens.
pub(crate) fn during(proxy: &Evenkeel, what: impl FnOnce()) -> Tally {
    let load = Load::start(proxy.address("web"), CLIENTS, RATE);
    what();
    load.stop()
}

impl Process {
    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.expect("a process"), signal).expect("our own child");
    }
}

/// A client that sends POSTs, each with a number of its own.
#[derive(Debug)]
struct Posts {
    stop: Arc<AtomicBool>,
    client: JoinHandle<(u32, Vec<String>)>,
}

impl Posts {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let client = thread::spawn(move || {
            let (mut sent, mut failed) = (0, Vec::new());
            let mut client = Client::connect(address);
            while !stops.load(Ordering::Acquire) {
                sent += 1;
                let head =
                    format!("POST /{sent} HTTP/1.1\r\nHost: load\r\nContent-Length: 0\r\n\r\n");
                client.send(head);
                match client.try_response_to("POST") {
                    Ok(response) if response.status == 200 => {}
                    other => {
                        failed.push(format!("{sent}: {other:?}"));
                        client = Client::connect(address);
                    }
                }
                pause(Duration::from_millis(20));
            }
            (sent, failed)
        });
        Self { stop, client }
    }

    fn stop(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Release);
        self.client.join().expect("a client does not fail")
    }
}

#[test]
#[ignore = "no test: the body of the processes that fail"]
fn endpoint() {
    let Some(listener) = listener() else {
        return;
    };
    let behaviour = Arc::new(Behaviour::default());
    let serving = Arc::clone(&behaviour);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let behaviour = Arc::clone(&serving);
            thread::spawn(move || serve(stream, &behaviour));
        }
    });
    // Ends with whoever started it.
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (what, number) = line.split_once(' ').expect("two words");
        let number = number.parse().expect("a number");
        match what {
            "status" => behaviour.status.store(number, Ordering::Relaxed),
            _ => behaviour.hang_every.store(number, Ordering::Relaxed),
        }
    }
}

/// What an endpoint does, as it is told.
#[derive(Debug, Default)]
struct Behaviour {
    /// 0 for 200.
    status: AtomicU32,
    /// The how manieth request is never answered; 0 for none.
    hang_every: AtomicU32,
    requests: AtomicU32,
    /// Lines are written by one at a time.
    out: Mutex<()>,
}

/// Answers requests without bodies, and says which POSTs were carried out.
fn serve(stream: TcpStream, behaviour: &Behaviour) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut stream = stream;
    loop {
        let Some(first) = lines.next().transpose()? else {
            return Ok(());
        };
        while lines
            .next()
            .transpose()?
            .is_some_and(|line| !line.is_empty())
        {}
        let number = behaviour.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(target) = first.strip_prefix("POST /") {
            let _out = behaviour.out.lock().unwrap_or_else(PoisonError::into_inner);
            let target = target.split(' ').next().unwrap_or_default();
            writeln!(std::io::stdout(), "post {target}")?;
        }
        match behaviour.hang_every.load(Ordering::Relaxed) {
            0 => {}
            every if number.is_multiple_of(every) => hang(),
            _ => {}
        }
        let status = match behaviour.status.load(Ordering::Relaxed) {
            0 => 200,
            status => status,
        };
        let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 5\r\n\r\nhello");
        stream.write_all(answer.as_bytes())?;
    }
}

/// Until the process ends.
fn hang() -> ! {
    loop {
        thread::park();
    }
}

/// Seconds until an endpoint that is back has its whole share.
const SLOW_START: u64 = 6;
const BODY: &str = "failing::endpoint";
pub(crate) const CLIENTS: u32 = 20;
pub(crate) const RATE: u32 = 300;
