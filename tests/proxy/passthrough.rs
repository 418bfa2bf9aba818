//! Connections that are passed through by the name that TLS begins with, beside those whose TLS
//! ends here.

use std::net::SocketAddr;

use rustix::process::Signal;
use rustls::AlertDescription;

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::openssl::OpenSsl;
use crate::support::port::Port;
use crate::support::tls::{Authority, Hello, alert, listener};

/// The listener `web` for `own.test`, whose endpoint says `own`, with these routes.
fn start(authority: &Authority, own: &Endpoint, routes: &str) -> Evenkeel {
    let files = authority.certify(&["own.test"]).files("a");
    Evenkeel::start_among(&files, &config(own, routes))
}

fn config(own: &Endpoint, routes: &str) -> String {
    format!("{}{routes}", listener(own.address(), &["a"], ""))
}

/// A route of `web`, with its upstream.
fn route(name: &str, conditions: &str, endpoints: &[SocketAddr]) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|one| format!("\"{one}\"")).collect();
    let endpoints = endpoints.join(", ");
    format!(
        "[route.{name}]\nlistener = \"web\"\n{conditions}\nupstream = \"{name}\"\n\
         [upstream.{name}]\nbalance = \"first_healthy\"\nendpoints = [{endpoints}]\n"
    )
}

/// Asks for a name and says what the body was.
fn body(authority: &Authority, name: &str, address: SocketAddr) -> String {
    let mut client = Hello::to(name, authority).begin(address);
    client.get("/").body.text()
}

fn hellos(proxy: &Evenkeel, listener: &str, result: &str) -> u64 {
    let labels = [
        format!("listener=\"{listener}\""),
        format!("result=\"{result}\""),
    ];
    proxy.metric(
        "evenkeel_tls_hellos_total",
        &labels.each_ref().map(String::as_str),
    )
}

#[test]
fn names_are_passed_through_beside_those_that_end_here() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test", "a.in.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let own = Endpoint::says("own");
    let conditions = "server_name = [\"DB.test\", \"*.in.test\"]";
    let proxy = start(&authority, &own, &route("db", conditions, &[db.address()]));
    let address = proxy.address("web");
    for name in ["db.test", "a.in.test"] {
        let mut client = Hello::to(name, &authority).begin(address);
        assert!(client.was_shown(&certified), "{name}");
        assert_eq!(client.get("/").body.text(), "db", "{name}");
        client.finish();
        assert!(client.says_goodbye());
    }
    let hello = Hello::to("own.test", &authority);
    for hello in [
        hello.clone(),
        Hello {
            sends_name: false,
            ..hello
        },
    ] {
        let mut client = hello.begin(address);
        assert!(!client.was_shown(&certified));
        assert_eq!(client.get("/").body.text(), "own");
    }
    // A name that nobody has is no other's.
    let other = Hello {
        takes_any_name: true,
        ..Hello::to("in.test", &authority)
    };
    assert_eq!(other.begin(address).get("/").body.text(), "own");
    assert_eq!(db.connections(), 2);
    assert_eq!(hellos(&proxy, "web", "route"), 2);
    assert_eq!(hellos(&proxy, "web", "default"), 3);
    let ok = proxy.metric("evenkeel_tls_handshakes_total", &["result=\"ok\""]);
    assert_eq!(ok, 3);
    let sessions = ["listener=\"web\"", "upstream=\"db\"", "result=\"ok\""];
    eventually("the sessions are counted", || {
        (proxy.metric("evenkeel_l4_sessions_total", &sessions) == 2).then_some(())
    });
    let lines = proxy.access_lines(5);
    let session = lines.iter().find(|line| line["route"] == "db");
    let session = session.expect("a line of a session");
    assert_eq!(session["server.address"], "db.test");
    assert_eq!(session["url.scheme"], "tcp");
    assert_eq!(session["upstream"], "db");
    assert_eq!(session["end"], "ok");
}

#[test]
fn protocols_choose() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let [h2, h1, other] = [("h2", "two"), ("http/1.1", "one"), ("x", "other")]
        .map(|(protocol, body)| Endpoint::says_within_tls(&certified, &[protocol], body));
    let routes = [
        route(
            "h2",
            "server_name = [\"db.test\"]\nalpn = [\"h2\"]",
            &[h2.address()],
        ),
        route(
            "h1",
            "server_name = [\"db.test\"]\nalpn = [\"http/1.1\"]",
            &[h1.address()],
        ),
        route("other", "server_name = [\"*.test\"]", &[other.address()]),
    ];
    let own = Endpoint::says("own");
    let proxy = start(&authority, &own, &routes.concat());
    for (offered, chosen, body) in [
        (&["h2", "http/1.1"][..], Some("h2"), "two"),
        (&["http/1.1", "h2"], Some("http/1.1"), "one"),
        (&["spdy", "http/1.1"], Some("http/1.1"), "one"),
        (&["x"], Some("x"), "other"),
        (&[], None, "other"),
    ] {
        let hello = Hello {
            protocols: offered,
            ..Hello::to("db.test", &authority)
        };
        let mut client = hello.begin(proxy.address("web"));
        assert_eq!(client.protocol().as_deref(), chosen, "{offered:?}");
        assert_eq!(client.get("/").body.text(), body, "{offered:?}");
    }
}

/// A listener `raw` that relays, with these lines, and a route for `db.test` at it.
fn relaying(endpoint: &Endpoint, lines: &str) -> String {
    let route = route("db", "server_name = [\"db.test\"]", &[endpoint.address()]);
    let route = route.replace("\"web\"", "\"raw\"");
    format!("[listener.raw]\nbind = \"@raw\"\nprotocols = [\"tcp\"]\n{lines}\n{route}")
}

#[test]
fn a_relay_has_names_too() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let other = authority.certify(&["other.test"]);
    let rest = Endpoint::says_within_tls(&other, &[], "rest");
    let proxy = Evenkeel::start(&relaying(&db, &format!("to = [\"{}\"]", rest.address())));
    let address = proxy.address("raw");
    assert_eq!(body(&authority, "db.test", address), "db");
    assert_eq!(body(&authority, "other.test", address), "rest");
    // What is no TLS is known by its first byte.
    let rest = Endpoint::sends_back();
    let proxy = Evenkeel::start(&relaying(&db, &format!("to = [\"{}\"]", rest.address())));
    let mut client = Client::connect(proxy.address("raw"));
    for bytes in ["E", "HLO\r\n"] {
        client.send(bytes);
        assert_eq!(client.bytes(bytes.len()), bytes.as_bytes());
    }
    assert_eq!(hellos(&proxy, "raw", "default"), 1);
    // What is half TLS has no name, and whoever has it is told so.
    let mut malformed = Client::connect(proxy.address("raw"));
    malformed.send([22, 3, 1, 0, 0]);
    assert_eq!(malformed.read_to_end(), [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(hellos(&proxy, "raw", "malformed"), 1);
    assert_eq!(rest.connections(), 1);
}

#[test]
fn a_relay_may_have_nothing_but_names() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let proxy = Evenkeel::start(&relaying(&db, ""));
    let address = proxy.address("raw");
    assert_eq!(body(&authority, "db.test", address), "db");
    let refusal = Hello::to("other.test", &authority).refusal(address);
    assert_eq!(alert(&refusal), Some(AlertDescription::UnrecognisedName));
    let mut plain = Client::connect(address);
    plain.send("EHLO\r\n");
    assert!(plain.is_closed());
    assert_eq!(hellos(&proxy, "raw", "no_route"), 2);
    assert_eq!(hellos(&proxy, "raw", "route"), 1);
    assert_eq!(db.connections(), 1);
}

#[test]
fn another_endpoint_gets_the_hello() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let (down, up) = (
        Endpoint::refuses(),
        Endpoint::says_within_tls(&certified, &[], "up"),
    );
    let own = Endpoint::says("own");
    let endpoints = [down.address(), up.address()];
    let proxy = start(
        &authority,
        &own,
        &route("db", "server_name = [\"db.test\"]", &endpoints),
    );
    assert_eq!(body(&authority, "db.test", proxy.address("web")), "up");
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(line["attempts"], 2, "{line}");
    // Without any, the connection ends and nobody else gets it.
    let proxy = start(
        &authority,
        &own,
        &route("db", "server_name = [\"db.test\"]", &[down.address()]),
    );
    Hello::to("db.test", &authority).refusal(proxy.address("web"));
    assert_eq!(own.connections(), 0);
}

#[test]
fn a_reload_leaves_sessions_and_changes_routes() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let [old, new] = ["old", "new"].map(|body| Endpoint::says_within_tls(&certified, &[], body));
    let own = Endpoint::says("own");
    let names = "server_name = [\"db.test\"]";
    let mut proxy = start(&authority, &own, &route("db", names, &[old.address()]));
    let address = proxy.address("web");
    let mut open = Hello::to("db.test", &authority).begin(address);
    assert_eq!(open.get("/").body.text(), "old");
    proxy.reload(&config(&own, &route("db", names, &[new.address()])));
    assert_eq!(body(&authority, "db.test", address), "new");
    assert_eq!(open.get("/").body.text(), "old");
    // Without its routes a listener ends everything itself.
    proxy.reload(&config(&own, ""));
    let ends_here = Hello {
        takes_any_name: true,
        ..Hello::to("db.test", &authority)
    };
    assert_eq!(ends_here.begin(address).get("/").body.text(), "own");
    assert_eq!(open.get("/").body.text(), "old");
}

#[test]
fn a_drain_waits_for_sessions() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let db = Endpoint::says_within_tls(&certified, &[], "db");
    let own = Endpoint::says("own");
    let routes = route("db", "server_name = [\"db.test\"]", &[db.address()]);
    let shutdown = "[shutdown]\ngrace = \"0s\"\ndrain = \"20s\"\n";
    let mut proxy = start(&authority, &own, &format!("{routes}{shutdown}"));
    let mut open = Hello::to("db.test", &authority).begin(proxy.address("web"));
    proxy.signal(Signal::TERM);
    eventually("nobody is let in any more", || {
        std::net::TcpStream::connect(proxy.address("web")).err()
    });
    assert_eq!(open.get("/").body.text(), "db");
    open.finish();
    assert!(open.says_goodbye());
    assert!(proxy.wait_for_exit().success());
}

#[test]
fn what_becomes_of_a_request_is_told() {
    let authority = Authority::new();
    let (own, db) = (Endpoint::says("own"), Endpoint::sends_back());
    let names = "server_name = [\"db.test\"]";
    let proxy = start(&authority, &own, &route("db", names, &[db.address()]));
    for running in [&[][..], &["--running"]] {
        let ask = |url: &str| {
            let output = proxy.command(&[&["route", "GET", url][..], running].concat());
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let told = ask("https://DB.test/");
        assert!(told.contains("route db at listener web"), "{told}");
        assert!(told.contains("passed through unread"), "{told}");
        assert!(told.contains("goes to upstream db"), "{told}");
        let told = ask("https://own.test/");
        assert!(told.contains("the upstream of listener web"), "{told}");
        assert!(
            told.contains("`db.test` does not match `own.test`"),
            "{told}"
        );
    }
    let status = proxy.command(&["status"]);
    assert!(status.status.success(), "{status:?}");
    let routes = proxy.admin_json("/v1/status")["routes"].clone();
    let routes = routes.as_array().expect("a list").clone();
    let route = routes.iter().find(|route| route["name"] == "db");
    let route = route.expect("the route is listed");
    assert_eq!(route["action"], "pass_through");
    assert_eq!(route["upstreams"][0], "db");
}

#[test]
fn openssl_ends_it() {
    let authority = Authority::new();
    let certified = authority.certify(&["db.test"]);
    let files = Files::new(&[("db.pem", &certified.cert), ("db.key", &certified.key)]);
    let port = Port::reserve();
    let Some(_openssl) = OpenSsl::start(&files, &port, &[]) else {
        return;
    };
    let own = Endpoint::says("own");
    let routes = route("db", "server_name = [\"db.test\"]", &[port.address()]);
    let proxy = start(&authority, &own, &routes);
    eventually("OpenSSL listens", || {
        std::net::TcpStream::connect(port.address()).ok()
    });
    let mut client = Hello::to("db.test", &authority).begin(proxy.address("web"));
    assert!(client.was_shown(&certified));
    client.send("GET / HTTP/1.0\r\n\r\n");
    let said = String::from_utf8_lossy(&client.read_to_end()).into_owned();
    assert!(said.contains("s_server"), "{said}");
}
