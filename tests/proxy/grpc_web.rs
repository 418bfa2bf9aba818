//! gRPC-Web (gRPC's `PROTOCOL-WEB.md`): ordinary HTTP whose trailers are a part of the body. It
//! passes as it is, over either version on either side, message by message.

use std::io::Write;

use crate::support::client::connected;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::H2;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{self, Frame};
use crate::support::message::{Framing, Wire};

/// A message of one field, a pause, and the trailers behind it, as bytes of the body.
const ASKED: &[u8] = b"\0\0\0\0\x03\x0a\x01a";
const FIRST: &[u8] = b"\0\0\0\0\x03\x0a\x01b";
const TRAILERS: &[u8] = b"\x80\0\0\0\x20grpc-status:5\r\ngrpc-message:no\r\n";

/// The same as characters, padded piece by piece.
const ASKED_TEXT: &[u8] = b"AAAAAAMKAWE=";
const FIRST_TEXT: &[u8] = b"AAAAAAMKAWI=";
const TRAILERS_TEXT: &[u8] = b"gAAAACBncnBjLXN0YXR1czo1DQpncnBjLW1lc3NhZ2U6bm8NCg==";

/// What one content type says, and how.
struct Kind {
    name: &'static str,
    asked: &'static [u8],
    first: &'static [u8],
    trailers: &'static [u8],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "application/grpc-web+proto",
        asked: ASKED,
        first: FIRST,
        trailers: TRAILERS,
    },
    Kind {
        name: "application/grpc-web-text+proto",
        asked: ASKED_TEXT,
        first: FIRST_TEXT,
        trailers: TRAILERS_TEXT,
    },
];

/// An endpoint of either version, which sends its trailers when it is told to.
enum Server {
    Old(Endpoint),
    New(H2Endpoint),
}

impl Server {
    fn old(kind: &'static Kind) -> Self {
        let chunk = |bytes: &[u8]| {
            let length = format!("{:x}\r\n", bytes.len());
            [length.as_bytes(), bytes, b"\r\n"].concat()
        };
        Self::Old(Endpoint::start(move |peer| {
            while peer.request().is_some() {
                peer.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
                    kind.name
                ));
                peer.send(chunk(kind.first));
                peer.wait_for_release();
                peer.send([&chunk(kind.trailers)[..], b"0\r\n\r\n"].concat());
            }
        }))
    }

    fn new(kind: &'static Kind) -> Self {
        Self::New(H2Endpoint::start(&[], move |peer| {
            while let Some(request) = peer.request() {
                let fields = [("content-type", kind.name)];
                peer.begin_answer(request.id, 200, &fields, false);
                peer.send(&Frame::data(request.id, kind.first, false));
                peer.wait_for_release();
                peer.send(&Frame::data(request.id, kind.trailers, true));
            }
        }))
    }

    fn release(&self) {
        match self {
            Self::Old(endpoint) => endpoint.release(""),
            Self::New(endpoint) => endpoint.release(),
        }
    }

    fn proxy(&self) -> Evenkeel {
        let (address, protocol) = match self {
            Self::Old(endpoint) => (endpoint.address(), ""),
            Self::New(endpoint) => (endpoint.address(), "protocol = \"h2c\""),
        };
        Evenkeel::start(&format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
             upstream = \"app\"\n[upstream.app]\n{protocol}\nendpoints = [\"{address}\"]\n"
        ))
    }

    /// What it got: `Content-Type`, `X-Grpc-Web`, `TE` and the body.
    fn asked(&self) -> (Vec<String>, Vec<u8>) {
        let names = ["content-type", "x-grpc-web", "te"];
        match self {
            Self::Old(endpoint) => {
                let request = endpoint.requests().pop().expect("a request");
                let values = names.map(|name| request.head.value(name).unwrap_or("").to_owned());
                (values.to_vec(), request.body.data)
            }
            Self::New(endpoint) => {
                let request = endpoint.requests().pop().expect("a request");
                let values = names.map(|name| request.field(name).unwrap_or("").to_owned());
                (values.to_vec(), request.body)
            }
        }
    }
}

/// Asks in HTTP/1.1, as browsers do.
fn ask_old(proxy: &Evenkeel, server: &Server, kind: &Kind) {
    let mut client = Wire::new(connected(proxy.address("web")));
    let head = format!(
        "POST /shop.v1.Orders/Get HTTP/1.1\r\nHost: a\r\nContent-Type: {}\r\nX-Grpc-Web: 1\r\n\
         Content-Length: {}\r\n\r\n",
        kind.name,
        kind.asked.len()
    );
    let request = [head.as_bytes(), kind.asked].concat();
    client.source_mut().write_all(&request).expect("sent");
    let head = client.head().expect("a head");
    assert_eq!(
        (head.status(), head.value("content-type")),
        (Ok(200), Some(kind.name))
    );
    assert_eq!(head.response_framing("POST"), Ok(Framing::Chunked));
    // Before the endpoint says more.
    assert_eq!(client.chunk().expect("a message"), kind.first);
    server.release();
    assert_eq!(client.chunk().expect("the rest"), kind.trailers);
    assert_eq!(client.chunk(), Ok(Vec::new()));
}

/// Asks in HTTP/2.
fn ask_new(proxy: &Evenkeel, server: &Server, kind: &Kind) {
    let mut client = H2::connect(proxy.address("web"));
    let fields = [("content-type", kind.name), ("x-grpc-web", "1")];
    let id = client.open(&request_with("POST", "/shop.v1.Orders/Get", &fields), false);
    client.send(&Frame::data(id, kind.asked, true));
    let head = client.expect(frame::kind::HEADERS, id);
    let field = |name: &str| crate::support::h2::value(&head.fields, name);
    assert_eq!(field(":status"), Some("200"));
    assert_eq!(field("content-type"), Some(kind.name));
    assert_eq!(field("grpc-status"), None);
    assert_eq!(client.expect(frame::kind::DATA, id).payload, kind.first);
    server.release();
    let rest = client.message(id);
    assert_eq!(rest.body, kind.trailers);
    assert!(rest.trailers.is_empty());
}

#[test]
fn it_passes_as_it_is_over_either_version() {
    for kind in &KINDS {
        for server in [Server::old(kind), Server::new(kind)] {
            let proxy = server.proxy();
            for ask in [ask_old, ask_new] {
                ask(&proxy, &server, kind);
                let (fields, body) = server.asked();
                assert_eq!(fields, [kind.name, "1", ""]);
                assert_eq!(body, kind.asked);
            }
            // It is no call of gRPC, whose statuses stand where we look for them.
            assert_eq!(proxy.metric("evenkeel_grpc_requests_total", &[]), 0);
            let lines = proxy.access_lines(2);
            assert!(
                lines
                    .iter()
                    .all(|line| line["rpc.grpc.status_code"].is_null())
            );
        }
    }
}

/// Clients of it read statuses of HTTP.
#[test]
fn our_own_answers_are_those_of_http() {
    let server = Server::new(&KINDS[0]);
    let proxy = server.proxy();
    drop(server);
    let mut client = H2::connect(proxy.address("web"));
    for kind in &KINDS {
        let fields = [("content-type", kind.name), ("grpc-timeout", "1S")];
        let id = client.open(&request_with("POST", "/shop.v1.Orders/Get", &fields), true);
        let answer = client.message(id);
        assert_eq!((answer.status, answer.field("grpc-status")), (502, None));
    }
}
