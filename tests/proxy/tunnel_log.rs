//! The line of the access log that a TCP session and a WebSocket leave: at their end, with what
//! they carried and why they ended.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cases::get;
use crate::support::client::Client;
use crate::support::clock::pause;
use crate::support::endpoint::{Endpoint, Peer};
use crate::support::evenkeel::Evenkeel;

const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";

const GRANT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// What is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    WebSocket,
}

/// Sends back what comes, until it is told to break off.
fn talk(peer: &mut Peer) {
    while let Some(bytes) = peer.some() {
        if bytes == b"break" {
            return peer.reset();
        }
        peer.send(bytes);
    }
}

impl Kind {
    const BOTH: [Self; 2] = [Self::Tcp, Self::WebSocket];

    fn endpoint(self) -> Endpoint {
        Endpoint::start(move |peer| {
            if self == Self::Tcp {
                talk(peer);
            } else if peer.request().is_some() {
                peer.send(GRANT);
                talk(peer);
            }
        })
    }

    /// A proxy with these lines at its upstream.
    fn proxy(self, endpoint: &Endpoint, lines: &str) -> Evenkeel {
        let protocol = match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "http/1.1",
        };
        Evenkeel::start(&format!(
            "[shutdown]\ngrace = \"0s\"\ndrain = \"100ms\"\n\
             [listener.web]\nbind = \"@web\"\nprotocols = [\"{protocol}\"]\nupstream = \"app\"\n\
             [upstream.app]\nendpoints = [\"{}\"]\n{lines}\n",
            endpoint.address()
        ))
    }

    /// A client of which five bytes have gone there and back.
    fn client(self, proxy: &Evenkeel) -> Client {
        let mut client = proxy.client();
        if self == Self::WebSocket {
            client.send(get(ASK));
            let response = client.response();
            assert_eq!(response.status, 101);
        }
        client.send("hello");
        assert_eq!(client.bytes(5), b"hello");
        client
    }
}

/// What the only line says of the end, after that is checked which all say.
fn told(kind: Kind, proxy: &Evenkeel, endpoint: &Endpoint) -> Value {
    let line = proxy.access_lines(1).remove(0);
    assert_eq!(line["upstream"], "app", "{line}");
    assert_eq!(line["endpoint"], endpoint.address().to_string(), "{line}");
    let (scheme, status) = match kind {
        Kind::Tcp => ("tcp", Value::Null),
        Kind::WebSocket => ("http", 101.into()),
    };
    assert_eq!(line["url.scheme"], scheme, "{line}");
    assert_eq!(line["http.response.status_code"], status, "{line}");
    assert!(line["request_id"].is_string(), "{line}");
    assert!(line["total_s"].as_f64() >= Some(0.2), "{line}");
    json!([
        line["end"],
        line["error.type"],
        line["http.request.body.size"],
        line["http.response.body.size"]
    ])
}

/// What a tunnel's line says when this has been done.
fn after(kind: Kind, lines: &str, act: impl FnOnce(&mut Evenkeel, Client)) -> Value {
    let endpoint = kind.endpoint();
    let mut proxy = kind.proxy(&endpoint, lines);
    let client = kind.client(&proxy);
    pause(Duration::from_millis(250));
    act(&mut proxy, client);
    told(kind, &proxy, &endpoint)
}

#[test]
fn an_orderly_end() {
    for kind in Kind::BOTH {
        let told = after(kind, "", |_, mut client| {
            client.send("good bye").finish();
            assert_eq!(client.read_to_end(), b"good bye");
        });
        assert_eq!(told, json!(["ok", null, 13, 13]), "{kind:?}");
    }
}

#[test]
fn a_side_that_breaks_off() {
    for kind in Kind::BOTH {
        let told = after(kind, "", |_, client| client.abort());
        assert_eq!(told, json!(["client_abort", null, 5, 5]), "{kind:?}");
        let told = after(kind, "", |_, mut client| {
            client.send("break");
            assert!(client.is_reset());
        });
        let expected = json!(["endpoint_reset", "connection_terminated", 10, 5]);
        assert_eq!(told, expected, "{kind:?}");
    }
}

#[test]
fn a_limit_of_time() {
    for kind in Kind::BOTH {
        for (limit, error) in [
            ("tunnel_idle", "tunnel_idle_timeout"),
            ("tunnel_max_age", "tunnel_max_age"),
        ] {
            let limit = format!("timeouts = {{ {limit} = \"600ms\" }}");
            let told = after(kind, &limit, |_, mut client| assert!(client.is_reset()));
            assert_eq!(told, json!(["timeout", error, 5, 5]), "{kind:?} {limit}");
        }
    }
}

#[test]
fn a_drain_that_is_over() {
    for kind in Kind::BOTH {
        let told = after(kind, "", |proxy, mut client| {
            proxy.signal(Signal::TERM);
            assert!(client.is_reset());
            assert!(proxy.wait_for_exit().success());
        });
        assert_eq!(told, json!(["shed", null, 5, 5]), "{kind:?}");
    }
}

/// The request is one, and so is its line.
#[test]
fn a_websocket_has_one_line_with_all_of_its_request() {
    let kind = Kind::WebSocket;
    let endpoint = kind.endpoint();
    let proxy = kind.proxy(&endpoint, "");
    let mut client = proxy.client();
    client.send(format!(
        "GET /chat?room=1 HTTP/1.1\r\nHost: a.test\r\nUser-Agent: it\r\n{ASK}\r\n\r\n"
    ));
    let response = client.response();
    client.send("hello");
    assert_eq!(client.bytes(5), b"hello");
    client.finish();
    assert!(client.is_closed());
    // Its line would be behind another one of the same request.
    kind.client(&proxy).abort();
    let lines = proxy.access_lines(2);
    let (line, other) = (&lines[0], &lines[1]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_ne!(line["request_id"], other["request_id"]);
    for (name, value) in [
        (
            "request_id",
            response.head.value("x-request-id").unwrap_or_default(),
        ),
        ("http.request.method", "GET"),
        ("server.address", "a.test"),
        ("url.path", "/chat"),
        ("user_agent.original", "it"),
        ("network.protocol.version", "1.1"),
        ("client.address", "127.0.0.1"),
        ("listener", "web"),
        ("end", "ok"),
    ] {
        assert_eq!(line[name], value, "{name} in {line}");
    }
    assert_eq!(line["attempts"], 1);
    assert_eq!(line["url.query"], Value::Null, "not asked for");
    for name in ["connect_s", "first_byte_s", "total_s", "overhead_s"] {
        assert!(line[name].is_f64(), "{name} in {line}");
    }
}
