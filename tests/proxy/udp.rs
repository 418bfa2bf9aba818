//! Datagrams: from clients to endpoints and back, unread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;

use crate::support::clock::{PATIENCE, eventually};
use crate::support::evenkeel::Evenkeel;
use crate::support::port::Port;
use crate::support::python::python;
use crate::support::udp::{UdpClient, UdpEndpoint};

/// A UDP listener, `web`, in front of these endpoints, with lines behind its settings and behind
/// the upstream's.
pub(crate) fn config(endpoints: &[&UdpEndpoint], listener: &str, upstream: &str) -> String {
    let addresses = endpoints.iter().map(|one| format!("\"{}\"", one.address()));
    let addresses: Vec<String> = addresses.collect();
    format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nupstream = \"app\"\n{listener}\n\
         [upstream.app]\nendpoints = [{}]\n{upstream}\n",
        addresses.join(", ")
    )
}

pub(crate) fn start(endpoints: &[&UdpEndpoint], listener: &str, upstream: &str) -> Evenkeel {
    Evenkeel::start(&config(endpoints, listener, upstream))
}

/// The value of the first series with this name and these words among its labels.
///
/// # Panics
/// When there is none: a name that is wrong would be zero for ever.
pub(crate) fn metric(proxy: &Evenkeel, name: &str, words: &[&str]) -> f64 {
    series(proxy, name, words).unwrap_or_else(|| panic!("{name} {words:?} is missing"))
}

/// The same, if there is one.
pub(crate) fn series(proxy: &Evenkeel, name: &str, words: &[&str]) -> Option<f64> {
    let metrics = proxy.admin("/metrics").body.text();
    let has_all = |line: &&str| {
        words
            .iter()
            .all(|word| line.contains(&format!("\"{word}\"")))
    };
    let mut series = metrics
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")));
    let line = series.find(has_all)?;
    let value = line.rsplit(' ').next().expect("a value");
    Some(value.parse().expect("a number"))
}

/// Waits until that series has this value.
pub(crate) fn await_metric(proxy: &Evenkeel, name: &str, words: &[&str], value: f64) {
    eventually(&format!("{name} {words:?} is {value}"), || {
        let is_it = |now: f64| (now - value).abs() < 0.5;
        series(proxy, name, words).is_some_and(is_it).then_some(())
    });
}

#[test]
fn datagrams_pass_unread() {
    let endpoint = UdpEndpoint::sends_back();
    let proxy = start(&[&endpoint], "", "");
    let client = UdpClient::of(proxy.address("web"));
    let mut total = 0;
    for size in [1, 0, 512, 1_472, 9_000, 65_507, 2] {
        let bytes: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[1]).collect();
        client.send(&bytes);
        assert!(
            client.receive() == bytes,
            "{size} bytes changed on their way"
        );
        total += bytes.len();
    }
    let whole = f64::from(u32::try_from(total).expect("few"));
    for direction in ["sent", "received"] {
        await_metric(
            &proxy,
            "evenkeel_udp_datagrams_total",
            &["web", direction],
            7.0,
        );
        await_metric(
            &proxy,
            "evenkeel_l4_bytes_total",
            &["web", direction],
            whole,
        );
        let name = "evenkeel_endpoint_datagram_bytes_total";
        await_metric(&proxy, name, &["app", direction], whole);
        let name = "evenkeel_endpoint_datagrams_total";
        await_metric(&proxy, name, &["app", direction], 7.0);
    }
}

#[test]
fn many_datagrams_of_many_clients_find_their_way() {
    let endpoint = UdpEndpoint::sends_back();
    let text = ["workers = 2\n", &config(&[&endpoint], "", "")].concat();
    let proxy = Evenkeel::start(&text);
    let clients: Vec<UdpClient> = (0..40)
        .map(|_| UdpClient::of(proxy.address("web")))
        .collect();
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number} {round} a"));
            client.send(format!("{number} {round} b"));
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(client.receive(), format!("{number} {round} a").into_bytes());
            assert_eq!(client.receive(), format!("{number} {round} b").into_bytes());
        }
    }
    assert_eq!(
        endpoint.peers().len(),
        clients.len(),
        "each has a session of its own"
    );
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 40.0);
    await_metric(&proxy, "evenkeel_connections", &["web", "udp"], 40.0);
}

/// Clients that are connected, as those of DNS are, take an answer only from where they asked.
#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let endpoint = UdpEndpoint::sends_back();
    for every in ["0.0.0.0", ""] {
        let port = Port::reserve();
        let number = port.address().port();
        let text = config(&[&endpoint], "", "");
        let bind = format!("bind = \"{every}:{number}\"");
        let _proxy = Evenkeel::start(&text.replace("bind = \"@web\"", &bind));
        let addresses = [1, 2, 77].map(|last| IpAddr::from([127, 0, 0, last]));
        let ipv6 = every.is_empty().then_some(Ipv6Addr::LOCALHOST.into());
        for address in addresses.into_iter().chain(ipv6) {
            let asked = SocketAddr::from((address, number));
            let any: IpAddr = match address {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let client = UdpSocket::bind((any, 0)).expect("a port");
            client.set_read_timeout(Some(PATIENCE)).expect("a limit");
            client.send_to(b"hello", asked).expect("it leaves");
            let mut buffer = [0; 16];
            let (length, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!((&buffer[..length], from), (&b"hello"[..], asked));
        }
    }
}

#[test]
fn clients_take_turns_with_endpoints() {
    let (one, two) = (UdpEndpoint::tells_its_port(), UdpEndpoint::tells_its_port());
    let proxy = start(&[&one, &two], "", "balance = \"round_robin\"");
    let clients: Vec<UdpClient> = (0..4)
        .map(|_| UdpClient::of(proxy.address("web")))
        .collect();
    let answers: Vec<String> = clients.iter().map(|client| client.ask("who")).collect();
    assert_eq!(answers, [one.name(), two.name(), one.name(), two.name()]);
    // What belongs together stays there.
    let again: Vec<String> = clients.iter().map(|client| client.ask("who")).collect();
    assert_eq!(again, answers);
}

#[test]
fn by_maglev_an_address_keeps_its_endpoint() {
    let (one, two) = (UdpEndpoint::tells_its_port(), UdpEndpoint::tells_its_port());
    let proxy = start(&[&one, &two], "", "balance = \"maglev\"");
    let mut seen = Vec::new();
    for last in 1..=32 {
        let own = Ipv4Addr::new(127, 0, 1, last);
        let ask = || UdpClient::from(own, proxy.address("web")).ask("who");
        let answer = ask();
        assert_eq!(ask(), answer, "another port, and another endpoint");
        seen.push(answer);
    }
    assert!(seen.contains(&one.name()) && seen.contains(&two.name()));
}

/// It would go round until the machine melts.
#[test]
fn what_would_come_back_here_is_dropped() {
    let proxy = Evenkeel::start(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"udp\"]\nto = [\"@web\"]\n",
    );
    let client = UdpClient::of(proxy.address("web"));
    client.send("hello");
    await_metric(&proxy, "evenkeel_udp_dropped_total", &["web", "loop"], 1.0);
    await_metric(&proxy, "evenkeel_l4_sessions", &["web"], 0.0);
}

#[test]
fn an_endpoint_whose_answer_is_wrong_is_left() {
    let (bad, good) = (
        UdpEndpoint::tells_nonsense_of_its_health(),
        UdpEndpoint::tells_its_port(),
    );
    let health = "balance = \"first_healthy\"\npanic_threshold = \"0%\"\n\
                  health = { udp = { send = \"ping\", expect = \"pong\" }, interval = \"1s\" }";
    let proxy = start(&[&bad, &good], "", health);
    eventually("one is unhealthy, and one is not", || {
        let state = |endpoint: &UdpEndpoint, state| {
            let address = endpoint.address().to_string();
            metric(&proxy, "evenkeel_endpoint_state", &[&address, state]) > 0.5
        };
        (state(&bad, "unhealthy") && state(&good, "healthy")).then_some(())
    });
    let client = UdpClient::of(proxy.address("web"));
    assert_eq!(client.ask("who"), good.name());
    let log = proxy.log();
    assert!(
        log.contains("answered with 4 bytes, not as expected"),
        "{log}"
    );
}

/// What a client hands the kernel as one, and the kernel hands on as one (GSO, GRO), is several.
#[test]
fn datagrams_that_are_sent_as_one_arrive_apart() {
    const CLIENT: &str = "
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(('127.0.0.1', int(sys.argv[1])))
client.settimeout(20)
try:
    client.setsockopt(17, 103, 400) # UDP_SEGMENT
except OSError:
    sys.exit('skipped')
sent = [bytes([at]) * (400 if at % 10 < 9 else 7) for at in range(50)]
for first in range(0, 50, 10):
    client.send(b''.join(sent[first:first + 10]))
assert [client.recv(65536) for _ in sent] == sent
";
    let endpoint = UdpEndpoint::sends_back();
    let proxy = start(&[&endpoint], "", "");
    let port = proxy.address("web").port().to_string();
    let client = Command::new(python()).args(["-c", CLIENT, &port]).output();
    let Ok(client) = client else { return };
    let said = String::from_utf8_lossy(&client.stderr);
    if said.trim() == "skipped" {
        return;
    }
    assert!(client.status.success(), "{said}");
    assert_eq!(endpoint.received().len(), 50);
    for direction in ["sent", "received"] {
        let name = "evenkeel_udp_datagrams_total";
        await_metric(&proxy, name, &["web", direction], 50.0);
    }
}
