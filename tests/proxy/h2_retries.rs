//! Retries and hedges where endpoints speak HTTP/2, and of calls of gRPC.

use crate::support::clock::eventually;
use crate::support::evenkeel::Evenkeel;
use crate::support::h2::client::request_with;
use crate::support::h2::endpoint::{H2Endpoint, H2Peer};
use crate::support::h2::frame::{Frame, code, kind};
use crate::support::h2::{H2, Message};

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const UNAVAILABLE: &[(&str, &str)] = &[GRPC, ("grpc-status", "14")];

/// A proxy that asks these endpoints in this order.
fn in_order(route: &str, endpoints: [&H2Endpoint; 2]) -> Evenkeel {
    let addresses = endpoints.map(|endpoint| endpoint.address().to_string());
    Evenkeel::start(&format!(
        "[listener.web]\nbind = \"@web\"\nprotocols = [\"h2c\", \"http/1.1\"]\n\
         [route.all]\nupstream = \"app\"\n{route}\n\
         [upstream.app]\nbalance = \"first_healthy\"\nprotocol = \"h2c\"\nendpoints = {addresses:?}\n"
    ))
}

/// An endpoint that does this with each of its requests.
fn with_each(answer: impl Fn(&mut H2Peer, u32) + Send + Sync + 'static) -> H2Endpoint {
    H2Endpoint::start(&[], move |peer| {
        while let Some(request) = peer.request() {
            answer(peer, request.id);
        }
    })
}

/// A call that says that it went well.
fn well() -> H2Endpoint {
    with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.send(&Frame::data(id, [0, 0, 0, 0, 2, b'o', b'k'], false));
        peer.send(&Frame::headers(id, &[("grpc-status", "0")], true));
    })
}

fn call(proxy: &Evenkeel) -> Message {
    let mut client = H2::connect(proxy.address("web"));
    let id = client.open(&request_with("POST", "/s/Say", &[GRPC]), false);
    client.send(&Frame::data(id, [0, 0, 0, 0, 2, b'h', b'i'], true));
    client.message(id)
}

#[test]
fn a_call_that_nobody_served_is_made_again() {
    let bad = with_each(|peer, id| peer.begin_answer(id, 200, UNAVAILABLE, true));
    let good = well();
    let listed = "retry.grpc_codes = [\"UNAVAILABLE\"]";
    let proxy = in_order(listed, [&bad, &good]);
    let answer = call(&proxy);
    assert_eq!(answer.trailer("grpc-status"), Some("0"), "{answer:?}");
    let message = [0, 0, 0, 0, 2, b'h', b'i'];
    assert_eq!(bad.request().body, message);
    let second = good.request();
    assert_eq!(second.body, message);
    assert_eq!(second.field("evenkeel-attempt"), Some("2"));

    // Another code, and where no code is listed.
    for route in ["", "retry.grpc_codes = [\"RESOURCE_EXHAUSTED\"]"] {
        let proxy = in_order(route, [&bad, &good]);
        assert_eq!(call(&proxy).field("grpc-status"), Some("14"));
    }
    // What has begun to answer is not asked again elsewhere.
    let begun = with_each(|peer, id| {
        peer.begin_answer(id, 200, &[GRPC], false);
        peer.send(&Frame::headers(id, &[("grpc-status", "14")], true));
    });
    let proxy = in_order(listed, [&begun, &good]);
    assert_eq!(call(&proxy).trailer("grpc-status"), Some("14"));
    assert_eq!(good.requests().len(), 1);
}

#[test]
fn what_was_refused_after_much_of_it_goes_elsewhere_as_a_whole() {
    let body: Vec<u8> = (0..50_000_u32).map(|number| (number % 251) as u8).collect();
    // It takes most of the body, and then says that it took no notice.
    let refuses = H2Endpoint::start(&[], |peer| {
        while let Some(head) = peer.head() {
            let mut taken = 0;
            while taken < 40_000 {
                let data = peer.expect(kind::DATA, head.stream);
                taken += data.payload.len();
            }
            peer.send(&Frame::reset(head.stream, code::REFUSED_STREAM));
        }
    });
    let good = H2Endpoint::says("taken");
    let proxy = in_order("retry.body = \"64KiB\"", [&refuses, &good]);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n");
    client.send(&body);
    let response = client.response();
    assert_eq!((response.status, &*response.body.text()), (200, "taken"));
    assert_eq!(good.request().body, body);
    let retried = ["outcome=\"success\""];
    assert_eq!(proxy.metric("evenkeel_retries_total", &retried), 1);
}

#[test]
fn an_attempt_that_is_given_up_ends_with_its_stream() {
    let silent = H2Endpoint::start(&[], |peer| {
        let head = peer.head().expect("a request");
        peer.expect_reset(head.stream, code::CANCEL);
        // The connection goes on for others.
        while let Some(request) = peer.request() {
            peer.answer(request.id, 200, &[], "back");
        }
    });
    let good = H2Endpoint::says("good");
    let proxy = in_order("hedge.after = \"50ms\"", [&silent, &good]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (200, "good"));
    eventually("the first one is back", || {
        (proxy.client().get("/").body.text() == "back").then_some(())
    });
    assert_eq!(silent.connections(), 1);

    // The same of an answer that another one is asked for instead.
    let long = H2Endpoint::start(&[], |peer| {
        let head = peer.head().expect("a request");
        peer.begin_answer(head.stream, 503, &[], false);
        peer.expect_reset(head.stream, code::CANCEL);
        peer.drain();
    });
    let proxy = in_order("retry.statuses = [503]", [&long, &good]);
    let response = proxy.client().get("/");
    assert_eq!((response.status, &*response.body.text()), (200, "good"));
}
