//! One request and what the endpoint says to it, up to the head of its response.

use std::future::poll_fn;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::Method;
use socket2::SockRef;
use tokio::io::AsyncWriteExt;

use super::*;
use crate::body::{Body, Keeping, ROOM, Room};
use crate::http1::{Framing, Limits as HeadLimits};
use crate::net::{BUFFER, Buffer};

/// Gives a request with this body to the connection.
pub(super) fn call(connection: Box<Connection>, body: Body, framing: Framing) -> OwnCall {
    let mut head = Buffer::take();
    head.extend_from_slice(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n");
    let limits = HeadLimits {
        head: 16 * 1024,
        fields: 100,
    };
    let keeping = Keeping::new(u32::try_from(BUFFER).unwrap(), &Room::new(ROOM), 1);
    let body = (body, framing, keeping);
    OwnCall::new(connection, head, body, Method::POST, limits)
}

pub(super) async fn event(call: &mut OwnCall) -> Result<Event, CallError> {
    poll_fn(|cx| call.poll_event(cx)).await
}

/// Lets the socket take what it takes.
fn send(call: &mut OwnCall) {
    call.poll_request(&mut Context::from_waker(Waker::noop()))
        .expect("the connection stands");
}

/// Ends a connection with a reset.
fn reset(other: TcpStream) {
    let at_once = Some(Duration::ZERO);
    SockRef::from(&other)
        .set_linger(at_once)
        .expect("a socket option");
    drop(other);
}

/// A call without a body, to an endpoint that says this and closes.
async fn answered(bytes: &str) -> (OwnCall, TcpStream) {
    let peer = Peer::new().await;
    let (connection, mut other) = peer.open().await;
    other.write_all(bytes.as_bytes()).await.expect("it is open");
    (call(connection, Body::empty(), Framing::None), other)
}

#[tokio::test]
async fn a_request_leaves_and_its_response_comes() {
    let peer = Peer::new().await;
    let (connection, mut other) = peer.open().await;
    let mut call = call(connection, Body::full("hello"), Framing::Length(5));
    assert!(!call.is_sent());
    let endpoint = async {
        let mut request = [0; 33];
        other.read_exact(&mut request).await.expect("it is sent");
        assert_eq!(&request, b"POST / HTTP/1.1\r\nHost: a\r\n\r\nhello");
        let answer = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        other.write_all(answer).await.expect("it is open");
    };
    let ((), interim) = tokio::join!(endpoint, event(&mut call));
    assert!(call.is_sent());
    assert!(call.progress() > 0);
    let Ok(Event::Interim(head)) = interim else {
        panic!("{interim:?}")
    };
    assert_eq!(head.parts.status.as_u16(), 103);
    let last = event(&mut call).await;
    let Ok(Event::Response(head)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(head.parts.status.as_u16(), 204);
}

#[tokio::test]
async fn an_upgrade_is_the_last_word() {
    let bytes = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw";
    let (mut call, _other) = answered(bytes).await;
    let said = event(&mut call).await;
    let Ok(Event::Response(head)) = said else {
        panic!("{said:?}")
    };
    assert_eq!(head.parts.status.as_u16(), 101);
    let tunnel = call.into_connection().into_tunnel();
    assert_eq!(tunnel.received.bytes(), b"raw");
}

#[tokio::test]
async fn interim_responses_come_to_an_end() {
    let (mut call, _other) = answered(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(33)).await;
    for _ in 0..32 {
        let interim = event(&mut call).await;
        assert!(matches!(interim, Ok(Event::Interim(_))), "{interim:?}");
    }
    let error = event(&mut call).await.expect_err("too many");
    assert!(matches!(error, CallError::TooManyInterim), "{error}");
}

#[tokio::test]
async fn what_is_no_response_is_told_apart() {
    for (bytes, before_response) in [
        ("", true),
        ("HTTP/1.1 200 O", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
    ] {
        let (mut call, other) = answered(bytes).await;
        drop(other);
        let mut said = event(&mut call).await;
        if matches!(said, Ok(Event::Interim(_))) {
            said = event(&mut call).await;
        }
        let error = said.expect_err(bytes);
        assert_eq!(error.is_before_response(), before_response, "{bytes}");
        let fits = matches!(
            (before_response, &error),
            (true, CallError::Closed) | (false, CallError::Truncated)
        );
        assert!(fits, "{bytes}: {error:?}");
    }
    let (mut call, _other) = answered("SMTP ready\r\n\r\n").await;
    let error = event(&mut call).await.expect_err("nonsense");
    assert!(matches!(error, CallError::Malformed(_)), "{error}");
    assert!(!error.is_before_response());
}

#[tokio::test]
async fn a_reset_before_the_response_may_be_repeated() {
    let (mut call, mut other) = answered("").await;
    let endpoint = async {
        let mut request = [0; 28];
        other.read_exact(&mut request).await.expect("it is sent");
        reset(other);
    };
    let ((), said) = tokio::join!(endpoint, event(&mut call));
    let error = said.expect_err("a reset");
    assert!(matches!(error, CallError::Reset(_)), "{error:?}");
    assert!(error.is_before_response());
}

#[tokio::test]
async fn a_connection_that_took_nothing_says_so() {
    // Whatever was said on it before, the runtime has heard of nothing yet.
    for said in [
        "",
        "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (mut call, other) = answered(said).await;
        reset(other);
        let error = event(&mut call).await.expect_err("a reset");
        assert!(matches!(error, CallError::Unsent(_)), "{error:?}");
        assert!(error.is_before_response() && error.is_unsent());
        assert!(call.into_whole_body().is_some());
    }
}

#[tokio::test]
async fn a_body_comes_back_while_all_of_it_is_at_hand() {
    let peer = Peer::new().await;
    let (short, long) = (vec![b'x'; BUFFER], vec![b'x'; BUFFER + 1]);
    let whole = |call: OwnCall| call.into_whole_body().and_then(|mut body| body.take_full());
    for (body, is_kept) in [(&short, true), (&long, false)] {
        let framing = Framing::Length(body.len() as u64);
        let (connection, _other) = peer.open().await;
        let untouched = call(connection, Body::full(body.clone()), framing);
        assert_eq!(whole(untouched).as_ref(), Some(&Bytes::from(body.clone())));

        let (connection, other) = peer.open().await;
        let mut sent = call(connection, Body::full(body.clone()), framing);
        send(&mut sent);
        drop(other);
        drop(event(&mut sent).await);
        assert!(sent.progress() > 0);
        assert_eq!(whole(sent).is_some(), is_kept);

        // Nothing has left, so nothing is lost, however long.
        let (connection, other) = peer.open().await;
        reset(other);
        settle().await;
        let mut unsent = call(connection, Body::full(body.clone()), framing);
        let error = event(&mut unsent).await.expect_err("a reset");
        assert!(error.is_unsent(), "{error:?}");
        assert_eq!(whole(unsent).as_ref(), Some(&Bytes::from(body.clone())));
    }
}

#[tokio::test]
async fn a_body_is_kept_in_pieces_until_it_is_too_long() {
    let peer = Peer::new().await;
    for (length, is_kept) in [(BUFFER - 3, true), (BUFFER - 2, false)] {
        let (connection, _other) = peer.open().await;
        let body = Body::full(vec![b'l'; length]).behind(Bytes::from_static(b"hel"));
        let mut call = call(connection, body, Framing::Chunked);
        send(&mut call);
        assert_eq!(call.has_whole_body(), is_kept, "{length}");
        assert_eq!(call.into_whole_body().is_some(), is_kept, "{length}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_the_clients_fault() {
    let peer = Peer::new().await;
    for (body, framing) in [("hello", 4), ("hello", 6)] {
        let (connection, _other) = peer.open().await;
        let mut call = call(connection, Body::full(body), Framing::Length(framing));
        let error = event(&mut call).await.expect_err("another length");
        assert!(matches!(error, CallError::RequestLength), "{error:?}");
        assert!(!error.is_before_response());
    }
}
