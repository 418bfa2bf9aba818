//! The harness for HTTP/2, judged: its two roles against each other, and its reader of heads
//! against the examples of RFC 7541.

use crate::support::h2::H2;
use crate::support::h2::StreamEnd;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::H2Endpoint;
use crate::support::h2::frame::{Frame, code, flag, kind, setting};
use crate::support::h2::hpack::{Decoder, block, number};
use crate::support::tls::{Authority, Hello};

#[test]
fn both_roles_understand_each_other() {
    let endpoint = H2Endpoint::start(&[(setting::MAX_CONCURRENT_STREAMS, 7)], |peer| {
        while let Some(request) = peer.request() {
            peer.begin_answer(request.id, 103, &[("link", "</a>")], false);
            peer.begin_answer(request.id, 200, &[("x", "y")], false);
            peer.send(&Frame::data(request.id, &request.body, false));
            peer.send(&Frame::headers(request.id, &[("trailer", "z")], true));
        }
    });
    let mut client = H2::connect(endpoint.address());
    let first = client.open(&request_with("POST", "/a", &[("name", "value")]), false);
    let second = client.ask("/b");
    client.send(&Frame::data(first, b"hello", true));
    let (first, second) = (client.message(first), client.message(second));
    assert_eq!((first.status, first.end), (200, StreamEnd::Whole));
    assert_eq!(first.interim.len(), 1);
    assert_eq!(
        (first.field("x"), first.trailer("trailer")),
        (Some("y"), Some("z"))
    );
    assert_eq!(
        (first.text().as_str(), second.text().as_str()),
        ("hello", "")
    );
    assert_eq!(client.max_streams(), Some(7));
    let requests = endpoint.requests();
    assert_eq!(requests[0].field("name"), Some("value"));
    assert_eq!(requests[1].field(":path"), Some("/b"));
    client.sync();
}

#[test]
fn streams_and_connections_end_as_told() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let one = peer.request().expect("a request");
        peer.begin_answer(one.id, 200, &[], false);
        peer.send(&Frame::reset(one.id, code::INTERNAL_ERROR));
        let two = peer.request().expect("another");
        peer.send(&Frame::goaway(one.id, code::NO_ERROR, "enough"));
        peer.send(&Frame::reset(two.id, code::REFUSED_STREAM));
    });
    let mut client = H2::connect(endpoint.address());
    let one = client.get("/");
    assert_eq!(
        (one.status, one.end),
        (200, StreamEnd::Reset(code::INTERNAL_ERROR))
    );
    let two = client.ask("/");
    client.expect_reset(two, code::REFUSED_STREAM);
    assert_eq!(
        client.expect_goaway(code::NO_ERROR),
        (one.id, "enough".to_owned())
    );
    assert!(client.is_closed());
}

#[test]
fn roles_meet_within_tls() {
    let authority = Authority::new();
    let certified = authority.certify(&["h2.test"]);
    let endpoint = H2Endpoint::says_within_tls(&certified, "hello");
    let mut client = H2::begin(&Hello::to("h2.test", &authority), endpoint.address());
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn heads_are_read_as_the_specification_writes_them() {
    // RFC 7541 C.4: Huffman codes, and a table that grows.
    let mut decoder = Decoder::new();
    let first = b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
    let fields = decoder.decode(first).expect("a head");
    assert_eq!(fields[0], (":method".to_owned(), "GET".to_owned()));
    assert_eq!(
        fields[3],
        (":authority".to_owned(), "www.example.com".to_owned())
    );
    let second = b"\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf";
    let fields = decoder.decode(second).expect("a head");
    assert_eq!(fields[3].1, "www.example.com");
    assert_eq!(
        fields[4],
        ("cache-control".to_owned(), "no-cache".to_owned())
    );

    let written = decoder.decode(&block(&[("a", "b")])).expect("a head");
    assert_eq!(written, [("a".to_owned(), "b".to_owned())]);
    assert!(decoder.decode(b"\xff\x00").is_err());
    assert!(decoder.decode(b"\x00\x01a\x81\xff\xff").is_err());
    // RFC 7541 C.1.2.
    assert_eq!(number(0, 5, 1337), [31, 154, 10]);
}

#[test]
fn a_head_in_pieces_is_one() {
    let endpoint = H2Endpoint::says("hello");
    let mut client = H2::connect(endpoint.address());
    let id = client.next_stream();
    let head = block(&request_with("GET", "/", &[("long", "value")]));
    let (one, two) = head.split_at(20);
    client.send(&Frame::new(kind::HEADERS, flag::END_STREAM, id, one));
    client.send(&Frame::new(kind::CONTINUATION, flag::END_HEADERS, id, two));
    assert_eq!(client.message(id).text(), "hello");
    assert_eq!(endpoint.request().field("long"), Some("value"));
}

#[test]
#[should_panic(expected = "it was asked for /wrong")]
fn what_a_behaviour_finds_wrong_fails_the_test() {
    let endpoint = H2Endpoint::start(&[], |peer| {
        let request = peer.request().expect("a request");
        peer.answer(request.id, 200, &[], "hello");
        assert_eq!(
            request.field(":path"),
            Some("/right"),
            "it was asked for /wrong"
        );
    });
    let mut client = H2::connect(endpoint.address());
    assert_eq!(client.get("/wrong").text(), "hello");
}
