//! The drain proof: an instance that is told to end says so at once on every connection of HTTP/2,
//! serves what comes while it may, finishes what runs, and cuts nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::process::Signal;

use super::client::{Lasting, MOST, Many, Seen};
use super::endpoint::Service;
use crate::THE_MACHINE;
use crate::figures::say;
use crate::support::clock::{Pace, eventually};
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::tls::{Authority, Certified, Hello};

/// A socket, or a session of TLS on one.
trait Duplex: Read + Write {}

impl<S: Read + Write> Duplex for S {}

type Client = Many<Box<dyn Duplex>>;

/// How connections are made.
struct Callers<'a> {
    proxy: &'a Evenkeel,
    authority: &'a Authority,
}

impl Callers<'_> {
    fn plain(&self) -> Client {
        let stream = TcpStream::connect(self.proxy.address("web")).expect("it accepts");
        stream.set_nodelay(true).expect("a socket option");
        Many::over(H2::client(Box::new(stream)))
    }

    fn within_tls(&self) -> Client {
        let hello = Hello {
            protocols: &["h2"],
            ..Hello::to("a.test", self.authority)
        };
        let session = hello.begin(self.proxy.address("secure"));
        Many::over(H2::client(Box::new(session.into_stream())))
    }

    /// Waits until nobody is let in any more.
    fn are_shut_out(&self) {
        let addresses = ["web", "secure"].map(|name| self.proxy.address(name));
        eventually("nobody listens any more", || {
            let mut addresses = addresses.iter();
            let is_open = addresses.any(|address| TcpStream::connect(address).is_ok());
            (!is_open).then_some(())
        });
    }

    fn both(&self) -> [Client; 2] {
        [self.plain(), self.within_tls()]
    }
}

#[test]
fn a_drain_cuts_nothing_over_http2() {
    let _machine = THE_MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let services = [(); 2].map(|()| Service::start());
    let authority = Authority::new();
    let certified = authority.certify(&["a.test"]);
    let mut proxy = start(&services, &certified);
    let callers = Callers {
        proxy: &proxy,
        authority: &authority,
    };
    let mut clients: Vec<Client> = (0..CONNECTIONS).flat_map(|_| callers.both()).collect();
    for client in &mut clients {
        for below in LASTING {
            for lasting in Lasting::ALL {
                client.open(lasting, below);
            }
        }
    }
    let mut pace = Pace::new(Duration::from_millis(50), Duration::ZERO);
    let mut go_on = |clients: &mut [Client], requests: usize| {
        let paths: Vec<String> = LASTING.repeat(requests).iter().map(hello).collect();
        let beat = pace.wait();
        for client in clients {
            client.beat(beat, "GET", &paths);
        }
    };
    for _ in 0..10 {
        go_on(&mut clients, REQUESTS);
    }

    proxy.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(
            client.goaway(0),
            MOST,
            "it is said at once, and refuses nothing"
        );
    }
    go_on(&mut clients, REQUESTS);
    // Whoever has not heard of it yet is let in, and told.
    let mut late = callers.both();
    go_on(&mut late, REQUESTS);
    for client in &mut late {
        assert_eq!(client.goaway(0), MOST);
    }
    let mut last_words = Vec::new();
    for client in clients.iter_mut().chain(&mut late) {
        last_words.push((client.goaway(1), client.last_opened()));
    }
    // Who is here talks on.
    callers.are_shut_out();
    for _ in 0..10 {
        go_on(&mut clients, 0);
    }
    services.iter().for_each(Service::finish);
    let mut seen = Seen::default();
    for client in clients.into_iter().chain(late) {
        seen.add(finished(client));
    }
    assert!(proxy.wait_for_exit().success());
    seen.tally.latencies.sort_unstable();
    report(&seen);

    assert!(seen.cut().is_empty(), "{:?}", seen.cut());
    assert_eq!(seen.streams.len(), 2 * CONNECTIONS * 3 * LASTING.len());
    assert!(seen.tally.failures.is_empty(), "{:?}", seen.tally.failures);
    // The last GOAWAY named what was served last: all, unless this machine took more than a second
    // to ask for it.
    for (named, opened) in last_words {
        assert!(named <= opened, "{named} of {opened}");
        assert!(named == opened || seen.unserved > 0, "{named} of {opened}");
    }
    let log = proxy.log();
    assert!(log.contains("nothing was cut"), "{log}");
}

/// Ends the streams of a connection in good order, and sees the connection end.
fn finished(mut client: Client) -> Seen {
    client.finish_all();
    assert!(client.is_closed(), "with its last stream");
    client.into_seen()
}

fn start(services: &[Service; 2], certified: &Certified) -> Evenkeel {
    let [one, two] = services.each_ref().map(Service::address);
    let text = format!(
        "workers = 2\n[shutdown]\ngrace = \"4s\"\n\
         [listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\n\
         [listener.secure]\nbind = \"@secure\"\n[listener.secure.tls]\n\
         certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n\
         [route.one]\npath = \"/one/\"\nupstream = \"one\"\n\
         [route.two]\npath = \"/two/\"\nupstream = \"two\"\n\
         [upstream.one]\nendpoints = [\"{one}\"]\nprotocol = \"h2c\"\n\
         [upstream.two]\nendpoints = [\"{two}\"]\n"
    );
    Evenkeel::start_among(&certified.files("a"), &text)
}

fn report(seen: &Seen) {
    let (requests, unserved) = (seen.tally.requests(), seen.unserved);
    let (streams, cut) = (seen.streams.len(), seen.cut().len());
    say(&format!(
        "drain proof over HTTP/2: {requests} requests, {failed} failed, {unserved} told that they were \
         not looked at\n  {streams} streams to HTTP/1.1 and h2c, {cut} cut, {carried} messages carried",
        failed = seen.tally.failures.len(),
        carried = seen.carried(),
    ));
}

fn hello(below: &&str) -> String {
    format!("{below}/hello")
}

const CONNECTIONS: usize = 4;
/// At each beat of a connection, below each of the two paths.
const REQUESTS: usize = 4;
const LASTING: [&str; 2] = ["/one", "/two"];
