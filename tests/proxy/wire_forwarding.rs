//! What an intermediary takes out and puts in (RFC 9110 §7.6, RFC 7239).

use crate::cases::{Forwarded, assert_forwarded, get, line, ok};
use crate::support::client::Client;
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::message::Head;
use crate::support::port::Port;

const START: &str = "GET / HTTP/1.1";
const HOST: &str = "host: a";

/// What the endpoint gets for these bytes.
fn forward(bytes: impl AsRef<[u8]>) -> Request {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(bytes);
    assert_eq!(client.response().status, 200);
    endpoint.request()
}

/// The same, from a client that is a trusted proxy.
fn forward_trusted(bytes: impl AsRef<[u8]>) -> Request {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
    ));
    let mut client = proxy.client();
    client.send(bytes);
    assert_eq!(client.response().status, 200);
    endpoint.request()
}

/// RFC 9110 §5.3: the order of lines of one name counts. Spelling does not, but some endpoints look
/// at it, so it is left as it came.
#[test]
fn fields_keep_their_order_and_the_spelling_of_their_names() {
    let endpoint = Endpoint::answers(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX-oDD:padded \t\r\nSET-COOKIE: b=2\r\n\
         Content-Length: 0\r\nSet-cookie: c=3\r\n\r\n",
    );
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(
        "GET / HTTP/1.1\r\nX-First: 1\r\nHost: a\r\nACCEPT: x\r\nConnection: gone\r\n\
         x-List:1\r\nGone: g\r\nAccept:  y\t\r\nX-LIST: 2\r\nEmpty:\r\n\r\n",
    );
    let answered = spelt(&client.response().head);
    assert_eq!(
        answered[..5],
        [
            "Set-Cookie: a=1",
            "X-oDD: padded",
            "SET-COOKIE: b=2",
            "Content-Length: 0",
            "Set-cookie: c=3"
        ]
    );
    let asked = spelt(&endpoint.request().head);
    assert_eq!(
        asked[..7],
        [
            "X-First: 1",
            "Host: a",
            "ACCEPT: x",
            "x-List: 1",
            "Accept: y",
            "X-LIST: 2",
            "Empty: "
        ]
    );
}

fn spelt(head: &Head) -> Vec<String> {
    let lines = head.fields.iter();
    lines
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn what_connection_names_ends_with_it() {
    let cases: &[Forwarded<'_>] = &[
        (
            "keep-alive",
            get("Connection: keep-alive\r\nKeep-Alive: timeout=5"),
            &[START, HOST],
        ),
        (
            "Keep-Alive alone",
            get("Keep-Alive: timeout=5"),
            &[START, HOST],
        ),
        (
            "a named field",
            get("Connection: X-A\r\nX-A: b\r\nX-B: c"),
            &[START, HOST, "x-b: c"],
        ),
        (
            "a named field, in another case",
            get("Connection: x-A\r\nX-a: b"),
            &[START, HOST],
        ),
        (
            "a named field before it is named",
            get("X-A: b\r\nConnection: X-A"),
            &[START, HOST],
        ),
        (
            "several named fields",
            get("Connection: X-A, X-B\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3"),
            &[START, HOST, "x-c: 3"],
        ),
        (
            "a list over two lines",
            get("Connection: X-A\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 2"),
            &[START, HOST],
        ),
        (
            "a list with empty elements",
            get("Connection: , X-A,, \r\nX-A: 1"),
            &[START, HOST],
        ),
        (
            "a field named twice",
            get("Connection: X-A, X-A\r\nX-A: 1\r\nX-A: 2"),
            &[START, HOST],
        ),
        (
            "a name that is not there",
            get("Connection: X-A"),
            &[START, HOST],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn fields_of_the_connection_end_with_it() {
    let cases: &[Forwarded<'_>] = &[
        (
            "Proxy-Connection",
            get("Proxy-Connection: keep-alive"),
            &[START, HOST],
        ),
        ("TE", get("TE: gzip"), &[START, HOST]),
        (
            "TE that Connection names",
            get("Connection: TE\r\nTE: gzip;q=0.5"),
            &[START, HOST],
        ),
        (
            "Upgrade that Connection does not name",
            get("Upgrade: websocket"),
            &[START, HOST],
        ),
        (
            "h2c",
            get(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            ),
            &[START, HOST],
        ),
        (
            "HTTP2-Settings alone",
            get("HTTP2-Settings: AAMAAABkAAQAAP__"),
            &[START, HOST],
        ),
        (
            "Host is not of the connection",
            get("Connection: Host"),
            &[START, HOST],
        ),
        (
            "close and a name",
            get("Connection: close, X-A\r\nX-A: b"),
            &[START, HOST],
        ),
    ];
    assert_forwarded(cases);
}

#[test]
fn trailers_are_asked_for_only_by_name() {
    let request = forward(get("Connection: TE\r\nTE: trailers, gzip"));
    for element in request.head.list("te") {
        assert_eq!(element, "trailers");
        assert!(request.head.list("connection").contains(&"te".to_owned()));
    }
}

#[test]
fn an_own_field_cannot_be_removed_by_the_client() {
    let request = forward(get(
        "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via, X-Request-Id",
    ));
    assert_eq!(request.head.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.head.value("x-forwarded-proto"), Some("http"));
    assert_eq!(request.head.value("x-forwarded-host"), Some("a"));
    assert!(
        request
            .head
            .value("via")
            .is_some_and(|via| via.starts_with("1.1 evenkeel"))
    );
    assert!(
        request
            .head
            .value("x-request-id")
            .is_some_and(|id| id.len() >= 16)
    );
}

#[test]
fn an_untrusted_client_says_nothing_about_itself() {
    let request = forward(get(
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nX_Forwarded_For: 1.2.3.4\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
         X-Forwarded_Host: evil\r\nX-Real-IP: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\n\
         X-Request-Id: mine",
    ));
    let head = &request.head;
    assert_eq!(head.value("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.value("x-forwarded-proto"), Some("http"));
    assert_eq!(head.value("x-forwarded-host"), Some("a"));
    assert_eq!(head.value("forwarded"), None);
    assert_ne!(head.value("x-request-id"), Some("mine"));
    for (name, value) in &head.fields {
        let said = ["1.2.3.4", "5.6.7.8", "evil", "mine"]
            .iter()
            .any(|word| value.contains(word));
        assert!(!said, "{name}: {value}");
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let request = forward_trusted(get(
        "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www\r\n\
         X-Request-Id: 0123456789abcdef",
    ));
    assert_eq!(
        request.head.list("x-forwarded-for"),
        ["192.0.2.1", "127.0.0.1"]
    );
    assert_eq!(request.head.value("x-forwarded-proto"), Some("https"));
    assert_eq!(request.head.value("x-forwarded-host"), Some("www"));
    assert_eq!(request.head.value("x-request-id"), Some("0123456789abcdef"));
}

#[test]
fn forwarded_is_an_option() {
    let endpoint = Endpoint::echo();
    let address = endpoint.address();
    let proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\nforwarded = true\n"
    ));
    let mut client = proxy.client();
    client.send(get("Forwarded: for=1.2.3.4"));
    assert_eq!(client.response().status, 200);
    let request = endpoint.request();
    let forwarded = request
        .head
        .value("forwarded")
        .unwrap_or_default()
        .to_ascii_lowercase();
    assert!(!forwarded.contains("1.2.3.4"), "{forwarded}");
    let mut pairs: Vec<&str> = forwarded.split(';').map(str::trim).collect();
    pairs.sort_unstable();
    assert!(
        pairs.contains(&"for=127.0.0.1") && pairs.contains(&"proto=http"),
        "{forwarded}"
    );
}

#[test]
fn the_request_id_is_one_for_both_sides() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    let mut seen = Vec::new();
    for at in 0..10 {
        client.send(get(""));
        let response = client.response();
        let id = response.head.value("x-request-id").map(str::to_owned);
        assert_eq!(
            id.as_deref(),
            endpoint.requests()[at].head.value("x-request-id")
        );
        assert!(id.is_some() && !seen.contains(&id), "{id:?} again");
        seen.push(id);
    }
}

#[test]
fn via_names_every_hop() {
    let request = forward(get("Via: 1.0 fred\r\nVia: 1.1 p.example.net (Apache)"));
    let via = request.head.values("via").join(", ");
    // Behind the name stands which instance it was, as a comment.
    assert!(
        via.starts_with("1.0 fred, 1.1 p.example.net (Apache), 1.1 evenkeel"),
        "{via}"
    );
    let request = forward("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let via = request.head.value("via").unwrap_or_default();
    assert!(via.starts_with("1.0 evenkeel"), "{via}");
    assert_eq!(request.head.start, "GET / HTTP/1.1");
}

#[test]
fn a_proxy_that_asks_itself_notices() {
    // Without detection, one request would take every connection that there is.
    let proxy = Evenkeel::start("[listener.web]\nbind = \"@web\"\nto = [\"@web\"]\n");
    let mut client = proxy.client();
    client.send(get(""));
    let response = client.response();
    assert!([502, 508].contains(&response.status), "{response:?}");
    let status = response.head.value("proxy-status").unwrap_or_default();
    assert!(status.contains("proxy_loop_detected"), "{status}");
}

#[test]
fn max_forwards_counts_hops() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("OPTIONS /0 HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert!(endpoint.requests().is_empty());
    for (sent, meant) in [("1", "0"), ("10", "9"), ("010", "9")] {
        let mut client = proxy.client();
        client.send(format!(
            "OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {sent}\r\n\r\n"
        ));
        assert_eq!(client.response().status, 200);
        let requests = endpoint.requests();
        let last = requests.last().expect("it was forwarded");
        assert_eq!(last.head.value("max-forwards"), Some(meant));
    }
    // It concerns OPTIONS and TRACE only.
    let request = forward(get("Max-Forwards: 0"));
    assert_eq!(request.head.value("max-forwards"), Some("0"));
}

#[test]
fn trace_is_not_answered() {
    for line in ["TRACE / HTTP/1.1", "TRACE * HTTP/1.1"] {
        let endpoint = Endpoint::echo();
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(format!(
            "{line}\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 3\r\n\r\n"
        ));
        let response = client.response();
        // TRACE has no asterisk form, so that may be called malformed too.
        let allowed: &[u16] = if line.contains('*') {
            &[400, 405, 501]
        } else {
            &[405, 501]
        };
        assert!(allowed.contains(&response.status), "{response:?}");
        assert!(!response.body.text().contains("secret"));
        assert!(endpoint.requests().is_empty());
        if response.status == 405 {
            assert!(
                response.head.value("allow").is_some(),
                "RFC 9110 §15.5.6: {response:?}"
            );
        }
    }
}

#[test]
fn connect_is_refused_unless_configured() {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let response = client.response();
    assert!([405, 501].contains(&response.status), "{response:?}");
    assert!(endpoint.requests().is_empty());
    assert_eq!(endpoint.connections(), 0);
}

/// RFC 9931: what follows was meant for the tunnel. A client that did not wait for it would have
/// its bytes, which may be another's, taken for requests.
#[test]
fn nothing_behind_a_refused_connect_is_read_as_a_request() {
    let endpoint = Endpoint::echo();
    let refused = "[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n";
    let allowed = "[listener.web]\nbind = \"@web\"\n[route.tunnel]\nmethods = [\"CONNECT\"]\n\
                   connect = true\nupstream = \"gone\"\n[route.other]\nupstream = \"app\"\n\
                   [upstream.gone]\nendpoints = [\"127.0.0.1:1\"]\n";
    for (routes, status) in [(refused, 405), (allowed, 502)] {
        let address = endpoint.address();
        let proxy = Evenkeel::start(&format!(
            "{routes}[upstream.app]\nendpoints = [\"{address}\"]\n"
        ));
        for parts in [1, 2] {
            let mut client = proxy.client();
            let connect = "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n";
            let behind = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
            if parts == 1 {
                client.send(format!("{connect}{behind}"));
            } else {
                client.send(connect);
            }
            let response = client.response();
            assert_eq!(response.status, status, "{response:?}");
            assert_eq!(response.head.list("connection"), ["close"]);
            if parts == 2 {
                client.send(behind);
            }
            assert!(client.is_closed(), "{status} in {parts}");
        }
        assert!(endpoint.requests().is_empty(), "{status}");
    }
}

#[test]
fn a_host_is_made_for_http_1_0() {
    let request = forward("GET / HTTP/1.0\r\n\r\n");
    let hosts = request.head.values("host");
    let [host] = hosts[..] else {
        panic!("one: {hosts:?}");
    };
    // The address that it came to, since an empty one is refused by many.
    let address: std::net::SocketAddr = host.parse().expect(host);
    assert!(address.ip().is_loopback() && address.port() != 0, "{host}");
    assert_eq!(request.head.value("x-forwarded-host"), None);
}

#[test]
fn the_host_that_is_made_is_not_the_one_that_is_listened_on_and_no_client_sees_it() {
    let endpoint = Endpoint::echo();
    let reserved = Port::reserve();
    let port = reserved.address().port();
    let _proxy = Evenkeel::start(&format!(
        "[listener.web]\nbind = \":{port}\"\n\
         [route.moved]\npath = \"/moved\"\nredirect = {{ scheme = \"https\" }}\n\
         [route.app]\nupstream = \"app\"\n[upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ));
    let ask = |path: &str| {
        let mut client = Client::connect(std::net::SocketAddr::from(([127, 0, 0, 1], port)));
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n"));
        client.response()
    };
    assert_eq!(ask("/").status, 200);
    let requests = endpoint.requests();
    assert_eq!(
        requests[0].head.value("host"),
        Some(&*format!("127.0.0.1:{port}"))
    );
    let refused = ask("/moved");
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(refused.head.value("location"), None);
}

#[test]
fn fields_of_a_response_end_with_its_connection() {
    let endpoint = Endpoint::answers(ok(
        "Connection: X-A, keep-alive\r\nX-A: b\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
         Upgrade: h2c\r\nTE: trailers\r\nX-B: c\r\nSet-Cookie: d=1\r\nSet-Cookie: e=2\r\n\
         Server: origin\r\nX-C: caf\u{e9}\r\nContent-Length: 2",
        "ok",
    ));
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(get(""));
    let head = client.response().head;
    for name in ["x-a", "keep-alive", "proxy-connection", "upgrade", "te"] {
        assert_eq!(head.values(name), Vec::<&str>::new(), "{name}");
    }
    assert!(!head.list("connection").contains(&"x-a".to_owned()));
    assert_eq!(head.value("x-b"), Some("c"));
    assert_eq!(head.values("set-cookie"), ["d=1", "e=2"]);
    assert_eq!(head.value("server"), Some("origin"));
    assert_eq!(head.value("x-c"), Some("caf\u{c3}\u{a9}"));
}

#[test]
fn a_response_has_a_date() {
    for (lines, date) in [
        ("Content-Length: 0", None),
        (
            "Date: Tue, 15 Nov 1994 08:12:31 GMT\r\nContent-Length: 0",
            Some("Tue, 15 Nov 1994 08:12:31 GMT"),
        ),
    ] {
        let endpoint = Endpoint::answers(ok(lines, ""));
        let proxy = Evenkeel::forwarding_to(&endpoint);
        let mut client = proxy.client();
        client.send(line("GET / HTTP/1.1"));
        let head = client.response().head;
        let got = head.value("date").expect("RFC 9110 §6.6.1");
        assert!(got.ends_with(" GMT") && got.len() == 29, "{got}");
        assert!(date.is_none_or(|date| date == got), "{got}");
    }
}
