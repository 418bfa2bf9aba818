//! Traffic does not depend on who looks at it: whoever floods the admin API, hangs on it or dies in
//! the middle of a command takes nothing from requests, and nothing from the operator.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::memory::memory;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::frozen::Frozen;

/// Asks one thing after the other on connections of their own, until told to stop; says how often
/// there was an answer.
fn scraper(address: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let stop = Arc::clone(stop);
    thread::spawn(move || {
        let mut answered = 0;
        for path in ["/metrics", "/v1/status"].iter().cycle() {
            if stop.load(Ordering::Acquire) {
                return answered;
            }
            answered += usize::from(matches!(ask(address, path), Ok(true)));
        }
        answered
    })
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200 "))
}

/// Descriptors that the program has open.
fn descriptors(proxy: &Evenkeel) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", proxy.id()));
    descriptors.expect("it runs").count()
}

/// An instance with so many series that a scrape is some work.
fn start(endpoint: &Endpoint) -> Evenkeel {
    let address = endpoint.address();
    let many: Vec<String> = (1..=200)
        .map(|host| format!("\"127.0.1.{host}:9\""))
        .collect();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n\
         [route.many]\npath = \"/many/\"\nupstream = \"many\"\n\
         [upstream.many]\nendpoints = [{}]\n",
        many.join(", ")
    ))
}

#[test]
fn a_flood_of_scrapes_costs_no_request_and_locks_nobody_out() {
    let endpoint = Endpoint::says("hello");
    let proxy = start(&endpoint);
    let address = proxy.address("admin");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    let (descriptors_before, memory_before) = (descriptors(&proxy), memory(&proxy).peak);

    let stop = Arc::new(AtomicBool::new(false));
    // Who says nothing, and who asks a lot and reads none of it.
    let mut silent: Vec<TcpStream> = Vec::new();
    for place in 0..128 {
        let mut stream = TcpStream::connect(address).expect("the kernel takes it");
        if place % 2 == 0 {
            let request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
            // It may have had to go already.
            drop(stream.write_all(request.as_bytes()));
        }
        silent.push(stream);
    }
    let scrapers: Vec<_> = (0..64).map(|_| scraper(address, &stop)).collect();
    let mut most = 0;
    for round in 0..400 {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(proxy.client().get("/").status, 200);
        most = most.max(descriptors(&proxy));
        if round % 100 == 50 {
            // The socket has places of its own, and newcomers get one at the address too.
            let shown = proxy.command(&["status"]);
            assert!(shown.status.success(), "{shown:?}");
            let answered = eventually("a probe is answered", || ask(address, "/livez").ok());
            assert!(answered);
        }
    }
    stop.store(true, Ordering::Release);
    let answered: usize = scrapers
        .into_iter()
        .map(|scraper| scraper.join().expect("a scraper does not fail"))
        .sum();
    assert!(answered > 64, "{answered} scrapes were answered");
    drop(silent);
    // Its 64 places, what is being closed, and what our own requests take.
    let grown = most - descriptors_before;
    assert!(grown < 64 + 64, "{grown} descriptors more");
    let grown = memory(&proxy).peak - memory_before;
    assert!(grown < 128 << 20, "{grown} bytes more");
    eventually("all of it is given back", || {
        (descriptors(&proxy) < descriptors_before + 8).then_some(())
    });
}

#[test]
fn clients_that_hang_on_the_socket_lock_nobody_out() {
    let endpoint = Endpoint::says("hello");
    let mut proxy = Evenkeel::forwarding_to(&endpoint);
    let mut hanging: Vec<UnixStream> = Vec::new();
    for place in 0..100 {
        let mut stream = UnixStream::connect(proxy.socket()).expect("it listens");
        let begun = [
            "",
            "GET /v1/sta",
            "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        // The first ones had to go already.
        drop(stream.write_all(begun[place % 3].as_bytes()));
        hanging.push(stream);
    }
    let shown = proxy.command(&["status"]);
    assert!(shown.status.success(), "{shown:?}");
    assert_eq!(proxy.client().get("/").status, 200);
    let address = endpoint.address();
    proxy.reload(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n# again\n"
    ));
    assert_eq!(proxy.generation(), 2);
    drop(hanging);
}

/// Ends what goes on beside a test, however that ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// `evenkeel reload`, as somebody's shell starts it.
fn reload(proxy: &Evenkeel) -> Child {
    Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .arg("reload")
        .env("EVENKEEL_ADMIN", proxy.socket())
        .env("EVENKEEL_CONFIG", proxy.path("evenkeel.toml"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built")
}

fn kill(mut command: Child) {
    // It may have ended already.
    drop(command.kill());
    command.wait().expect("our own child");
}

#[test]
fn a_command_that_is_killed_halfway_disturbs_nothing() {
    let endpoint = Endpoint::says("hello");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let web = proxy.address("web");
    thread::scope(|scope| {
        let _ends = Ends(&stop);
        scope.spawn(|| {
            let mut old = Client::connect(web);
            while !stop.load(Ordering::Acquire) {
                assert_eq!(old.get("/").status, 200);
                served.fetch_add(1, Ordering::AcqRel);
            }
        });
        // While the instance does not get round to it: it has asked, and hears nothing.
        if let Some(_frozen) = Frozen::thread(&proxy, "control") {
            let before = served.load(Ordering::Acquire);
            let mut unanswered = reload(&proxy);
            pause(Duration::from_millis(500));
            assert!(unanswered.try_wait().expect("our own child").is_none());
            kill(unanswered);
            eventually("requests go on meanwhile", || {
                (served.load(Ordering::Acquire) > before + 10).then_some(())
            });
        }
        // Sooner and later while it reads, checks, swaps and answers. The file stays as it is, for
        // an instance that is still at it must not find it half written.
        for round in 0..20 {
            let command = reload(&proxy);
            pause(Duration::from_millis(5) * round);
            kill(command);
        }
        let applied = proxy.command(&["reload"]);
        assert!(applied.status.success(), "{applied:?}");
        assert!(proxy.generation() > 1);
        assert_eq!(proxy.admin("/readyz").status, 200);
    });
    assert_eq!(proxy.client().get("/").status, 200);
}
