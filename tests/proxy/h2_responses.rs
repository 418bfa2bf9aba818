//! Responses across versions: what an endpoint of HTTP/2 may not say becomes a 502 or a body that
//! looks cut off, to clients of either version; and so does, to clients of HTTP/2, what an endpoint
//! of HTTP/1.1 may not say.

use crate::support::client::Client;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::request;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{Frame, code, kind};
use crate::support::h2::{H2, StreamEnd};
use crate::support::look::cause;
use crate::support::message::Broken;

type Bytes = &'static [u8];

/// A case's name, and what its endpoint sends on the stream of this number.
type Said = (&'static str, fn(u32) -> Vec<Frame>);

/// An endpoint that answers `/N` with the case of that number, and all others well.
fn saying(cases: &'static [Said]) -> H2Endpoint {
    H2Endpoint::start(&[], |peer| {
        while let Some(request) = peer.request() {
            let number = request
                .field(":path")
                .and_then(|path| path[1..].parse().ok());
            if let Some((_, say)) = number.and_then(|number: usize| cases.get(number)) {
                peer.send_all(&say(request.id));
            } else {
                peer.answer(request.id, 200, &[], "well");
            }
        }
    })
}

type Doubtful = (&'static str, &'static str, Option<&'static str>);

fn before(address: std::net::SocketAddr, protocol: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         [route.all]\nupstream = \"app\"\nretry = {{ attempts = 1 }}\n\
         [upstream.app]\nprotocol = \"{protocol}\"\nendpoints = [\"{address}\"]\n"
    ))
}

fn head(id: u32, fields: &[(Bytes, Bytes)]) -> Vec<Frame> {
    vec![Frame::headers(id, fields, true)]
}

/// A head of status 200 with this field, and no body.
fn with(id: u32, name: Bytes, value: Bytes) -> Vec<Frame> {
    head(id, &[(b":status", b"200"), (name, value)])
}

/// A head of status 200 with this length if any, then these pieces, the last of which is the end.
fn body(id: u32, length: &str, pieces: &[&str]) -> Vec<Frame> {
    let fields = [(":status", "200"), ("content-length", length)];
    let fields = &fields[..if length.is_empty() { 1 } else { 2 }];
    let mut frames = vec![Frame::headers(id, fields, false)];
    for (number, piece) in pieces.iter().enumerate() {
        frames.push(Frame::data(id, piece, number + 1 == pieces.len()));
    }
    frames
}

/// A body that goes on, then trailers with this field, which end it or not.
fn trailers(id: u32, name: Bytes, value: Bytes, ends: bool) -> Vec<Frame> {
    vec![
        Frame::headers(id, &[(":status", "200")], false),
        Frame::data(id, "half", false),
        Frame::headers(id, &[(name, value)], ends),
    ]
}

/// RFC 9113 §8.1, §8.2, §8.3.2. Nothing of them has reached the client.
const BAD_HEADS: &[Said] = &[
    ("no status", |id| head(id, &[(b"x", b"y")])),
    ("two statuses", |id| {
        head(id, &[(b":status", b"200"), (b":status", b"200")])
    }),
    ("status behind a field", |id| {
        head(id, &[(b"x", b"y"), (b":status", b"200")])
    }),
    ("status of two digits", |id| {
        head(id, &[(b":status", b"99")])
    }),
    ("status of four digits", |id| {
        head(id, &[(b":status", b"2000")])
    }),
    ("status that is no number", |id| {
        head(id, &[(b":status", b"2x0")])
    }),
    ("status of nothing", |id| head(id, &[(b":status", b"")])),
    ("status and a line", |id| {
        head(id, &[(b":status", b"200\r\nx: y")])
    }),
    ("status 101", |id| head(id, &[(b":status", b"101")])),
    ("pseudo-field of a request", |id| with(id, b":path", b"/")),
    ("transfer coding", |id| {
        with(id, b"transfer-encoding", b"chunked")
    }),
    ("connection", |id| with(id, b"connection", b"close")),
    ("keep-alive", |id| with(id, b"keep-alive", b"timeout=5")),
    ("upgrade", |id| with(id, b"upgrade", b"websocket")),
    ("upper case", |id| with(id, b"X-Upper", b"1")),
    ("empty name", |id| with(id, b"", b"1")),
    ("a line in a name", |id| with(id, b"x: 1\r\ny", b"1")),
    ("space behind a name", |id| {
        with(id, b"content-length ", b"0")
    }),
    ("CRLF in a value", |id| {
        with(id, b"x", b"1\r\nset-cookie: a=b")
    }),
    ("LF in a value", |id| with(id, b"x", b"1\nset-cookie: a=b")),
    ("NUL in a value", |id| with(id, b"x", b"1\0")),
    ("space before a value", |id| with(id, b"x", b" 1")),
    ("length with a sign", |id| {
        with(id, b"content-length", b"+0")
    }),
    ("length in a list", |id| {
        with(id, b"content-length", b"0, 0")
    }),
    ("two lengths", |id| {
        let fields: &[(Bytes, Bytes)] = &[
            (b":status", b"200"),
            (b"content-length", b"0"),
            (b"content-length", b"1"),
        ];
        head(id, fields)
    }),
    ("length and no body", |id| with(id, b"content-length", b"5")),
    ("interim and nothing more", |id| {
        head(id, &[(b":status", b"103")])
    }),
    ("body before a head", |id| {
        vec![Frame::data(id, "body", true)]
    }),
];

/// RFC 9113 §8.1.1: what looked well at first must look cut off in the end.
const BAD_BODIES: &[Said] = &[
    ("too short", |id| body(id, "10", &["hello"])),
    ("too short, in pieces", |id| {
        body(id, "10", &["hel", "lo", ""])
    }),
    ("too long at the end", |id| {
        body(id, "10", &["hello", "world!"])
    }),
    ("of a length, with trailers too early", |id| {
        let mut frames = body(id, "10", &["hello", ""]);
        frames.pop();
        frames.push(Frame::headers(id, &[("x-sum", "1")], true));
        frames
    }),
    ("pseudo-field in trailers", |id| {
        trailers(id, b":status", b"200", true)
    }),
    ("connection in trailers", |id| {
        trailers(id, b"connection", b"close", true)
    }),
    ("upper case in trailers", |id| {
        trailers(id, b"X-Sum", b"1", true)
    }),
    ("a line in trailers", |id| {
        trailers(id, b"x", b"1\r\ny: 2", true)
    }),
    ("trailers that are not the end", |id| {
        trailers(id, b"x-sum", b"1", false)
    }),
    ("reset", |id| {
        let mut frames = body(id, "", &["half", ""]);
        frames.pop();
        frames.push(Frame::reset(id, code::INTERNAL_ERROR));
        frames
    }),
];

#[test]
fn a_malformed_head_is_a_bad_gateway_to_either_client() {
    let endpoint = saying(BAD_HEADS);
    let proxy = before(endpoint.address(), "h2c");
    let mut failed = Vec::new();
    let mut new = H2::connect(proxy.address("web"));
    for (number, (name, _)) in BAD_HEADS.iter().enumerate() {
        let old = proxy.client().get(&format!("/{number}"));
        let answer = new.get(&format!("/{number}"));
        let (told, word) = (
            cause(&old),
            answer.field("proxy-status").unwrap_or_default(),
        );
        let is_bad = (old.status, answer.status, answer.end) == (502, 502, StreamEnd::Whole);
        if !is_bad || told != "http_protocol_error" || !word.ends_with("http_protocol_error") {
            failed.push(format!("{name}: {old:?} {answer:?}"));
        }
        assert_eq!(proxy.client().get("/well").body.text(), "well", "{name}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn a_malformed_body_looks_cut_off_to_either_client() {
    let endpoint = saying(BAD_BODIES);
    let proxy = before(endpoint.address(), "h2c");
    let mut failed = Vec::new();
    let mut new = H2::connect(proxy.address("web"));
    for (number, (name, _)) in BAD_BODIES.iter().enumerate() {
        let mut client = proxy.client();
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        // Where it all came at once, nothing need have been sent of it, not even the head.
        let old = client.try_response_to("GET");
        let answer = new.get(&format!("/{number}"));
        let old_is_well = match &old {
            Ok(response) => response.status == 502 || !response.is_whole(),
            Err(broken) => matches!(broken, Broken::Closed | Broken::Truncated(_)),
        };
        let new_is_well = answer.status == 502 || answer.end != StreamEnd::Whole;
        if !old_is_well || !new_is_well {
            failed.push(format!("{name}: {old:?} {answer:?}"));
        }
        assert_eq!(proxy.client().get("/well").body.text(), "well", "{name}");
        new.sync();
        assert_eq!(new.take_kept(kind::GOAWAY, 0), None, "{name}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// What has no body by its status or its method: bytes that are there all the same are those of
/// nothing else.
#[test]
fn bytes_where_there_is_no_body_are_no_other_response() {
    const BODILESS: &[Said] = &[
        ("204", |id| {
            let head = Frame::headers(id, &[(":status", "204")], false);
            vec![head, Frame::data(id, "HTTP/1.1 200 OK\r\n\r\n", true)]
        }),
        ("304", |id| {
            let head = Frame::headers(id, &[(":status", "304")], false);
            vec![head, Frame::data(id, "HTTP/1.1 200 OK\r\n\r\n", true)]
        }),
        ("HEAD", |id| body(id, "19", &["HTTP/1.1 200 OK\r\n\r\n"])),
    ];
    let endpoint = saying(BODILESS);
    let proxy = before(endpoint.address(), "h2c");
    for (number, (name, _)) in BODILESS.iter().enumerate() {
        let method = if *name == "HEAD" { "HEAD" } else { "GET" };
        let path = format!("/{number}");
        let mut client: Client = proxy.client();
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        // A 502 has a body of its own, unless it was asked for by HEAD.
        let old = client.response_to(method);
        if old.is_whole() && old.status != 502 {
            assert!(old.body.data.is_empty(), "{name}");
        }
        // On the same connection, if it is kept.
        client.send("GET /well HTTP/1.1\r\nHost: a\r\n\r\n");
        if let Ok(next) = client.try_response_to("GET") {
            assert_eq!(
                (next.status, next.body.text()),
                (200, "well".to_owned()),
                "{name}"
            );
        }
        let mut new = H2::connect(proxy.address("web"));
        let id = new.open(&request(method, &path), true);
        let answer = new.message(id);
        assert!(!answer.text().contains("200 OK"), "{name}: {answer:?}");
        assert_eq!(new.get("/well").text(), "well", "{name}");
    }
}

/// RFC 9112 §6.3, §7.1: to clients of HTTP/2, which have no framing of HTTP/1.1 to look at.
#[test]
fn a_doubtful_response_of_http_1_1_is_a_bad_gateway_or_a_reset() {
    for (name, bytes, begins) in DOUBTFUL {
        let endpoint = Endpoint::answers(bytes);
        let proxy = before(endpoint.address(), "http1");
        let mut client = H2::connect(proxy.address("web"));
        let answer = client.get("/");
        match begins {
            // Where it all came at once, nothing need have been sent of it.
            Some(text) if answer.status == 200 => {
                assert_eq!(answer.end, StreamEnd::Reset(code::INTERNAL_ERROR), "{name}");
                assert!(text.starts_with(&answer.text()), "{name}: {answer:?}");
            }
            _ => assert_eq!(
                (answer.status, answer.end),
                (502, StreamEnd::Whole),
                "{name}"
            ),
        }
        endpoint.wait_for_end();
        client.sync();
    }
}

/// RFC 9110 §6.5.1, §7.6.1, and RFC 9113 §8.2: what is for one hop, or for no trailers, ends here.
#[test]
fn fields_of_a_response_are_those_of_the_next_version() {
    for (named, sums) in [("keep-alive", 1), ("X-Hop, keep-alive", 0)] {
        let endpoint = Endpoint::answers(format!(
            "HTTP/1.1 200 OK\r\nX-Mixed: Case\r\nConnection: {named}\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nSet-Cookie: a=1\r\n\
             Set-Cookie: b=2\r\nTransfer-Encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\nContent-Length: 7\r\nSet-Cookie: c=3\r\nX-Sum: 1\r\n\r\n"
        ));
        let proxy = before(endpoint.address(), "http1");
        let mut client = H2::connect(proxy.address("web"));
        let answer = client.get("/");
        assert_eq!(
            (answer.text().as_str(), answer.end),
            ("ok", StreamEnd::Whole)
        );
        let values = |name: &str| -> Vec<&str> {
            let fields = answer.fields.iter().filter(|(other, _)| other == name);
            fields.map(|(_, value)| value.as_str()).collect()
        };
        assert_eq!(values("x-mixed"), ["Case"]);
        assert_eq!(values("set-cookie"), ["a=1", "b=2"]);
        // It goes with the hop only if it is named.
        assert_eq!(values("x-hop").len(), sums, "{named}");
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "transfer-encoding",
            "content-length",
        ] {
            assert!(values(name).is_empty(), "{name}");
        }
        // Where fields are named, no trailer travels on: one is not told from another.
        let trailers: Vec<&str> = answer.trailers.iter().map(|(name, _)| &**name).collect();
        assert_eq!(trailers, ["x-sum"][..sums], "{named}");
    }
}

/// A name, what the endpoint says, and what of a body a client may have before that shows.
const DOUBTFUL: &[Doubtful] = &[
    (
        "both framings",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        None,
    ),
    (
        "two lengths",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        None,
    ),
    (
        "length with a sign",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        None,
    ),
    (
        "coding that is not the last",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        None,
    ),
    (
        "NUL",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        None,
    ),
    (
        "space before a colon",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        None,
    ),
    (
        "101 unasked",
        "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        None,
    ),
    ("another protocol", "SSH-2.0-OpenSSH_9.9\r\n\r\n", None),
    (
        "bad chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0x2\r\nno\r\n0\r\n\r\n",
        Some("ok"),
    ),
    (
        "no end of a chunk",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n",
        Some("ok"),
    ),
    (
        "malformed trailer",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX : y\r\n\r\n",
        Some("ok"),
    ),
];
