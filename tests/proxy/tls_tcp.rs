//! TLS that ends in front of bytes which are relayed unread.

use rustls::version::{TLS12, TLS13};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::proxy_header::{ALPN, Said, take};
use crate::support::tls::{Authority, Certified, Hello, Session};
use crate::support::tls_endpoint::{Shown, TlsEndpoint};
use crate::tls::{HANDSHAKES, handshakes};

/// The listener `web` for `db.test`, with these settings of its TLS and what else is written.
fn config(endpoint: &Endpoint, tls: &str, rest: &str) -> String {
    let address = endpoint.address();
    format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nto = [\"{address}\"]\n\
         [listener.web.tls]\ncertificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n{tls}\n{rest}\n"
    )
}

fn start(authority: &Authority, endpoint: &Endpoint, tls: &str, rest: &str) -> Evenkeel {
    let mut files = authority.certify(&["db.test"]).files("a").to_vec();
    files.push(("clients.pem".to_owned(), authority.pem()));
    Evenkeel::start_among(&files, &config(endpoint, tls, rest))
}

fn exchange(client: &mut Client<Session>, bytes: &[u8]) {
    client.send(bytes);
    assert_eq!(client.bytes(bytes.len()), bytes);
}

#[test]
fn bytes_pass_decrypted_in_each_version() {
    let authority = Authority::new();
    let endpoint = Endpoint::sends_back();
    let proxy = start(&authority, &endpoint, "", "");
    for (version, word) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let hello = Hello {
            versions: &[version],
            protocols: &["postgresql"],
            ..Hello::to("db.test", &authority)
        };
        let mut client = hello.begin(proxy.address("web"));
        assert_eq!(client.protocol(), None, "nothing was written to agree on");
        exchange(&mut client, b"\0\xff\r\nhello");
        client.finish();
        assert!(client.says_goodbye(), "{word}");
    }
    eventually("the sessions are counted", || {
        let sessions = proxy.metric("evenkeel_l4_sessions_total", &["result=\"ok\""]);
        (sessions == 2).then_some(())
    });
    assert_eq!(handshakes(&proxy, "ok"), 2);
    let lines = proxy.access_lines(2);
    let versions: Vec<_> = lines
        .iter()
        .map(|line| &line["tls.protocol.version"])
        .collect();
    assert_eq!(versions, ["1.2", "1.3"]);
    assert_eq!(lines[0]["url.scheme"], "tcp");
    assert_eq!(lines[0]["server.address"], "db.test");
}

#[test]
fn a_protocol_is_agreed_on_where_one_is_written() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        if take(peer).is_some() {
            peer.send_all_back();
        }
    });
    let files = authority.certify(&["db.test"]).files("a").to_vec();
    let written = |alpn: &str| {
        format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"db\"\n\
             [listener.web.tls]\ncertificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n{alpn}\n\
             [upstream.db]\nendpoints = [\"{}\"]\nproxy_protocol = \"v2\"\n",
            endpoint.address()
        )
    };
    let mut proxy = Evenkeel::start_among(&files, &written("alpn = [\"postgresql\", \"h2\"]"));
    let hello = |protocols| Hello {
        protocols,
        ..Hello::to("db.test", &authority)
    };
    let agreed = |proxy: &Evenkeel, protocols| {
        let mut client = hello(protocols).begin(proxy.address("web"));
        exchange(&mut client, b"hello");
        client.protocol()
    };
    assert_eq!(
        agreed(&proxy, &["postgresql"]).as_deref(),
        Some("postgresql")
    );
    assert_eq!(
        agreed(&proxy, &["h2", "postgresql"]).as_deref(),
        Some("postgresql"),
        "ours first"
    );
    assert_eq!(agreed(&proxy, &[]), None, "who asks for none is served");
    let raw = endpoint.raw();
    let told: Vec<Said> = raw.iter().map(|bytes| Said::parse(bytes)).collect();
    let told: Vec<_> = told.iter().map(|said| said.tlv(ALPN)).collect();
    let postgresql = Some(&b"postgresql"[..]);
    assert_eq!(told, [postgresql, postgresql, None]);
    let refused = hello(&["imap"]).refusal(proxy.address("web")).to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    assert_eq!(endpoint.connections(), 3);
    // A reload decides it anew.
    proxy.reload(&written("alpn = [\"imap\"]"));
    assert_eq!(agreed(&proxy, &["imap"]).as_deref(), Some("imap"));
}

#[test]
fn much_passes_in_both_directions() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        let all = peer.remainder();
        peer.send(all);
    });
    let proxy = start(&authority, &endpoint, "", "");
    let all: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    // The client has finished; the endpoint answers afterwards.
    client.send(&all).finish();
    assert!(
        client.read_to_end() == all,
        "the bytes changed on their way"
    );
}

#[test]
fn an_endpoint_may_speak_first_and_end_first() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        peer.send("220 ready\r\n");
        peer.finish();
        peer.drain();
    });
    let proxy = start(&authority, &endpoint, "", "");
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert_eq!(client.bytes(11), b"220 ready\r\n");
    assert!(client.says_goodbye());
}

#[test]
fn a_connection_that_breaks_is_no_orderly_end() {
    let authority = Authority::new();
    let endpoint = Endpoint::start(|peer| {
        peer.send("half");
        peer.bytes(1);
        peer.reset();
    });
    let proxy = start(&authority, &endpoint, "", "");
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert_eq!(client.bytes(4), b"half");
    client.send("x");
    assert!(client.is_cut(), "what came is not the whole");
}

#[test]
fn a_certificate_may_be_required() {
    let (authority, strangers) = (Authority::new(), Authority::named("strangers"));
    let endpoint = Endpoint::sends_back();
    let rule = "client_certificates = [{ ca = \"clients.pem\" }]";
    let proxy = start(&authority, &endpoint, rule, "");
    let known = authority.certify(&["client.test"]);
    let hello = |certificate| Hello {
        certificate,
        ..Hello::to("db.test", &authority)
    };
    let mut client = hello(Some(&known)).begin(proxy.address("web"));
    exchange(&mut client, b"hello");
    client.finish();
    assert!(client.says_goodbye());
    let unknown = strangers.certify(&["client.test"]);
    for shown in [None, Some(&unknown)] {
        // In TLS 1.3 a client hears of it behind its own side of the handshake.
        if let Ok(mut client) = hello(shown).caller().try_begin(proxy.address("web")) {
            client.read_error();
        }
    }
    eventually("both are refused", || {
        let refused = proxy.metric(HANDSHAKES, &["result=\"client_certificate\""]);
        (refused == 2).then_some(())
    });
    assert_eq!(endpoint.connections(), 1);
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(line["tls.client.subject"], "CN=a server", "{line}");
}

#[test]
fn names_pass_through_beside_what_ends_here() {
    let authority = Authority::new();
    let own = Endpoint::says("own");
    let other = authority.certify(&["other.test"]);
    let passed = Endpoint::says_within_tls(&other, &[], "passed");
    let route = format!(
        "[route.other]\nlistener = \"web\"\nserver_name = [\"other.test\"]\nupstream = \"other\"\n\
         [upstream.other]\nendpoints = [\"{}\"]\n",
        passed.address()
    );
    let proxy = start(&authority, &own, "", &route);
    let address = proxy.address("web");
    let body = |name: &str| {
        Hello::to(name, &authority)
            .begin(address)
            .get("/")
            .body
            .text()
    };
    assert_eq!(body("other.test"), "passed");
    assert_eq!(body("db.test"), "own");
}

#[test]
fn what_is_no_tls_reaches_no_endpoint() {
    let authority = Authority::new();
    let endpoint = Endpoint::sends_back();
    let proxy = start(&authority, &endpoint, "", "");
    for bytes in [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], b"EHLO example.org\r\n"] {
        let mut client = proxy.client();
        client.send(bytes);
        client.read_to_end();
    }
    eventually("both are refused", || {
        (proxy.metric(HANDSHAKES, &["result=\"refused\""]) == 2).then_some(())
    });
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn it_may_begin_anew_towards_the_endpoint() {
    let (authority, inner) = (Authority::new(), Authority::named("inner"));
    let certified: Certified = inner.certify(&["inner.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let mut files = authority.certify(&["db.test"]).files("a").to_vec();
    files.push(("inner.pem".to_owned(), inner.pem()));
    let written = format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"db\"\n\
         [listener.web.tls]\ncertificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n\
         [upstream.db]\nendpoints = [\"{}\"]\n\
         [upstream.db.tls]\nca = \"inner.pem\"\nserver_name = \"inner.test\"\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start_among(&files, &written);
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_reload_cuts_no_session_and_brings_the_new_certificate() {
    let authority = Authority::new();
    let endpoint = Endpoint::sends_back();
    let mut proxy = start(&authority, &endpoint, "", "");
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    exchange(&mut client, b"before");
    let renewed = authority.certify(&["db.test"]);
    for (name, text) in renewed.files("a") {
        std::fs::write(proxy.path(&name), text).expect("a folder of the test");
    }
    proxy.reload(&config(&endpoint, "min_version = \"1.3\"", ""));
    exchange(&mut client, b"after");
    let other = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert!(other.was_shown(&renewed));
}
