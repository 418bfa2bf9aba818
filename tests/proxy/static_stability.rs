//! What does not depend on what: traffic goes on while the control plane stands still, and while
//! the log has nowhere to go.
//!
//! That nobody waits for a pipe that nobody empties, or a full disk, is in `logs`; here is what
//! becomes of the rest meanwhile, and afterwards. Who asks the admin API too much is in
//! `static_stability_admin`.

use std::fs::{self, File};
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use crate::memory::memory;
use crate::support::client::Client;
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::frozen::Frozen;
use crate::support::h2::H2;
use crate::support::udp::{UdpClient, UdpEndpoint};

/// A listener that sends everything to this endpoint, and what `[log]` says.
fn config(endpoint: &Endpoint, log: &str) -> String {
    let address = endpoint.address();
    format!("[log]\n{log}\n[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n")
}

/// An endpoint that answers, until it is dead: then it resets whoever asks.
fn mortal(is_dead: &Arc<AtomicBool>) -> Endpoint {
    let is_dead = Arc::clone(is_dead);
    Endpoint::start(move |peer| {
        while peer.request().is_some() {
            if is_dead.load(Ordering::Acquire) {
                return peer.reset();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// What is asked over and over, over connections that stay and over new ones.
struct Traffic<'a> {
    proxy: &'a Evenkeel,
    old: Client,
    old_h2: H2<std::net::TcpStream>,
    session: Client,
    datagrams: UdpClient,
}

impl<'a> Traffic<'a> {
    fn of(proxy: &'a Evenkeel) -> Self {
        Self {
            proxy,
            old: proxy.client(),
            old_h2: H2::connect(proxy.address("h2")),
            session: Client::connect(proxy.address("relay")),
            datagrams: UdpClient::of(proxy.address("udp")),
        }
    }

    /// One of each, all of which must succeed: four requests and two sessions, and datagrams.
    fn flows(&mut self) {
        assert_eq!(self.old.get("/old").status, 200);
        assert_eq!(self.proxy.client().get("/new").status, 200);
        assert_eq!(self.old_h2.get("/old").status, 200);
        let mut new_h2 = H2::connect(self.proxy.address("h2"));
        assert_eq!(new_h2.get("/new").status, 200);
        let mut new_session = Client::connect(self.proxy.address("relay"));
        for session in [&mut self.session, &mut new_session] {
            session.send("hello");
            assert_eq!(session.bytes(5), b"hello");
        }
        // An endpoint that has died costs the datagram by which that is noticed.
        assert_ne!(self.datagrams.ask_until_answered("who"), "");
        let new = UdpClient::of(self.proxy.address("udp"));
        assert_ne!(new.ask_until_answered("who"), "");
    }
}

/// A pipe that nobody writes to stands for a disk that hangs: whoever opens it waits.
#[test]
fn a_reload_whose_files_hang_is_refused_and_the_next_one_is_taken() {
    let endpoint = Endpoint::says("a");
    let well = config(&endpoint, "");
    let mut proxy = Evenkeel::start(&well);
    let mut client = proxy.client();
    let hangs = proxy.path("hangs.pem");
    mknodat(CWD, &hangs, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
    let tls = "tls.certificates = [{ cert = \"hangs.pem\", key = \"hangs.pem\" }]";
    proxy.write_config(&format!("{well}{tls}\n"));
    let refused = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("not read within"), "{said}");
    assert_eq!(client.get("/").status, 200);
    proxy.reload(&config(&endpoint, "query = true"));
    assert_eq!(proxy.generation(), 2);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn traffic_needs_no_control_thread() {
    let is_dead = Arc::new(AtomicBool::new(false));
    let dying = mortal(&is_dead);
    let others = [Endpoint::says("b"), Endpoint::says("c")];
    let (refusing, relayed) = (Endpoint::refuses(), Endpoint::sends_back());
    let mut dying_udp = UdpEndpoint::tells_its_port();
    let other_udp = UdpEndpoint::tells_its_port();
    let text = format!(
        "workers = 2\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [listener.h2]\nbind = \"@h2\"\nprotocols = [\"h2c\"]\nupstream = \"app\"\n\
         [listener.relay]\nbind = \"@relay\"\nprotocols = [\"tcp\"]\nto = [\"{}\", \"{}\"]\n\
         [listener.udp]\nbind = \"@udp\"\nprotocols = [\"udp\"]\nto = [\"{}\", \"{}\"]\n\
         [upstream.app]\nendpoints = [\"{}\", \"{}\", \"{}\"]\n\
         health = {{ http = {{ path = \"/\" }}, interval = \"1s\", unhealthy_after = 1 }}\n",
        refusing.address(),
        relayed.address(),
        dying_udp.address(),
        other_udp.address(),
        dying.address(),
        others[0].address(),
        others[1].address(),
    );
    let proxy = Evenkeel::start(&text);
    let mut traffic = Traffic::of(&proxy);
    traffic.flows();

    let Some(frozen) = Frozen::thread(&proxy, "control") else {
        return;
    };
    let mut admin = Client::connect(proxy.address("admin"));
    admin.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    proxy.signal(Signal::HUP);
    for round in 0..ROUNDS {
        if round == ROUNDS / 4 {
            is_dead.store(true, Ordering::Release);
            dying_udp.die();
        }
        traffic.flows();
        pause(Duration::from_millis(50));
    }
    eventually("what went by is in the log, meanwhile", || {
        let lines = proxy.log_lines("access");
        let answered = |line: &&Value| line["http.response.status_code"] == 200;
        (lines.iter().filter(answered).count() >= ROUNDS * 4).then_some(())
    });
    assert!(admin.is_quiet(), "the control thread was not stopped");

    drop(frozen);
    assert_eq!(admin.response().status, 200);
    eventually("the signal is obeyed", || {
        (proxy.generation() == 2).then_some(())
    });
    let address = dying.address().to_string();
    eventually("who died is found out by probes", || {
        (proxy.endpoint("app", &address)["state"] == "unhealthy").then_some(())
    });
    is_dead.store(false, Ordering::Release);
    eventually("and that it lives again", || {
        (proxy.endpoint("app", &address)["state"] == "healthy").then_some(())
    });
    traffic.flows();
}

/// Sends requests with long lines for the log, all of which must succeed.
fn flood(proxy: &Evenkeel, requests: usize) {
    let mut client = proxy.client();
    let path = format!("/{}", "a".repeat(4000));
    for _ in 0..requests {
        assert_eq!(client.get(&path).status, 200);
    }
}

fn dropped(proxy: &Evenkeel) -> u64 {
    proxy.metric("evenkeel_log_dropped_total", &["stream=\"access\""])
}

fn flood_until_dropped(proxy: &Evenkeel) {
    eventually("lines are dropped, and counted", || {
        flood(proxy, 200);
        (dropped(proxy) > 0).then_some(())
    });
}

#[test]
fn a_named_pipe_may_be_without_a_reader_for_as_long_as_it_likes() {
    let endpoint = Endpoint::says("hello");
    let folder = crate::support::unix::Sockets::new("log-pipe");
    let pipe = folder.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a named pipe");
    let proxy = Evenkeel::start(&config(&endpoint, &format!("output = {pipe:?}")));
    flood_until_dropped(&proxy);
    // What is lost takes no room: this is several times what may wait.
    let before = memory(&proxy).peak;
    flood(&proxy, 4000);
    let grown = memory(&proxy).peak - before;
    assert!(grown < 8 << 20, "{grown} bytes more for a log of 16 MB");
    // Somebody reads: lines come again, and whole ones only.
    let mut reader = File::open(&pipe).expect("the proxy holds its end");
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("UTF-8");
        text
    });
    eventually("lines are written again", || {
        let before = dropped(&proxy);
        assert_eq!(proxy.client().get("/behind").status, 200);
        pause(Duration::from_millis(300));
        (dropped(&proxy) == before).then_some(())
    });
    drop(proxy);
    let text = reading.join().expect("the reader does not fail");
    let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(text.lines().all(whole), "a line was torn");
    assert!(text.contains("/behind"));
}

/// An output whose reader has stopped: what there is to keep, and the end that the program gets.
fn stopped_readers() -> [(OwnedFd, Stdio); 2] {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    // As systemd's journal gives one.
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.shutdown(Shutdown::Write).expect("an open socket");
    [
        (reader.into(), Stdio::from(writer)),
        (ours.into(), Stdio::from(OwnedFd::from(theirs))),
    ]
}

#[test]
fn a_log_that_is_stuck_can_be_led_elsewhere() {
    let endpoint = Endpoint::says("hello");
    for (stopped, output) in stopped_readers() {
        let mut proxy = Evenkeel::start_with_output(&config(&endpoint, ""), output);
        flood_until_dropped(&proxy);
        let path = proxy.path("access.log");
        proxy.reload(&config(&endpoint, &format!("output = {path:?}")));
        eventually("lines are written again", || {
            assert_eq!(proxy.client().get("/here").status, 200);
            let text = fs::read_to_string(&path).ok()?;
            text.contains("/here").then_some(())
        });
        drop(stopped);
    }
}

#[test]
fn a_log_that_is_stuck_does_not_hold_up_the_end() {
    let endpoint = Endpoint::says("hello");
    for (stopped, output) in stopped_readers() {
        let text = config(&endpoint, "") + "[shutdown]\ngrace = \"0s\"\n";
        let mut proxy = Evenkeel::start_with_output(&text, output);
        flood_until_dropped(&proxy);
        proxy.signal(Signal::TERM);
        assert!(proxy.wait_for_exit().success());
        drop(stopped);
    }
}

#[test]
fn a_log_whose_place_is_gone_keeps_no_change_away() {
    let endpoint = Endpoint::says("hello");
    let folder = crate::support::unix::Sockets::new("log-gone");
    let place = folder.path("logs");
    let path = place.join("access.log");
    fs::create_dir(&place).expect("a writable directory");
    let log = format!("output = {path:?}");
    let mut proxy = Evenkeel::start(&config(&endpoint, &log));
    assert_eq!(proxy.client().get("/first").status, 200);
    fs::remove_dir_all(&place).expect("it is ours");
    proxy.signal(Signal::USR1);
    assert_eq!(proxy.client().get("/second").status, 200);
    // Something else is changed, and that the log is not where it should be is said.
    proxy.write_config(&(config(&endpoint, &log) + "timeouts = { body_idle = \"20s\" }\n"));
    let output = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("the log cannot be opened anew"), "{said}");
    assert_eq!(proxy.generation(), 2);
    assert_eq!(proxy.client().get("/third").status, 200);
    // To lead it to another place that is not there is a mistake, as ever.
    let elsewhere = format!("output = {:?}", folder.path("nowhere/log"));
    proxy.write_config(&config(&endpoint, &elsewhere));
    assert!(!proxy.command(&["reload"]).status.success());
    assert_eq!(proxy.generation(), 2);
    // The place is back.
    fs::create_dir(&place).expect("a writable directory");
    proxy.signal(Signal::USR1);
    eventually("lines are written where they should be", || {
        assert_eq!(proxy.client().get("/fourth").status, 200);
        let text = fs::read_to_string(&path).ok()?;
        text.contains("/fourth").then_some(())
    });
}

/// With the pause of each, some seconds.
const ROUNDS: usize = 40;
