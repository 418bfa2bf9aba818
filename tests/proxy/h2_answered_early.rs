//! Requests that are answered before they have ended: what becomes of the rest.

use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::{request, request_with};
use crate::support::h2::frame::{Frame, code, kind};
use crate::support::h2::{H2, StreamEnd};

/// A proxy that speaks HTTP/2 with these settings and forwards to this endpoint, or says no.
fn before(endpoint: &Endpoint, http2: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\"]\nhttp2 = {{ {http2} }}\n\
         upstream = \"app\"\n\
         [route.no]\npath = \"/no\"\nrespond = {{ status = 403 }}\n\
         [route.yes]\npath = \"/yes\"\nrespond = {{ status = 200 }}\n\
         [upstream.app]\nendpoints = [\"{}\"]\n",
        endpoint.address()
    ))
}

fn client(proxy: &Evenkeel) -> H2<std::net::TcpStream> {
    H2::connect(proxy.address("web"))
}

/// A window's half, after which more of it is told.
fn half_a_window(client: &mut H2<std::net::TcpStream>, id: u32) {
    let pieces: Vec<Frame> = (0..8).map(|_| Frame::data(id, [0; 4096], false)).collect();
    client.send_all(&pieces);
}

fn resets(proxy: &Evenkeel) -> u64 {
    let resets = "evenkeel_http2_streams_reset_total";
    proxy.metric(resets, &["by=\"evenkeel\""])
}

#[test]
fn a_client_that_is_told_no_may_say_the_rest() {
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge";
    let endpoint = Endpoint::answers_early(early);
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    for (path, status) in [("/no", 403), ("/", 413)] {
        let id = client.open(&request("POST", path), false);
        let answer = client.message(id);
        assert_eq!((answer.status, answer.end), (status, StreamEnd::Whole));
        for _ in 0..6 {
            half_a_window(&mut client, id);
            client.expect(kind::WINDOW_UPDATE, id);
        }
        client.send(&Frame::data(id, "the end", true));
        client.sync();
        assert_eq!(client.take_kept(kind::RST_STREAM, id), None);
    }
    // Once a stream has ended, it is no more.
    assert_eq!(client.get("/no").status, 403);
    assert_eq!(resets(&proxy), 0);
}

#[test]
fn a_rest_that_is_on_its_way_is_waited_for() {
    let endpoint = Endpoint::answers_early("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let fields = request_with("POST", "/", &[("content-length", "10")]);
    let id = client.open(&fields, false);
    client.send(&Frame::data(id, "hello", false));
    assert_eq!(client.message(id).text(), "ok");
    client.send(&Frame::data(id, "world", true));
    client.sync();
    assert_eq!(client.take_kept(kind::RST_STREAM, id), None);
    assert_eq!(resets(&proxy), 0);
}

/// Trailers may have been on their way on all of them, whatever else has ended since.
#[test]
fn the_ends_of_many_uploads_may_come_late() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let upload = request("POST", "/yes");
    let ids: Vec<u32> = (0..100).map(|_| client.open(&upload, false)).collect();
    for &id in &ids {
        let answer = client.message(id);
        assert_eq!((answer.status, answer.end), (200, StreamEnd::Whole));
        client.expect_reset(id, code::NO_ERROR);
    }
    for _ in 0..150 {
        assert_eq!(client.get("/yes").status, 200);
    }
    for id in ids {
        client.send(&Frame::data(id, "the rest", false));
        client.send(&Frame::headers(id, &[("a", "b")], true));
    }
    assert_eq!(client.get("/").text(), "hello");
    assert_eq!(proxy.metric("evenkeel_http2_abuse_total", &[]), 0);
}

/// RFC 9113 §8.1: the rest is not wanted.
#[test]
fn a_rest_that_nobody_knows_the_end_of_is_not_waited_for() {
    let endpoint = Endpoint::answers_early("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    for fields in [
        &request("POST", "/")[..],
        &request_with("POST", "/", &[("content-length", "10000000")]),
    ] {
        let id = client.open(fields, false);
        client.send(&Frame::data(id, "some", false));
        let answer = client.message(id);
        assert_eq!(
            (answer.text().as_str(), answer.end),
            ("hello", StreamEnd::Whole)
        );
        client.expect_reset(id, code::NO_ERROR);
        client.send(&Frame::data(id, "more", false));
        client.sync();
    }
}

#[test]
fn a_client_that_says_nothing_more_gives_its_place_up() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "max_streams = 1");
    let mut client = client(&proxy);
    let id = client.open(&request("POST", "/no"), false);
    assert_eq!(client.message(id).status, 403);
    let early = client.ask("/");
    client.expect_reset(early, code::REFUSED_STREAM);
    client.expect_reset(id, code::NO_ERROR);
    assert_eq!(client.get("/").text(), "hello");
}

#[test]
fn a_client_that_comes_to_no_end_is_stopped() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(&request("POST", "/no"), false);
    assert_eq!(client.message(id).status, 403);
    for _ in 0..MOST {
        half_a_window(&mut client, id);
        let told = client.frame_that(|frame| {
            frame.stream == id && matches!(frame.kind, kind::WINDOW_UPDATE | kind::RST_STREAM)
        });
        let told = told.expect("more of the window, or the end");
        if told.kind == kind::RST_STREAM {
            assert_eq!(told.number_at(0), code::NO_ERROR);
            assert_eq!(client.get("/").text(), "hello");
            return;
        }
    }
    panic!("all of it was taken");
}

#[test]
fn empty_pieces_behind_an_answer_are_still_too_many() {
    let endpoint = Endpoint::says("hello");
    let proxy = before(&endpoint, "");
    let mut client = client(&proxy);
    let id = client.open(&request("POST", "/no"), false);
    assert_eq!(client.message(id).status, 403);
    client.send_all(&vec![Frame::data(id, "", false); 1000]);
    client.expect_goaway(code::ENHANCE_YOUR_CALM);
    let reason = ["reason=\"empty_data\""];
    assert_eq!(proxy.metric("evenkeel_http2_abuse_total", &reason), 1);
}

/// Halves of a window: a little more than 16 MiB, which is what may come behind an answer.
const MOST: usize = 520;
