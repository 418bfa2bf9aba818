//! PROXY headers to endpoints: whom they are told of, by whom a connection is used, and what health
//! checks say (HAProxy's `proxy-protocol.txt`).

use std::io::Write;
use std::net::SocketAddr;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::proxy_header::{
    ALPN, AUTHORITY, CRC32C, SSL, Said, UNIQUE_ID, block, take, v1, v2,
};
use crate::support::tls::{Authority, Hello};
use crate::support::udp::{UdpClient, UdpEndpoint};
use crate::support::unix::{self, Sockets};

const SOURCE: &str = "192.0.2.7:56324";
const DESTINATION: &str = "198.51.100.1:443";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// An endpoint that takes a header on each connection, and says by which of them a request came.
fn takes_headers() -> Endpoint {
    Endpoint::start(|peer| {
        let Some(said) = take(peer) else { return };
        let source = said.source;
        while peer.request().is_some() {
            let length = source.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{source}"
            ));
        }
    })
}

/// What an endpoint was told on its connections.
fn said(endpoint: &Endpoint) -> Vec<Said> {
    let raw = endpoint.raw();
    raw.iter().map(|bytes| Said::parse(bytes)).collect()
}

fn config(endpoint: SocketAddr, listener: &str, upstream: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n{listener}\n\
         [upstream.app]\nendpoints = [\"{endpoint}\"]\n{upstream}\n"
    )
}

fn start(endpoint: &Endpoint, listener: &str, upstream: &str) -> Evenkeel {
    Evenkeel::start(&config(endpoint.address(), listener, upstream))
}

fn own(client: &Client) -> String {
    client
        .stream()
        .local_addr()
        .expect("it is open")
        .to_string()
}

const TRUSTING: &str = "proxy_protocol = \"accepted\"\ntrusted_proxies = [\"127.0.0.0/8\"]";

#[test]
fn endpoints_are_told_who_the_client_is() {
    for version in ["v1", "v2"] {
        let endpoint = takes_headers();
        let setting = format!("proxy_protocol = \"{version}\"");
        let proxy = start(&endpoint, "", &setting);
        let mut client = proxy.client();
        assert_eq!(client.get("/").body.text(), own(&client));
        let said = said(&endpoint).remove(0);
        assert_eq!(said.source, own(&client));
        assert_eq!(said.destination, proxy.address("web").to_string());
        assert_eq!(said.line.is_some(), version == "v1");
        if version == "v2" {
            assert_eq!(said.kind, [0x21, 0x11]);
            assert_eq!(said.tlv(CRC32C).map(<[u8]>::len), Some(4));
            assert_eq!(said.tlv(SSL), None);
            let request = endpoint.request();
            let id = request.head.value("x-request-id").expect("always sent");
            assert_eq!(said.tlv(UNIQUE_ID), Some(id.as_bytes()));
        }
    }
}

#[test]
fn a_connection_serves_one_client_only() {
    let endpoint = takes_headers();
    let proxy = start(&endpoint, "", "proxy_protocol = \"v2\"");
    let (mut one, mut other) = (proxy.client(), proxy.client());
    for _ in 0..3 {
        assert_eq!(one.get("/").body.text(), own(&one));
        assert_eq!(other.get("/").body.text(), own(&other));
    }
    assert_eq!(
        endpoint.connections(),
        2,
        "each was used again by its own client"
    );
    // One who comes after them gets neither.
    drop((one, other));
    let mut third = proxy.client();
    assert_eq!(third.get("/").body.text(), own(&third));
    assert_eq!(endpoint.connections(), 3);
}

#[test]
fn the_streams_of_a_client_are_its_own() {
    let endpoint = takes_headers();
    let lines = "protocols = [\"h2c\", \"http/1.1\"]";
    let proxy = start(&endpoint, lines, "proxy_protocol = \"v1\"");
    let mut h2 = H2::connect(proxy.address("web"));
    let own = h2.stream().local_addr().expect("it is open").to_string();
    for id in [h2.ask("/a"), h2.ask("/b"), h2.ask("/c")] {
        assert_eq!(h2.message(id).text(), own);
    }
    let mut other = H2::connect(proxy.address("web"));
    let others = other.stream().local_addr().expect("it is open").to_string();
    assert_eq!(other.get("/").text(), others);
}

#[test]
fn what_a_proxy_in_front_said_is_passed_on() {
    let endpoint = takes_headers();
    let proxy = start(&endpoint, TRUSTING, "proxy_protocol = \"v2\"");
    let tlvs: &[(u8, &[u8])] = &[
        (0x04, b"room"),
        (ALPN, b"h2"),
        (AUTHORITY, b"front.test"),
        (UNIQUE_ID, b"front-1"),
        (0xea, b"\x01vpce-1"),
    ];
    let mut client = proxy.client();
    client.send([&v2(SOURCE, DESTINATION, tlvs), GET.as_bytes()].concat());
    assert_eq!(client.response().body.text(), SOURCE);
    let told = said(&endpoint).remove(0);
    assert_eq!((&*told.source, &*told.destination), (SOURCE, DESTINATION));
    for (kind, value) in &tlvs[1..] {
        assert_eq!(told.tlv(*kind), Some(*value), "{kind:#x}");
    }
    assert_eq!(told.tlv(0x04), None);
    assert_eq!(
        told.tlv(CRC32C).map(<[u8]>::len),
        Some(4),
        "a new one, of the new header"
    );
    // Who has no address is told of without one; who comes for himself, as himself.
    let unix = block([0x21, 0x31], &[0; 216]);
    let mut client = proxy.client();
    client.send([&unix, GET.as_bytes()].concat());
    assert_eq!(client.response().status, 200);
    assert_eq!(said(&endpoint)[1].kind, [0x21, 0x31]);
    // Who is behind a proxy that does not know, is not told of by that proxy's address: it might be
    // trusted further on.
    let mut client = proxy.client();
    client.send([b"PROXY UNKNOWN\r\n", GET.as_bytes()].concat());
    assert_eq!(client.response().status, 200);
    let told = said(&endpoint).remove(2);
    assert_eq!((told.kind, &*told.source), ([0x21, 0x00], ""));
    let mut client = proxy.client();
    client.send([&block([0x20, 0x00], &[]), GET.as_bytes()].concat());
    assert_eq!(client.response().body.text(), own(&client));
}

#[test]
fn who_is_unknown_comes_by_no_unix_socket_further_on() {
    // The proxy in front does, and might be trusted for that by the endpoint.
    let endpoint = takes_headers();
    let sockets = Sockets::new("unknown");
    let config = format!(
        "[listener.web]\nbind = \"{}\"\nupstream = \"app\"\nproxy_protocol = \"required\"\n\
         trusted_proxies = [\"unix\"]\n\
         [upstream.app]\nendpoints = [\"{}\"]\nproxy_protocol = \"v2\"\n",
        sockets.written("web.sock"),
        endpoint.address()
    );
    let _proxy = Evenkeel::start(&config);
    let headers = [
        (b"PROXY UNKNOWN\r\n".to_vec(), [0x21, 0x00]),
        (block([0x21, 0x00], &[]), [0x21, 0x00]),
        (block([0x21, 0x31], &[0; 216]), [0x21, 0x31]),
    ];
    for (header, kind) in headers {
        let mut client = unix::client(&sockets.path("web.sock"));
        client.send([&header, GET.as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        assert_eq!(said(&endpoint).pop().expect("a header").kind, kind);
    }
}

#[test]
fn version_1_has_words_for_addresses_only() {
    let endpoint = takes_headers();
    let proxy = start(&endpoint, TRUSTING, "proxy_protocol = \"v1\"");
    let ask = |header: Vec<u8>| {
        let mut client = proxy.client();
        client.send([&header, GET.as_bytes()].concat());
        assert_eq!(client.response().status, 200);
        said(&endpoint)
            .pop()
            .and_then(|said| said.line)
            .expect("a line")
    };
    let long = v1("[2001:db8::7]:1", "[2001:db8::1]:2");
    assert_eq!(ask(long), "PROXY TCP6 2001:db8::7 2001:db8::1 1 2");
    let short = v2(SOURCE, DESTINATION, &[(0xea, b"x")]);
    assert_eq!(ask(short), "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443");
    assert_eq!(ask(block([0x21, 0x31], &[0; 216])), "PROXY UNKNOWN");
}

#[test]
fn version_2_tells_of_the_clients_tls() {
    let authority = Authority::new();
    let files: Vec<_> = [
        authority.certify(&["own.test"]).files("a").to_vec(),
        vec![("ca.pem".to_owned(), authority.pem())],
    ]
    .concat();
    let endpoint = takes_headers();
    let lines = "tls = { certificates = [{ cert = \"a.pem\", key = \"a.key\" }], \
                 client_certificates = [{ hosts = [\"*\"], ca = \"ca.pem\", require = false }] }";
    let text = config(endpoint.address(), lines, "proxy_protocol = \"v2\"");
    let proxy = Evenkeel::start_among(&files, &text);
    let hello = Hello::to("own.test", &authority);
    let mut h2 = H2::begin(&hello, proxy.address("web"));
    assert_eq!(h2.get("/").status, 200);
    let told = said(&endpoint).remove(0);
    assert_eq!(told.tlv(ALPN), Some(&b"h2"[..]));
    assert_eq!(told.tlv(AUTHORITY), Some(&b"own.test"[..]));
    let ssl = told.tlv(SSL).expect("TLS was spoken");
    assert_eq!(ssl[..5], [1, 0, 0, 0, 1], "TLS, and nobody was verified");
    assert_eq!(subtype(ssl, 0x21), "TLSv1.3");
    assert!(subtype(ssl, 0x23).starts_with("TLS_"), "{ssl:?}");
    // With a certificate.
    let shown = authority.certify_with(&[], |params| {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Wörker 7");
    });
    let named = Hello {
        certificate: Some(&shown),
        versions: &[&rustls::version::TLS12],
        ..hello
    };
    let mut client = named.begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
    let told = said(&endpoint).remove(1);
    let ssl = told.tlv(SSL).expect("TLS was spoken");
    assert_eq!(ssl[..5], [7, 0, 0, 0, 0]);
    assert_eq!(subtype(ssl, 0x21), "TLSv1.2");
    assert_eq!(subtype(ssl, 0x22), "Wörker 7");
    assert!(subtype(ssl, 0x23).starts_with("ECDHE-ECDSA-"), "{ssl:?}");
}

/// One of what is said of TLS.
fn subtype(ssl: &[u8], kind: u8) -> String {
    let mut at = 5;
    while at < ssl.len() {
        let end = at + 3 + usize::from(u16::from_be_bytes([ssl[at + 1], ssl[at + 2]]));
        if ssl[at] == kind {
            return String::from_utf8(ssl[at + 3..end].to_vec()).expect("text");
        }
        at = end;
    }
    panic!("no {kind:#x} in {ssl:?}");
}

#[test]
fn what_is_relayed_begins_with_a_header_too() {
    let endpoint = Endpoint::start(|peer| {
        take(peer);
        peer.send_all_back();
    });
    let lines = format!("protocols = [\"tcp\"]\n{TRUSTING}");
    let proxy = start(&endpoint, &lines, "proxy_protocol = \"v2\"");
    let mut client = proxy.client();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    let told = said(&endpoint).remove(0);
    assert_eq!(told.source, own(&client));
    assert_eq!(endpoint.raw()[0][told.length..], *b"hello");
    let mut client = proxy.client();
    client.send([&v2(SOURCE, DESTINATION, &[(0xea, b"x")]), &b"hello"[..]].concat());
    assert_eq!(client.bytes(5), b"hello");
    let told = said(&endpoint).remove(1);
    assert_eq!((&*told.source, &*told.destination), (SOURCE, DESTINATION));
    assert_eq!(told.tlv(0xea), Some(&b"x"[..]));
}

#[test]
fn what_is_decrypted_and_relayed_is_told_of_too() {
    let authority = Authority::new();
    let files = authority.certify(&["own.test"]).files("a");
    let endpoint = Endpoint::start(|peer| {
        take(peer);
        peer.send_all_back();
    });
    let lines = format!(
        "protocols = [\"tcp\"]\n{TRUSTING}\n\
         tls = {{ certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}] }}"
    );
    let text = config(endpoint.address(), &lines, "proxy_protocol = \"v2\"");
    let proxy = Evenkeel::start_among(&files, &text);
    let header = v2(SOURCE, DESTINATION, &[(AUTHORITY, b"front.test")]);
    let hello = Hello::to("own.test", &authority).caller();
    let mut client = hello.begin_behind(&header, proxy.address("web"));
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    let told = said(&endpoint).remove(0);
    assert_eq!((&*told.source, &*told.destination), (SOURCE, DESTINATION));
    assert_eq!(told.tlv(AUTHORITY), Some(&b"own.test"[..]), "what we know");
    let ssl = told.tlv(SSL).expect("TLS ended here");
    assert_eq!(subtype(ssl, 0x21), "TLSv1.3");
}

#[test]
fn a_name_that_passes_through_is_told() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        take(peer);
        peer.drain();
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\n\
         [route.db]\nlistener = \"web\"\nserver_name = [\"db.test\"]\nupstream = \"db\"\n\
         [upstream.db]\nendpoints = [\"{}\"]\nproxy_protocol = \"v2\"\n",
        endpoint.address()
    ));
    let hello = Hello::to("db.test", &authority).caller().first_bytes();
    let mut client = proxy.client();
    client.send(&hello);
    eventually("the hello comes", || {
        let raw = endpoint.raw();
        let all = raw.first().filter(|bytes| bytes.len() > 16 + hello.len())?;
        let told = Said::parse(all);
        assert_eq!(told.tlv(AUTHORITY), Some(&b"db.test"[..]));
        assert_eq!(told.source, own(&client));
        (all[told.length..] == hello).then_some(())
    });
}

#[test]
fn a_header_stands_before_tls_to_endpoints() {
    let endpoint = Endpoint::start(|peer| {
        take(peer);
        peer.drain();
    });
    let upstream = "proxy_protocol = \"v1\"\ntls = { insecure_skip_verify = true }";
    let proxy = start(&endpoint, "", upstream);
    let mut client = proxy.client();
    client.send(GET);
    eventually("a session begins", || {
        let raw = endpoint.raw();
        let first = raw.first().filter(|bytes| !bytes.is_empty())?;
        let told = Said::parse(first);
        assert_eq!(told.source, own(&client));
        (first.get(told.length..told.length + 2)? == [22, 3]).then_some(())
    });
}

#[test]
fn connections_of_http2_are_a_clients_as_well() {
    // One that takes a header, and then relays to an endpoint of HTTP/2.
    let inner = crate::support::h2::endpoint::H2Endpoint::says("h2");
    let address = inner.address();
    let endpoint = Endpoint::start(move |peer| {
        if take(peer).is_none() {
            return;
        }
        let mut below = std::net::TcpStream::connect(address).expect("it listens");
        let (mut back, mut out) = (below.try_clone().expect("a descriptor"), peer.socket());
        let answers = std::thread::spawn(move || drop(std::io::copy(&mut back, &mut out)));
        while let Some(bytes) = peer.some() {
            if below.write_all(&bytes).is_err() {
                break;
            }
        }
        drop(below.shutdown(std::net::Shutdown::Both));
        drop(answers.join());
    });
    let upstream = "proxy_protocol = \"v2\"\nprotocol = \"h2c\"";
    let proxy = start(&endpoint, "", upstream);
    let (mut one, mut other) = (proxy.client(), proxy.client());
    for _ in 0..3 {
        assert_eq!(one.get("/").body.text(), "h2");
        assert_eq!(other.get("/").body.text(), "h2");
    }
    let told = said(&endpoint);
    let sources: Vec<&str> = told.iter().map(|said| &*said.source).collect();
    assert_eq!(sources, [own(&one), own(&other)]);
}

#[test]
fn health_checks_speak_for_themselves() {
    for (version, probe) in [("v1", "tcp = {}"), ("v2", "http = {}")] {
        let endpoint = takes_headers();
        let upstream = format!(
            "proxy_protocol = \"{version}\"\nhealth = {{ {probe}, interval = \"500ms\", timeout = \"500ms\" }}"
        );
        let proxy = start(&endpoint, "", &upstream);
        let address = endpoint.address().to_string();
        eventually("it is found to be well", || {
            (proxy.endpoint("app", &address)["state"] == "healthy").then_some(())
        });
        let told = eventually("a probe has come", || {
            let raw = endpoint.raw();
            let whole = raw.into_iter().find(|bytes| bytes.len() >= 15)?;
            Some(Said::parse(&whole))
        });
        match version {
            "v1" => assert_eq!(told.line.as_deref(), Some("PROXY UNKNOWN")),
            _ => assert_eq!(told.kind, [0x20, 0x00]),
        }
    }
    // What has a port of its own was made to be asked.
    let (endpoint, asked) = (takes_headers(), Endpoint::says("well"));
    let upstream = format!(
        "proxy_protocol = \"v2\"\nhealth = {{ http = {{}}, interval = \"500ms\", timeout = \"500ms\", port = {} }}",
        asked.address().port()
    );
    let _proxy = start(&endpoint, "", &upstream);
    let request = eventually("a probe has come", || asked.requests().into_iter().next());
    assert_eq!(request.method(), "GET");
}

#[test]
fn each_datagram_has_a_header() {
    let endpoint = UdpEndpoint::sends_back();
    let lines = "protocols = [\"udp\"]";
    let upstream = "proxy_protocol = \"v2\"";
    let proxy = Evenkeel::start(&config(endpoint.address(), lines, upstream));
    let (one, other) = (
        UdpClient::of(proxy.address("web")),
        UdpClient::of(proxy.address("web")),
    );
    for (client, text) in [
        (&one, "first"),
        (&one, "second"),
        (&other, "third"),
        (&one, ""),
    ] {
        client.send(text);
        let back = client.receive();
        let told = Said::parse(&back);
        assert_eq!(told.kind, [0x21, 0x12]);
        assert_eq!(told.source, client.address().to_string());
        assert_eq!(told.destination, proxy.address("web").to_string());
        assert_eq!(told.tlv(CRC32C).map(<[u8]>::len), Some(4));
        assert_eq!(back[told.length..], *text.as_bytes());
    }
    // What was the client's is counted, and what cannot go with it is lost and counted.
    let label = ["direction=\"sent\""];
    assert_eq!(proxy.metric("evenkeel_l4_bytes_total", &label), 16);
    one.send(vec![7; 65_507]);
    eventually("it is too long with its header", || {
        let why = ["reason=\"too_long\""];
        (proxy.metric("evenkeel_udp_dropped_total", &why) == 1).then_some(())
    });
    one.send("still there");
    assert!(one.receive().ends_with(b"still there"));
}

#[test]
fn a_reload_leaves_no_connection_without_a_header() {
    let endpoint = Endpoint::start(|peer| {
        // With or without: what begins a request is no header.
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let mut proxy = start(&endpoint, "", "");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(endpoint.connections(), 1);
    proxy.reload(&config(endpoint.address(), "", "proxy_protocol = \"v1\""));
    // A line before a request is a faulty request to this endpoint, which closes; but it is said.
    client.send(GET);
    eventually("another connection is opened", || {
        let raw = endpoint.raw();
        raw.get(1..)?
            .iter()
            .any(|bytes| bytes.starts_with(b"PROXY TCP4"))
            .then_some(())
    });
    assert!(!endpoint.raw()[0].windows(5).any(|five| five == b"PROXY"));
}
