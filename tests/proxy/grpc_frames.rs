//! gRPC by its frames: what we answer ourselves, what deadlines do, and how calls are counted.

use crate::support::client::Client;
use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, flag, kind};
use crate::support::h2::{H2, Message, StreamEnd};

type Fields<'a> = &'a [(&'a str, &'a str)];

const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

/// A proxy with one route, `/s/`, to this endpoint.
fn before(endpoint: &H2Endpoint, lines: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         [route.s]\npath = \"/s/\"\nupstream = \"app\"\n{lines}\n\
         [upstream.app]\nprotocol = \"h2c\"\nendpoints = [\"{address}\"]\n"
    ))
}

/// Makes a call with these fields and no message.
fn call(proxy: &Evenkeel, path: &str, fields: Fields<'_>) -> Message {
    let mut client = H2::connect(proxy.address("web"));
    let fields = [&[GRPC][..], fields].concat();
    let id = client.open(&request_with("POST", path, &fields), true);
    client.message(id)
}

/// An endpoint that does this with each of its requests.
fn with_each(answer: impl Fn(&mut H2Peer, u32) + Send + Sync + 'static) -> H2Endpoint {
    H2Endpoint::start(&[], move |peer| {
        while let Some(request) = peer.request() {
            answer(peer, request.id);
        }
    })
}

fn is_counted(proxy: &Evenkeel, name: &str) {
    let label = format!("code=\"{name}\"");
    eventually(&format!("a call is counted as {name}"), || {
        let count = proxy.metric("evenkeel_grpc_requests_total", &[&label]);
        (count == 1).then_some(())
    });
}

#[test]
fn an_error_of_ours_is_a_head_alone() {
    let endpoint = H2Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request_with("POST", "/nobody/Here", &[GRPC]), true);
    let head = client.expect(kind::HEADERS, id);
    assert_ne!(head.flags & flag::END_STREAM, 0, "nothing follows");
    let field = |name: &str| crate::support::h2::value(&head.fields, name);
    assert_eq!(field(":status"), Some("200"));
    assert_eq!(field("content-type"), Some("application/grpc"));
    assert_eq!(field("grpc-status"), Some("12"));
    assert_eq!(
        field("grpc-message"),
        Some("There is nothing here (destination_not_found)")
    );
    assert_eq!(
        field("proxy-status"),
        Some("evenkeel; error=destination_not_found")
    );
    assert!(field("x-request-id").is_some());
    is_counted(&proxy, "UNIMPLEMENTED");
    // The log tells what was sent, and why.
    let line = &proxy.access_lines(1)[0];
    assert_eq!(line["http.response.status_code"], 200);
    assert_eq!(line["error.type"], "destination_not_found");
    assert_eq!(line["rpc.grpc.status_code"], 12);
}

#[test]
fn what_is_no_grpc_is_answered_as_ever() {
    let endpoint = H2Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = H2::connect(proxy.address("web"));
    for kind in ["application/grpc-web+proto", "application/json"] {
        let fields = [("content-type", kind)];
        let id = client.open(&request_with("POST", "/nobody", &fields), true);
        let answer = client.message(id);
        assert_eq!((answer.status, answer.field("grpc-status")), (404, None));
        assert!(!answer.body.is_empty());
    }
    let mut client = Client::connect(proxy.address("web"));
    client.send(
        "POST /nobody HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\
         Content-Length: 0\r\n\r\n",
    );
    assert_eq!(client.response().status, 404, "gRPC needs HTTP/2");
    assert_eq!(proxy.metric("evenkeel_grpc_requests_total", &[]), 0);
}

#[test]
fn a_deadline_that_cannot_be_read_is_refused() {
    let endpoint = H2Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    for timeout in ["1", "S", "1s", "-1S", "100000000S", "1.5S", ""] {
        let answer = call(&proxy, "/s/", &[("grpc-timeout", timeout)]);
        assert_eq!(answer.field("grpc-status"), Some("13"), "{timeout}");
    }
    let twice = [("grpc-timeout", "1S"), ("grpc-timeout", "2S")];
    let answer = call(&proxy, "/s/", &twice);
    assert_eq!(answer.field("grpc-status"), Some("13"));
    assert!(endpoint.requests().is_empty());
}

#[test]
fn a_deadline_that_has_passed_asks_nobody() {
    let endpoint = H2Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    for timeout in ["0S", "0n", "00000000H"] {
        let answer = call(&proxy, "/s/", &[("grpc-timeout", timeout)]);
        assert_eq!(answer.field("grpc-status"), Some("4"), "{timeout}");
    }
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn the_client_s_deadline_holds_here() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let head = peer.head().expect("a call");
        let timeout = crate::support::h2::value(&head.fields, "grpc-timeout");
        let left = timeout.and_then(|it| it.strip_suffix('u')?.parse::<u64>().ok());
        assert!(
            left.is_some_and(|left| left <= 200_000),
            "what is left is told: {timeout:?}"
        );
        peer.expect_reset(head.stream, code::CANCEL);
        let next = peer.head().expect("the connection goes on");
        peer.answer(next.stream, 200, &[GRPC, ("grpc-status", "0")], "");
        peer.drain();
    });
    let proxy = before(&endpoint, "timeouts = { request = \"1h\" }");
    let answer = call(&proxy, "/s/", &[("grpc-timeout", "200m")]);
    assert_eq!(answer.field("grpc-status"), Some("4"));
    is_counted(&proxy, "DEADLINE_EXCEEDED");
    let answer = call(&proxy, "/s/", &[]);
    assert_eq!(answer.field("grpc-status"), Some("0"));
    assert_eq!(endpoint.connections(), 1);
}

#[test]
fn the_route_s_limit_holds_where_it_is_the_shorter_one() {
    let endpoint = H2Endpoint::start(&[], H2Peer::drain);
    let proxy = before(&endpoint, "timeouts = { request = \"200ms\" }");
    let answer = call(&proxy, "/s/", &[("grpc-timeout", "1H")]);
    assert_eq!(answer.field("grpc-status"), Some("4"));
}

#[test]
fn calls_are_counted_by_what_their_clients_are_told() {
    let trailers = with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.send(&Frame::data(id, b"\0\0\0\0\0", false));
        peer.send(&Frame::headers(id, &[("grpc-status", "5")], true));
    });
    let proxy = before(&trailers, "");
    let answer = call(&proxy, "/s/", &[("te", "trailers")]);
    assert_eq!(answer.trailer("grpc-status"), Some("5"));
    is_counted(&proxy, "NOT_FOUND");

    let head = with_each(|peer, id| {
        peer.answer(id, 200, &[GRPC, ("grpc-status", "8")], "");
    });
    let proxy = before(&head, "");
    let answer = call(&proxy, "/s/", &[]);
    assert_eq!(answer.field("grpc-status"), Some("8"));
    is_counted(&proxy, "RESOURCE_EXHAUSTED");

    let unknown = with_each(|peer, id| {
        peer.answer(id, 200, &[GRPC, ("grpc-status", "99")], "");
    });
    let proxy = before(&unknown, "");
    call(&proxy, "/s/", &[]);
    is_counted(&proxy, "UNKNOWN");
}

#[test]
fn answers_that_are_no_grpc_pass_and_count_as_clients_read_them() {
    let page = with_each(|peer, id| {
        peer.answer(id, 503, &[("content-type", "text/html")], "<p>later");
    });
    let proxy = before(&page, "");
    let answer = call(&proxy, "/s/", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (503, "<p>later"));
    is_counted(&proxy, "UNAVAILABLE");
}

#[test]
fn calls_that_break_are_counted() {
    let broken = with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.send(&Frame::data(id, b"\0\0", false));
        peer.wait_for_release();
        peer.send(&Frame::reset(id, code::INTERNAL_ERROR));
    });
    let proxy = before(&broken, "");
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request_with("POST", "/s/", &[GRPC]), true);
    client.expect(kind::DATA, id);
    broken.release();
    let answer = client.message(id);
    let expected = StreamEnd::Reset(code::INTERNAL_ERROR);
    assert_eq!(answer.end, expected, "in the middle of a prefix");
    is_counted(&proxy, "INTERNAL");

    let endless = with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.expect_reset(id, code::CANCEL);
    });
    let proxy = before(&endless, "");
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request_with("POST", "/s/", &[GRPC]), true);
    client.expect(kind::HEADERS, id);
    client.send(&Frame::reset(id, code::CANCEL));
    is_counted(&proxy, "CANCELLED");
}

#[test]
fn what_breaks_off_between_messages_ends_with_a_status() {
    for (reset, number, name) in [
        (code::CANCEL, "1", "CANCELLED"),
        (code::ENHANCE_YOUR_CALM, "8", "RESOURCE_EXHAUSTED"),
        (code::INTERNAL_ERROR, "13", "INTERNAL"),
    ] {
        let broken = with_each(move |peer, id| {
            peer.begin_answer(id, 200, &[GRPC], false);
            peer.send(&Frame::data(id, b"\0\0\0\0\x01a", false));
            peer.wait_for_release();
            peer.send(&Frame::reset(id, reset));
        });
        let proxy = before(&broken, "");
        let mut client = H2::connect(proxy.address("web"));
        let id = client.open(&request_with("POST", "/s/", &[GRPC]), true);
        client.expect(kind::DATA, id);
        broken.release();
        let answer = client.message(id);
        assert_eq!(answer.trailer("grpc-status"), Some(number), "{answer:?}");
        is_counted(&proxy, name);
    }
    let dies = H2Endpoint::start(&[], |peer| {
        let request = peer.request().expect("a call");
        peer.begin_answer(request.id, 200, &[GRPC], false);
        peer.send(&Frame::data(request.id, b"\0\0\0\0\0", false));
        peer.wait_for_release();
        peer.stream().close();
    });
    let proxy = before(&dies, "");
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request_with("POST", "/s/", &[GRPC]), true);
    client.expect(kind::DATA, id);
    dies.release();
    let answer = client.message(id);
    assert_eq!(answer.trailer("grpc-status"), Some("14"), "{answer:?}");
    assert_eq!(
        answer.trailer("grpc-message"),
        Some("The service's answer broke off (http_response_incomplete)")
    );
    is_counted(&proxy, "UNAVAILABLE");
}

#[test]
fn a_limit_that_passes_behind_the_head_is_told_as_a_status() {
    for (limits, given, ends, word) in [
        ("request = \"300ms\"", "1H", true, "request_timeout"),
        ("request = \"1h\"", "300m", true, "deadline_exceeded"),
        (
            "body_idle = \"300ms\"",
            "1H",
            true,
            "connection_read_timeout",
        ),
        // It is the rest of the call that does not come.
        ("body_idle = \"300ms\"", "1H", false, "request_body_timeout"),
    ] {
        let endless = H2Endpoint::start(&[], |peer| {
            let id = peer.head().expect("a call").stream;
            peer.begin_answer(id, 200, &[GRPC], false);
            peer.expect_reset(id, code::CANCEL);
        });
        let proxy = before(&endless, &format!("timeouts = {{ {limits} }}"));
        let mut client = H2::connect(proxy.address("web"));
        let fields = [GRPC, ("grpc-timeout", given)];
        let id = client.open(&request_with("POST", "/s/", &fields), ends);
        let answer = client.message(id);
        assert_eq!(answer.trailer("grpc-status"), Some("4"), "{answer:?}");
        let message = answer.trailer("grpc-message").unwrap_or_default();
        assert!(message.ends_with(&format!("({word})")), "{word}: {message}");
        is_counted(&proxy, "DEADLINE_EXCEEDED");
        // In the log and the metric it is the same word.
        let line = &proxy.access_lines(1)[0];
        assert_eq!(line["error.type"], word, "{line}");
        let reason = format!("reason=\"{word}\"");
        assert_eq!(proxy.metric("evenkeel_http_errors_total", &[&reason]), 1);
    }

    let cut = with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.send(&Frame::data(id, b"\0\0\0\0\x02a", false));
        peer.expect_reset(id, code::CANCEL);
    });
    let proxy = before(&cut, "timeouts = { request = \"300ms\" }");
    let answer = call(&proxy, "/s/", &[]);
    assert_eq!(answer.end, StreamEnd::Reset(code::CANCEL), "{answer:?}");
    is_counted(&proxy, "CANCELLED");
}

/// In a conversation the answer may begin before the request has ended: that is no time of the
/// endpoint's, and none is told, counted or learned.
#[test]
fn an_answer_that_begins_before_the_end_of_its_request_took_no_time() {
    let converses = H2Endpoint::start(&[], |peer| {
        while let Some(head) = peer.head() {
            peer.begin_answer(head.stream, 200, &[GRPC], false);
            peer.wait_for_release();
            peer.send(&Frame::headers(head.stream, &[("grpc-status", "0")], true));
        }
    });
    let proxy = before(&converses, "");
    let counted = || {
        let family = "evenkeel_http_endpoint_duration_seconds_count";
        proxy.metric(family, &["upstream=\"app\""])
    };
    for (ends, times) in [(false, 0), (true, 1)] {
        let mut client = H2::connect(proxy.address("web"));
        let id = client.open(&request_with("POST", "/s/", &[GRPC]), ends);
        client.expect(kind::HEADERS, id);
        if !ends {
            client.send(&Frame::data(id, "", true));
        }
        converses.release();
        client.expect(kind::HEADERS, id);
        let line = &proxy.access_lines(1 + times)[times];
        assert_eq!(line["first_byte_s"].is_number(), ends, "{line}");
        assert_eq!(counted(), times as u64);
    }
}
