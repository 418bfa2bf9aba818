//! PROXY headers from proxies in front: who is believed, what is taken, and what becomes of the
//! connection (HAProxy's `proxy-protocol.txt`).

use std::time::Duration;

use crate::support::client::{Client, connected};
use crate::support::clock::{eventually, pause};
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::proxy_header::{SIGNATURE, block, v1, v2};
use crate::support::tls::{Authority, Hello};

const SOURCE: &str = "192.0.2.7:56324";
const DESTINATION: &str = "198.51.100.1:443";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A listener of this kind that trusts the loopback network, before an endpoint.
fn config(endpoint: &Endpoint, policy: &str, lines: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\nproxy_protocol = \"{policy}\"\n\
         {lines}\n[upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    )
}

fn start(endpoint: &Endpoint, policy: &str, lines: &str) -> Evenkeel {
    let lines = format!("trusted_proxies = [\"127.0.0.0/8\"]\n{lines}");
    Evenkeel::start(&config(endpoint, policy, &lines))
}

/// Who the endpoint was told of, by the last request; empty for who has no address.
fn told(endpoint: &Endpoint) -> String {
    let requests = endpoint.requests();
    let head = &requests.last().expect("a request").head;
    head.value("x-forwarded-for").unwrap_or_default().to_owned()
}

fn headers(proxy: &Evenkeel, result: &str) -> u64 {
    let label = format!("result=\"{result}\"");
    proxy.metric(
        "evenkeel_proxy_headers_total",
        &["listener=\"web\"", &label],
    )
}

#[test]
fn both_versions_say_who_the_client_is() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "required", "");
    let long = ("[2001:db8::7]:1234", "[2001:db8::1]:443");
    for (header, client) in [
        (v1(SOURCE, DESTINATION), "192.0.2.7"),
        (v2(SOURCE, DESTINATION, &[]), "192.0.2.7"),
        (v1(long.0, long.1), "2001:db8::7"),
        (v2(long.0, long.1, &[(0xea, b"vpce")]), "2001:db8::7"),
    ] {
        let mut connection = proxy.client();
        connection.send([&header, GET].concat());
        assert_eq!(connection.response().status, 200);
        assert_eq!(told(&endpoint), client);
        // It holds for the connection.
        assert_eq!(connection.get("/again").status, 200);
        assert_eq!(told(&endpoint), client);
    }
    let lines = proxy.access_lines(8);
    let clients = lines.iter().map(|line| line["client.address"].as_str());
    let clients: Vec<&str> = clients.map(|one| one.expect("text")).collect();
    assert_eq!(clients.iter().filter(|one| **one == "192.0.2.7").count(), 4);
    assert_eq!(
        clients.iter().filter(|one| **one == "2001:db8::7").count(),
        4
    );
    assert_eq!((headers(&proxy, "v1"), headers(&proxy, "v2")), (2, 2));
}

#[test]
fn a_header_may_come_in_pieces_and_alone() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "required", "");
    for header in [
        v1(SOURCE, DESTINATION),
        v2(SOURCE, DESTINATION, &[(1, b"h2")]),
    ] {
        let mut connection = proxy.client();
        for byte in &header {
            connection.send([*byte]);
            pause(Duration::from_millis(2));
        }
        assert!(connection.is_quiet());
        for byte in GET {
            connection.send([*byte]);
        }
        assert_eq!(connection.response().status, 200);
        assert_eq!(told(&endpoint), "192.0.2.7");
        // Cut in the middle, with the request behind its end.
        let (begin, rest) = header.split_at(header.len() / 2);
        let mut connection = proxy.client();
        connection.send(begin);
        pause(Duration::from_millis(20));
        connection.send([rest, GET].concat());
        assert_eq!(connection.response().status, 200);
    }
}

#[test]
fn what_is_no_header_reaches_nobody() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "required", "");
    let inet = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    let wrong_sum = [&inet[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    let cut_off = [&inet[..], &[1, 0, 9, b'h']].concat();
    let bad = [
        GET.to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.07 198.51.100.1 56324 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n".to_vec(),
        format!("PROXY UNKNOWN {}\r\n", "x".repeat(200)).into_bytes(),
        block([0x31, 0x11], &inet),
        block([0x22, 0x11], &inet),
        block([0x21, 0x41], &inet),
        block([0x21, 0x12], &inet),
        block([0x21, 0x21], &inet),
        block([0x21, 0x11], &wrong_sum),
        block([0x21, 0x11], &cut_off),
        [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
    ];
    let count = bad.len() as u64;
    for bytes in bad {
        let mut connection = proxy.client();
        connection.send([&bytes, GET].concat());
        assert!(connection.is_closed(), "{}", bytes.escape_ascii());
    }
    assert_eq!(headers(&proxy, "malformed"), count);
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn a_header_has_its_time() {
    let endpoint = Endpoint::echo();
    let proxy = start(
        &endpoint,
        "required",
        "timeouts = { proxy_header = \"200ms\" }",
    );
    let mut silent = proxy.client();
    let mut stuck = proxy.client();
    stuck.send(&SIGNATURE[..7]);
    assert!(silent.is_closed() && stuck.is_closed());
    // Bytes that go on coming win no time.
    let mut slow = proxy.client();
    let header = v2(SOURCE, DESTINATION, &[(0xe0, &[7; 200])]);
    for byte in &header {
        slow.send([*byte]);
        pause(Duration::from_millis(5));
    }
    assert!(slow.is_closed());
    assert_eq!(headers(&proxy, "timeout"), 3);
    // Who goes away before is no case for it.
    let mut gone = proxy.client();
    gone.send("PROXY TC").finish();
    assert!(gone.is_closed());
    drop(proxy.client());
    eventually("both are counted", || {
        (headers(&proxy, "client_closed") == 2).then_some(())
    });
    // Within the time nothing else is waited for: what follows has its own limit.
    let mut patient = proxy.client();
    patient.send(v1(SOURCE, DESTINATION));
    pause(Duration::from_millis(400));
    assert_eq!(patient.get("/").status, 200);
    assert_eq!(
        proxy.metric("evenkeel_connections", &["listener=\"web\""]),
        1
    );
}

#[test]
fn nobody_else_is_believed() {
    let endpoint = Endpoint::echo();
    let elsewhere = "trusted_proxies = [\"192.0.2.0/24\"]";
    let proxy = Evenkeel::start(&config(&endpoint, "required", elsewhere));
    for bytes in [GET.to_vec(), [&v1(SOURCE, DESTINATION), GET].concat()] {
        let mut connection = proxy.client();
        connection.send(bytes);
        assert!(connection.is_closed());
    }
    // At once: there is nothing to be waited for.
    assert!(proxy.client().is_closed());
    assert_eq!(headers(&proxy, "untrusted"), 3);
    assert_eq!(endpoint.connections(), 0);
    let proxy = Evenkeel::start(&config(&endpoint, "accepted", elsewhere));
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(told(&endpoint), "127.0.0.1");
    // To him it is what he says first, and no request.
    let mut connection = proxy.client();
    connection.send([&v1(SOURCE, DESTINATION), GET].concat());
    assert_eq!(connection.response().status, 400);
    assert_eq!(headers(&proxy, "absent"), 2);
}

#[test]
fn where_it_is_accepted_it_may_be_missing() {
    let endpoint = Endpoint::echo();
    let lines = "protocols = [\"h2c\", \"http/1.1\"]\ntimeouts = { proxy_header = \"300ms\" }";
    let proxy = start(&endpoint, "accepted", lines);
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(told(&endpoint), "127.0.0.1");
    // Its first letter, and the first two of HTTP/2, are those of a header too.
    let mut connection = proxy.client();
    connection.send("P");
    pause(Duration::from_millis(20));
    connection.send("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(connection.response().status, 200);
    let mut h2 = H2::connect(proxy.address("web"));
    assert_eq!(h2.get("/").status, 200);
    for header in [v1(SOURCE, DESTINATION), v2(SOURCE, DESTINATION, &[])] {
        let mut connection = proxy.client();
        connection.send([&header, GET].concat());
        assert_eq!(connection.response().status, 200);
        assert_eq!(told(&endpoint), "192.0.2.7");
    }
    // Who says nothing for long is served as one who comes without; not who has begun to.
    let mut late = proxy.client();
    pause(Duration::from_millis(500));
    assert_eq!(late.get("/").status, 200);
    let mut stuck = proxy.client();
    stuck.send("PROX");
    assert!(stuck.is_closed());
    assert_eq!(
        (headers(&proxy, "absent"), headers(&proxy, "timeout")),
        (4, 1)
    );
}

#[test]
fn a_proxy_may_come_for_itself_or_for_who_has_no_address() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "required", "");
    let unix = block([0x21, 0x31], &[b'/'; 216]);
    for (header, client) in [
        (block([0x20, 0x00], &[]), "127.0.0.1"),
        // What else it says is to be ignored.
        (block([0x20, 0x11], &[9; 40]), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 10.1.2.3 x\r\n".to_vec(), "127.0.0.1"),
        (block([0x21, 0x00], &[]), "127.0.0.1"),
        (unix, ""),
    ] {
        let mut connection = proxy.client();
        connection.send([&header, GET].concat());
        assert_eq!(connection.response().status, 200);
        assert_eq!(told(&endpoint), client);
    }
    assert_eq!(headers(&proxy, "local"), 2);
    let lines = proxy.access_lines(6);
    assert_eq!(lines[5]["client.address"], "unix:");
}

#[test]
fn forwarding_fields_are_believed_by_who_the_client_is() {
    let endpoint = Endpoint::echo();
    let proxy = start(&endpoint, "required", "");
    let ask = |source: &str| {
        let mut connection = proxy.client();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n";
        connection.send([&v2(source, DESTINATION, &[]), request.as_bytes()].concat());
        assert_eq!(connection.response().status, 200);
        told(&endpoint)
    };
    assert_eq!(ask(SOURCE), "192.0.2.7", "from a stranger");
    assert_eq!(
        ask("127.0.0.9:7"),
        "203.0.113.9, 127.0.0.9",
        "from a trusted proxy"
    );
}

#[test]
fn clients_are_told_apart_by_the_balancer() {
    let endpoints: Vec<Endpoint> = (0..3).map(|one| Endpoint::says(&one.to_string())).collect();
    let addresses: Vec<String> = endpoints
        .iter()
        .map(|one| format!("\"{}\"", one.address()))
        .collect();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\nproxy_protocol = \"required\"\n\
         trusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstream.app]\nbalance = \"maglev\"\nendpoints = [{}]\n",
        addresses.join(", ")
    ));
    let ask = |client: u8| {
        let mut connection = proxy.client();
        let source = format!("192.0.2.{client}:{}", 1000 + u16::from(client));
        connection.send([&v1(&source, DESTINATION), GET].concat());
        connection.response().body.text()
    };
    let first: Vec<String> = (0..16).map(ask).collect();
    let again: Vec<String> = (0..16).map(ask).collect();
    assert_eq!(first, again, "a client keeps its endpoint");
    assert!(
        first.iter().any(|one| *one != first[0]),
        "all of them look alike"
    );
}

#[test]
fn a_header_stands_before_tls() {
    let authority = Authority::new();
    let endpoint = Endpoint::echo();
    let files = authority.certify(&["own.test"]).files("a");
    let lines = "trusted_proxies = [\"127.0.0.0/8\"]\n\
                 tls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }] }";
    let proxy = Evenkeel::start_among(&files, &config(&endpoint, "required", lines));
    let hello = Hello::to("own.test", &authority);
    for header in [v1(SOURCE, DESTINATION), v2(SOURCE, DESTINATION, &[])] {
        let mut client = hello.caller().begin_behind(&header, proxy.address("web"));
        assert_eq!(client.get("/").status, 200);
        assert_eq!(told(&endpoint), "192.0.2.7");
        let h2 = Hello {
            protocols: &["h2"],
            ..hello.clone()
        };
        let client = h2.caller().begin_behind(&header, proxy.address("web"));
        let mut client = H2::client(client.into_stream());
        assert_eq!(client.get("/").status, 200);
        assert_eq!(told(&endpoint), "192.0.2.7");
    }
    // The hello does not come first, nor does the header within.
    hello.refusal(proxy.address("web"));
    assert_eq!(headers(&proxy, "malformed"), 1);
}

#[test]
fn a_header_stands_before_what_is_relayed() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let raw = Endpoint::sends_back();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"raw\"\n\
         proxy_protocol = \"required\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [route.db]\nlistener = \"web\"\nserver_name = [\"db.test\"]\nupstream = \"db\"\n\
         [upstream.db]\nendpoints = [\"{}\"]\n[upstream.raw]\nendpoints = [\"{}\"]\n",
        db.address(),
        raw.address()
    ));
    let header = v2(SOURCE, DESTINATION, &[]);
    let hello = Hello::to("db.test", &authority);
    let mut client = hello.caller().begin_behind(&header, proxy.address("web"));
    assert_eq!(client.get("/").body.text(), "db");
    drop(client);
    let mut client = proxy.client();
    client.send([&header, &b"hello"[..]].concat());
    assert_eq!(client.bytes(5), b"hello");
    assert_eq!(raw.raw().concat(), b"hello", "not a byte of the header");
    drop(client);
    let lines = proxy.access_lines(2);
    assert!(
        lines
            .iter()
            .all(|line| line["client.address"] == "192.0.2.7"),
        "{lines:?}"
    );
}

#[test]
fn endpoints_may_speak_first_behind_a_header() {
    let endpoint = Endpoint::start(|peer| {
        peer.send("220 ready\r\n");
        peer.send_all_back();
    });
    let lines = "protocols = [\"tcp\"]\ntimeouts = { proxy_header = \"200ms\" }";
    let proxy = start(&endpoint, "required", lines);
    let mut client = proxy.client();
    client.send(v1(SOURCE, DESTINATION));
    assert_eq!(client.bytes(11), b"220 ready\r\n");
    // Where it may be missing, they do once it has not come.
    let proxy = start(&endpoint, "accepted", lines);
    assert_eq!(proxy.client().bytes(11), b"220 ready\r\n");
    assert_eq!(headers(&proxy, "absent"), 1);
}

#[test]
fn a_reload_changes_who_must_introduce_himself() {
    let endpoint = Endpoint::echo();
    let mut proxy = start(&endpoint, "required", "");
    let mut before = proxy.client();
    before.send([&v1(SOURCE, DESTINATION), GET].concat());
    assert_eq!(before.response().status, 200);
    proxy.reload(&format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    assert_eq!(proxy.client().get("/").status, 200);
    assert_eq!(told(&endpoint), "127.0.0.1");
    assert_eq!(before.get("/").status, 200);
    assert_eq!(told(&endpoint), "192.0.2.7", "who it was stays");
}

/// A connection of somebody who is where nobody else of these tests is.
#[test]
fn by_address_and_not_by_port() {
    let endpoint = Endpoint::echo();
    let one = "trusted_proxies = [\"127.0.0.5/32\"]";
    let proxy = Evenkeel::start(&config(&endpoint, "required", one));
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let own: std::net::SocketAddr = "127.0.0.5:0".parse().expect("an address");
    socket.bind(&own.into()).expect("loopback");
    socket
        .connect(&proxy.address("web").into())
        .expect("it listens");
    let mut trusted = Client::over(std::net::TcpStream::from(socket));
    trusted.send([&v1(SOURCE, DESTINATION), GET].concat());
    assert_eq!(trusted.response().status, 200);
    let mut other = Client::over(connected(proxy.address("web")));
    other.send([&v1(SOURCE, DESTINATION), GET].concat());
    assert!(other.is_closed());
}
