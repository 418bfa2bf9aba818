//! Requests that come over HTTP/2: what their endpoints get, and what their clients do.

use serde_json::Value;

use crate::support::clock::eventually;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::frame::{Frame, code, flag, kind};
use crate::support::h2::{H2, StreamEnd, hpack};

/// A proxy that speaks HTTP/2 and forwards to this endpoint, with these lines at its end.
fn before(endpoint: &Endpoint, lines: &str) -> Evenkeel {
    let address = endpoint.address();
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nto = [\"{address}\"]\n{lines}"
    ))
}

fn client(proxy: &Evenkeel) -> H2<std::net::TcpStream> {
    H2::connect(proxy.address("web"))
}

/// The only line of the access log for a path.
fn line(proxy: &Evenkeel, count: usize, path: &str) -> Value {
    let lines = proxy.access_lines(count);
    let found = lines.iter().find(|line| line["url.path"] == path);
    found
        .unwrap_or_else(|| panic!("{path} is not in {lines:?}"))
        .clone()
}

#[test]
fn a_request_reaches_its_endpoint_as_one_of_http_1_1() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(&request_with("GET", "/a?b", &[("x-name", "value")]), true);
    let answer = client.message(id);
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.end, StreamEnd::Whole);
    assert_eq!(answer.field("via"), Some("1.1 evenkeel"));
    assert_eq!(answer.field("connection"), None);
    assert!(answer.field("date").is_some() && answer.field("x-request-id").is_some());
    let request = endpoint.request();
    assert_eq!((request.method(), request.target()), ("GET", "/a?b"));
    assert_eq!(request.head.values("host"), ["a"]);
    assert_eq!(request.head.value("x-name"), Some("value"));
    assert_eq!(request.head.value("content-length"), None);
    assert_eq!(request.head.value("transfer-encoding"), None);
    assert!(
        request
            .head
            .value("via")
            .is_some_and(|via| via.starts_with("2 evenkeel"))
    );
    let line = line(&proxy, 1, "/a");
    assert_eq!(line["network.protocol.version"], "2");
    assert_eq!(line["server.address"], "a");
}

#[test]
fn many_requests_are_under_way_at_once() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            if request.target() == "/slow" {
                peer.wait_for_release();
            }
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        }
    });
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let slow = client.ask("/slow");
    for _ in 0..5 {
        assert_eq!(client.get("/fast").text(), "done");
    }
    endpoint.release("");
    assert_eq!(client.message(slow).text(), "done");
}

#[test]
fn bodies_are_framed_by_what_the_head_says() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let sized = client.open(
        &request_with("POST", "/", &[("content-length", "5")]),
        false,
    );
    client.send(&Frame::data(sized, "he", false));
    client.send(&Frame::data(sized, "llo", true));
    assert_eq!(client.message(sized).status, 200);
    let unsized_ = client.open(&request_with("POST", "/", &[("te", "trailers")]), false);
    client.send(&Frame::data(unsized_, "hello", false));
    client.send(&Frame::headers(unsized_, &[("x-sum", "1")], true));
    assert_eq!(client.message(unsized_).status, 200);
    let requests = endpoint.requests();
    assert_eq!(requests[0].head.values("content-length"), ["5"]);
    assert_eq!(requests[0].head.value("transfer-encoding"), None);
    assert_eq!(requests[1].head.value("transfer-encoding"), Some("chunked"));
    assert_eq!(requests[1].head.value("te"), Some("trailers"));
    assert_eq!(requests[1].body.trailers.len(), 1);
    for request in &requests {
        assert_eq!(request.body.text(), "hello");
    }
    let bytes = "evenkeel_http_request_bytes_total";
    assert_eq!(proxy.metric(bytes, &[]), 10);
}

#[test]
fn a_large_body_goes_both_ways() {
    let endpoint = Endpoint::echo();
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(&request("POST", "/"), false);
    let piece = [b'x'; 16 * 1024];
    let length = u32::try_from(piece.len()).expect("a small number");
    // What is beyond the window waits for the endpoint to have taken some.
    let mut room = 64 * 1024 - 1;
    for count in 0..64 {
        while room < length {
            room += client.expect(kind::WINDOW_UPDATE, id).number_at(0);
        }
        room -= length;
        client.send(&Frame::data(id, piece, count == 63));
    }
    let answer = client.message(id);
    assert_eq!((answer.status, answer.end), (200, StreamEnd::Whole));
    assert!(answer.body.len() > 64 * piece.len());
}

#[test]
fn answers_keep_their_form() {
    let endpoint = Endpoint::start(|peer| {
        while let Some(request) = peer.request() {
            peer.send(match request.target() {
                "/hints" => {
                    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
                }
                "/chunked" => {
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                     5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
                }
                "/none" => "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
                "/known" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nKeep-Alive: timeout=5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\n\r\n",
            });
        }
    });
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let hints = client.get("/hints");
    assert_eq!((hints.interim.len(), hints.text().as_str()), (1, "hello"));
    assert_eq!(hints.field("content-length"), Some("5"));
    let chunked = client.get("/chunked");
    assert_eq!(chunked.text(), "hello");
    assert_eq!(chunked.trailer("x-sum"), Some("1"));
    assert_eq!(chunked.field("transfer-encoding"), None);
    let none = client.get("/none");
    assert_eq!((none.status, none.end), (204, StreamEnd::Whole));
    assert_eq!(
        (none.field("connection"), none.field("content-length")),
        (None, None)
    );
    let known = client.get("/known");
    assert_eq!((known.status, known.end), (304, StreamEnd::Whole));
    assert_eq!(known.field("content-length"), Some("5"));
    let id = client.open(&request("HEAD", "/head"), true);
    let head = client.message(id);
    assert_eq!(
        (head.status, head.body.len(), head.end),
        (200, 0, StreamEnd::Whole)
    );
    assert_eq!(head.field("content-length"), Some("5"));
    assert_eq!(head.field("keep-alive"), None);
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_one() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let endpoint = Endpoint::answers_and_closes(answer);
        let proxy = before(&endpoint, "");
        let mut client = client(&proxy);
        let broken = client.get("/");
        assert_eq!((broken.status, broken.text().as_str()), (200, "hello"));
        assert_eq!(broken.end, StreamEnd::Reset(code::INTERNAL_ERROR));
        assert_eq!(line(&proxy, 1, "/")["end"], "endpoint_reset");
        client.sync();
        let resets = "evenkeel_http2_streams_reset_total";
        assert_eq!(proxy.metric(resets, &["by=\"evenkeel\""]), 1);
    }
}

#[test]
fn our_own_answers_come_like_all_others() {
    let endpoint = Endpoint::refuses();
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let answer = client.get("/");
    assert_eq!((answer.status, answer.end), (502, StreamEnd::Whole));
    let said = answer.field("proxy-status").unwrap_or_default();
    assert!(said.contains("connection_refused"), "{said}");
    let id = client.open(&request("TRACE", "/"), true);
    assert_eq!(client.message(id).status, 405);
}

#[test]
fn a_client_that_resets_its_stream_is_not_worked_for() {
    let endpoint = Endpoint::stalls_after("");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.ask("/gone");
    eventually("the endpoint has it", || {
        (endpoint.requests().len() == 1).then_some(())
    });
    client.send(&Frame::reset(id, code::CANCEL));
    endpoint.wait_for_end();
    let line = line(&proxy, 1, "/gone");
    assert_eq!(line["http.response.status_code"], 499);
    assert_eq!(line["end"], "client_abort");
    let resets = "evenkeel_http2_streams_reset_total";
    assert_eq!(proxy.metric(resets, &["by=\"client\""]), 1);
    // So is one whose connection ends.
    client.ask("/lost");
    eventually("the endpoint has it", || {
        (endpoint.requests().len() == 2).then_some(())
    });
    drop(client);
    let lines = proxy.access_lines(2);
    assert!(
        lines.iter().all(|line| line["end"] == "client_abort"),
        "{lines:?}"
    );
}

#[test]
fn a_body_that_is_reset_ends_its_request() {
    let endpoint = Endpoint::echo();
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(
        &request_with("POST", "/half", &[("content-length", "10")]),
        false,
    );
    client.send(&Frame::data(id, "hello", false));
    eventually("the endpoint has some", || {
        (endpoint.connections() == 1).then_some(())
    });
    client.send(&Frame::reset(id, code::CANCEL));
    let line = line(&proxy, 1, "/half");
    assert_eq!(line["http.response.status_code"], 499);
    assert!(endpoint.requests().is_empty(), "half a request is none");
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn what_cannot_be_served_ends_no_other_request() {
    let endpoint = Endpoint::echo();
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let large = "x".repeat(10_000);
    let fields = [("one", &*large), ("two", &*large)];
    let block = hpack::block(&request_with("GET", "/", &fields));
    let (begin, end) = block.split_at(10_000);
    let id = client.next_stream();
    client.send_all(&[
        Frame::new(kind::HEADERS, flag::END_STREAM, id, begin),
        Frame::new(kind::CONTINUATION, flag::END_HEADERS, id, end),
    ]);
    assert_eq!(client.message(id).status, 431);
    let fields = [("expect", "200-ok")];
    let id = client.open(&request_with("POST", "/", &fields), false);
    assert_eq!(client.message(id).status, 417, "as over HTTP/1.1");
    client.send(&Frame::data(id, "what it expected", true));
    let id = client.open(&request_with("GET", "/", &[("Upper", "case")]), true);
    client.expect_reset(id, code::PROTOCOL_ERROR);
    let id = client.open(
        &request_with("POST", "/", &[("content-length", "3")]),
        false,
    );
    client.send(&Frame::data(id, "longer", true));
    client.expect_reset(id, code::PROTOCOL_ERROR);
    assert_eq!(client.get("/").status, 200);
    let statuses = proxy.access_lines(5).into_iter();
    let mut statuses: Vec<_> = statuses
        .filter_map(|line| line["http.response.status_code"].as_u64())
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 417, 431]);
    assert_eq!(endpoint.requests().len(), 1, "what is served");
}
