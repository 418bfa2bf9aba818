//! TLS towards endpoints: who is asked for, who may answer, and what happens if another does.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::{fs, thread};

use rcgen::{SanType, date_time_ymd};
use rustls::version::{TLS12, TLS13};

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::message::text;
use crate::support::tls::Authority;
use crate::support::tls_endpoint::{LARGE, Shown, TlsEndpoint};

/// A listener in plain text before this endpoint, whose upstream has these settings of TLS.
fn config(endpoint: SocketAddr, tls: &str, more: &str) -> String {
    format!(
        "[listener.web]\nbind = \"@web\"\nupstream = \"api\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n\
         [upstream.api]\nendpoints = [\"{endpoint}\"]\n{more}\n[upstream.api.tls]\n{tls}\n"
    )
}

fn ca(authority: &Authority) -> Vec<(String, String)> {
    vec![("ca.pem".to_owned(), authority.pem())]
}

fn started(authority: &Authority, endpoint: &TlsEndpoint, tls: &str) -> Evenkeel {
    let written = config(endpoint.address(), tls, "");
    Evenkeel::start_among(&ca(authority), &written)
}

fn told(client: &mut Client) -> String {
    let response = client.get("/");
    assert_eq!(response.status, 200, "{response:?}");
    text(&response.body.data)
}

/// The word of RFC 9209 for a request that fails.
fn error(proxy: &Evenkeel) -> String {
    let response = proxy.client().get("/");
    assert_eq!(response.status, 502, "{response:?}");
    let said = response.head.value("proxy-status").expect("why").to_owned();
    let word = said.split("error=").nth(1).expect("an error");
    word.split(';').next().expect("a word").to_owned()
}

const NAMED: &str = "ca = \"ca.pem\"\nserver_name = \"api.test\"";

#[test]
fn endpoints_are_asked_for_by_name_and_connections_are_kept() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let proxy = started(&authority, &endpoint, NAMED);
    let mut client = proxy.client();
    for _ in 0..3 {
        let told = told(&mut client);
        assert!(told.contains("connection=0\n"), "{told}");
        assert!(told.contains("name=api.test\n"), "{told}");
        assert!(told.contains("protocol=http/1.1\n"), "{told}");
        assert!(told.contains("version=TLSv1_3\n"), "{told}");
    }
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn an_endpoint_written_as_an_address_has_to_have_that_address() {
    let authority = Authority::new();
    let right = authority.certify(&["127.0.0.1"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&right));
    let proxy = started(&authority, &endpoint, "ca = \"ca.pem\"");
    // An address is not told as a name (RFC 6066 §3).
    assert!(told(&mut proxy.client()).contains("name=\n"));
    let wrong = authority.certify(&["127.0.0.2", "localhost"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&wrong));
    let proxy = started(&authority, &endpoint, "ca = \"ca.pem\"");
    assert_eq!(error(&proxy), "tls_certificate_error");
}

#[test]
fn an_endpoint_written_as_a_name_is_asked_for_by_it() {
    let authority = Authority::new();
    let certified = authority.certify(&["localhost"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let port = endpoint.address().port();
    let written = config(endpoint.address(), "ca = \"ca.pem\"", "");
    let written = written.replace(&format!("127.0.0.1:{port}"), &format!("localhost:{port}"));
    let proxy = Evenkeel::start_among(&ca(&authority), &written);
    assert!(told(&mut proxy.client()).contains("name=localhost\n"));
}

#[test]
fn who_cannot_prove_it_gets_nothing() {
    let authority = Authority::new();
    let others = Authority::new();
    let stranger = others.certify(&["api.test"]);
    let other_name = authority.certify(&["shop.test"]);
    let expired = authority.certify_with(&["api.test"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    for certified in [stranger, other_name, expired] {
        let endpoint = TlsEndpoint::start(&Shown::by(&certified));
        let proxy = started(&authority, &endpoint, NAMED);
        assert_eq!(error(&proxy), "tls_certificate_error");
        assert_eq!(endpoint.sessions(), 0);
    }
}

/// Public authorities are trusted where none is named, and ours is none.
#[test]
fn without_an_authority_the_public_ones_are_trusted() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let proxy = started(&authority, &endpoint, "server_name = \"api.test\"");
    assert_eq!(error(&proxy), "tls_certificate_error");
}

#[test]
fn what_is_no_tls_is_a_protocol_error() {
    let authority = Authority::new();
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = plain.local_addr().expect("a bound socket");
    thread::spawn(move || {
        for stream in plain.incoming() {
            // As servers answer to a hello that they take for a request.
            let mut stream = stream?;
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
            io::copy(&mut stream, &mut io::sink())?;
        }
        io::Result::Ok(())
    });
    let written = config(address, NAMED, "");
    let proxy = Evenkeel::start_among(&ca(&authority), &written);
    assert_eq!(error(&proxy), "tls_protocol_error");
}

#[test]
fn an_endpoint_too_old_is_refused() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let shown = Shown {
        versions: &[&TLS12],
        ..Shown::by(&certified)
    };
    let endpoint = TlsEndpoint::start(&shown);
    let proxy = started(&authority, &endpoint, NAMED);
    assert!(told(&mut proxy.client()).contains("version=TLSv1_2\n"));
    let proxy = started(
        &authority,
        &endpoint,
        &format!("{NAMED}\nmin_version = \"1.3\""),
    );
    assert_eq!(error(&proxy), "tls_alert_received");
}

#[test]
fn an_endpoint_that_speaks_something_else_is_refused() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let shown = Shown {
        protocols: &["h2"],
        ..Shown::by(&certified)
    };
    let endpoint = TlsEndpoint::start(&shown);
    let proxy = started(&authority, &endpoint, NAMED);
    assert_eq!(error(&proxy), "tls_alert_received");
}

#[test]
fn names_in_the_certificate_can_be_asked_for_instead() {
    let authority = Authority::new();
    let uri = "spiffe://example.org/api";
    let certified = authority.certify_with(&["other.test"], |params| {
        let uri = uri.try_into().expect("ASCII");
        params.subject_alt_names.push(SanType::URI(uri));
    });
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    for good in [uri, "other.test"] {
        let tls = format!("{NAMED}\nsan = [\"nobody.test\", \"{good}\"]");
        let proxy = started(&authority, &endpoint, &tls);
        // Asked for by the one name, known by the other.
        assert!(told(&mut proxy.client()).contains("name=api.test\n"));
    }
    for bad in [
        "spiffe://example.org/ap",
        "spiffe://example.org/api/x",
        "api.test",
    ] {
        let proxy = started(
            &authority,
            &endpoint,
            &format!("{NAMED}\nsan = [\"{bad}\"]"),
        );
        assert_eq!(error(&proxy), "tls_certificate_error", "{bad}");
    }
}

#[test]
fn requests_may_choose_the_name_and_connections_are_kept_apart() {
    let authority = Authority::new();
    let certified = authority.certify(&["a.test", "b.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let tls = "ca = \"ca.pem\"\nserver_name_from = \"host\"";
    let proxy = started(&authority, &endpoint, tls);
    let mut client = proxy.client();
    let mut ask = |host: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = client.response();
        let text = text(&response.body.data);
        (response.status, text)
    };
    for (host, connection) in [
        ("a.test", 0),
        ("B.test:80", 1),
        ("a.test", 0),
        ("b.test", 1),
    ] {
        let (status, told) = ask(host);
        assert_eq!(status, 200);
        let name = host.split(':').next().expect("a host").to_ascii_lowercase();
        assert!(told.contains(&format!("name={name}\n")), "{host}: {told}");
        let number = format!("connection={connection}\n");
        assert!(told.contains(&number), "{host}: {told}");
    }
    let (status, _) = ask("c.test");
    assert_eq!(status, 502);
}

#[test]
fn endpoints_that_ask_are_shown_a_certificate() {
    let authority = Authority::new();
    let clients = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let own = clients.certify(&["proxy.test"]);
    let shown = Shown {
        clients_of: Some(&clients),
        ..Shown::by(&certified)
    };
    let endpoint = TlsEndpoint::start(&shown);
    let mut files = ca(&authority);
    files.extend(own.files("own"));
    let with = format!("{NAMED}\ncertificate = {{ cert = \"own.pem\", key = \"own.key\" }}");
    let proxy = Evenkeel::start_among(&files, &config(endpoint.address(), &with, ""));
    assert!(told(&mut proxy.client()).contains("client=1\n"));
    let certificates = proxy.admin_json("/v1/certificates");
    assert_eq!(certificates[0]["upstream"], "api", "{certificates}");
    let expiry = "evenkeel_tls_cert_expiry_timestamp_seconds";
    assert!(proxy.metric(expiry, &["own.pem\""]) > 0);
    // TLS 1.3 tells it only after the handshake, in place of an answer.
    let proxy = started(&authority, &endpoint, NAMED);
    assert_eq!(error(&proxy), "tls_alert_received");
}

#[test]
fn large_bodies_pass_both_ways() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let shown = Shown {
            versions,
            ..Shown::by(&certified)
        };
        let endpoint = TlsEndpoint::start(&shown);
        let proxy = started(&authority, &endpoint, NAMED);
        let mut client = proxy.client();
        for _ in 0..3 {
            let response = client.get("/large");
            assert_eq!(response.body.data.len(), LARGE);
        }
        let body = "y".repeat(LARGE);
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
        client.send(format!("{head}{body}"));
        let response = client.response();
        let told = text(&response.body.data);
        assert!(told.contains(&format!("taken={LARGE}\n")), "{told}");
        assert_eq!(endpoint.connections(), 1);
    }
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let shown = Shown {
            versions,
            ..Shown::by(&certified)
        };
        let endpoint = TlsEndpoint::start(&shown);
        let written = config(endpoint.address(), NAMED, "max_idle_per_endpoint = 0");
        let proxy = Evenkeel::start_among(&ca(&authority), &written);
        let mut client = proxy.client();
        assert!(told(&mut client).contains("kind=Full"));
        // Tickets come behind the handshake, and are taken in by whoever reads then.
        let again = told(&mut client);
        assert!(again.contains("connection=1\n"), "{again}");
        assert!(again.contains("kind=Resumed\n"), "{again}");
    }
}

/// One limit for both: an endpoint that takes the connection and never shakes hands.
#[test]
fn a_silent_handshake_ends_with_the_time_to_connect() {
    let authority = Authority::new();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("a bound socket");
    let more = "timeouts.connect = \"200ms\"";
    let proxy = Evenkeel::start_among(&ca(&authority), &config(address, NAMED, more));
    let response = proxy.client().get("/");
    assert_eq!(response.status, 504, "{response:?}");
    let why = response.head.value("proxy-status").expect("why");
    assert!(why.contains("tls_handshake_timeout"), "{why}");
}

#[test]
fn checks_shake_hands_too() {
    let authority = Authority::new();
    let right = authority.certify(&["api.test"]);
    let wrong = authority.certify(&["shop.test"]);
    for probe in ["tcp = {}", "http = { path = \"/\" }"] {
        let well = TlsEndpoint::start(&Shown::by(&right));
        let ill = TlsEndpoint::start(&Shown::by(&wrong));
        let more = format!("health = {{ {probe}, interval = \"100ms\", timeout = \"100ms\" }}");
        let written = config(well.address(), NAMED, &more);
        let both = format!("\"{}\", \"{}\"", well.address(), ill.address());
        let written = written.replace(&format!("\"{}\"", well.address()), &both);
        let proxy = Evenkeel::start_among(&ca(&authority), &written);
        let down = eventually("it is found", || proxy.events("endpoint_down").pop());
        assert_eq!(down["endpoint"], ill.address().to_string());
        let mut client = proxy.client();
        for _ in 0..5 {
            assert!(told(&mut client).contains("name=api.test\n"));
        }
    }
}

#[test]
fn another_endpoint_is_tried_when_one_cannot_prove_it() {
    let authority = Authority::new();
    let right = authority.certify(&["api.test"]);
    let wrong = authority.certify(&["shop.test"]);
    let well = TlsEndpoint::start(&Shown::by(&right));
    let ill = TlsEndpoint::start(&Shown::by(&wrong));
    let written = config(ill.address(), NAMED, "balance = \"first_healthy\"");
    let both = format!("\"{}\", \"{}\"", ill.address(), well.address());
    let written = written.replace(&format!("\"{}\"", ill.address()), &both);
    let proxy = Evenkeel::start_among(&ca(&authority), &written);
    for _ in 0..5 {
        assert!(told(&mut proxy.client()).contains("name=api.test\n"));
    }
}

fn write(proxy: &Evenkeel, name: &str, content: &str) {
    fs::write(proxy.path(name), content).expect("a writable directory");
}

/// The connection that is kept was made for the old authority: it carries no request of the new.
#[test]
fn an_authority_is_replaced_without_a_reload() {
    let (old, new) = (Authority::new(), Authority::new());
    let certified = old.certify(&["api.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let proxy = started(&old, &endpoint, NAMED);
    let mut client = proxy.client();
    assert!(told(&mut client).contains("connection=0\n"));
    write(&proxy, "ca.pem", "nonsense");
    let rejected = eventually("it is seen", || proxy.events("cert_rejected").pop());
    assert_eq!(rejected["upstream"], "api");
    assert_eq!(client.get("/").status, 200);
    write(&proxy, "ca.pem", &new.pem());
    let reloaded = eventually("it is taken", || proxy.events("cert_reloaded").pop());
    assert_eq!(reloaded["upstream"], "api");
    assert_eq!(error(&proxy), "tls_certificate_error");
    write(&proxy, "ca.pem", &format!("{}{}", new.pem(), old.pem()));
    eventually("it is taken", || {
        proxy.events("cert_reloaded").get(1).cloned()
    });
    eventually("the backoff is over", || {
        (proxy.client().get("/").status == 200).then_some(())
    });
}

#[test]
fn a_reload_keeps_connections_unless_their_settings_change() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test", "b.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let keep = "timeouts.upstream_idle = \"1m\"";
    let written = config(endpoint.address(), NAMED, keep);
    let mut proxy = Evenkeel::start_among(&ca(&authority), &written);
    let mut client = proxy.client();
    assert!(told(&mut client).contains("connection=0\n"));
    proxy.reload(&format!("{written}# a comment\n"));
    assert!(told(&mut client).contains("connection=0\n"));
    proxy.reload(&written.replace("\"api.test\"", "\"b.test\""));
    let after = told(&mut client);
    assert!(after.contains("connection=1\nname=b.test\n"), "{after}");
    let plain = Endpoint::echo();
    let without = config(plain.address(), "", keep).replace("[upstream.api.tls]", "");
    proxy.reload(&without);
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn what_verifies_nothing_is_told_everywhere() {
    let authority = Authority::new();
    let certified = Authority::new().certify(&["whoever.test"]);
    let endpoint = TlsEndpoint::start(&Shown::by(&certified));
    let proxy = started(&authority, &endpoint, "insecure_skip_verify = true");
    assert_eq!(proxy.client().get("/").status, 200);
    let status = proxy.admin_json("/v1/status");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("takes any certificate"), "{warnings}");
    let log = proxy.log();
    assert!(
        log.contains("upstream api: `insecure_skip_verify` is set"),
        "{log}"
    );
    let checked = proxy.command(&["check"]);
    assert!(text(&checked.stderr).contains("W0324"), "{checked:?}");
}

#[test]
fn bytes_of_a_tcp_listener_are_carried_in_tls() {
    let authority = Authority::new();
    let certified = authority.certify(&["api.test"]);
    let shown = Shown {
        protocols: &[],
        ..Shown::by(&certified)
    };
    let endpoint = TlsEndpoint::start(&shown);
    let written = config(endpoint.address(), NAMED, "");
    let written = written.replace(
        "trusted_proxies = [\"127.0.0.1/32\"]",
        "protocols = [\"tcp\"]",
    );
    let proxy = Evenkeel::start_among(&ca(&authority), &written);
    let mut client = proxy.client();
    let told = told(&mut client);
    assert!(told.contains("name=api.test\nprotocol=\n"), "{told}");
    let response = client.get("/large");
    assert_eq!(response.body.data.len(), LARGE);
    // What came before an end without a word of TLS is not lost.
    client.send("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(response.body.data.len(), LARGE);
    assert!(client.is_closed());
}
