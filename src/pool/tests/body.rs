//! Bodies of responses, and what becomes of the connection behind them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::AsyncWriteExt;

use super::calls::{call, event};
use super::*;
use crate::body::{Body, BodyError, Flow};
use crate::http1::Framing;

/// A response whose head has come, and what its body has to do with.
struct Scene {
    pool: Rc<Pool>,
    peer: Peer,
    other: TcpStream,
    /// Its other half goes with the request.
    in_flight: Rc<Heard>,
    body: ResponseBody<Rc<Heard>>,
}

/// What came of a body.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    data: String,
    trailers: Option<HeaderMap>,
    error: Option<BodyError>,
}

/// A body of which nothing ever comes.
struct Never;

/// What a receipt has heard.
type Heard = Cell<&'static str>;

impl Receipt for Rc<Heard> {
    fn ended(&mut self) {
        self.set("ended");
    }

    fn broke_off(&mut self) {
        self.set("broke off");
    }

    fn fell_silent(&mut self) {
        self.set("fell silent");
    }
}

impl Scene {
    /// The endpoint has said this, the head and some of the body.
    async fn new(bytes: &str) -> Self {
        Self::of_request(Body::empty(), Framing::None, bytes).await
    }

    async fn of_request(body: Body, framing: Framing, bytes: &str) -> Self {
        let peer = Peer::new().await;
        let (connection, mut other) = peer.open().await;
        other.write_all(bytes.as_bytes()).await.expect("it is open");
        let mut call = call(connection, body, framing);
        let Ok(Event::Response(head)) = event(&mut call).await else {
            panic!("no response: {bytes}")
        };
        let (pool, in_flight) = (Rc::new(Pool::default()), Rc::default());
        let guard = Rc::clone(&in_flight);
        let framing = (head.framing, head.trailers);
        let body = ResponseBody::new(call, framing, head.persistent, home(&pool), guard);
        Self {
            pool,
            peer,
            other,
            in_flight,
            body,
        }
    }

    async fn says(&mut self, bytes: &str) {
        let bytes = bytes.as_bytes();
        self.other.write_all(bytes).await.expect("it is open");
    }

    async fn frame(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await
    }

    /// The next piece of data.
    async fn data(&mut self) -> String {
        let frame = self.frame().await.expect("a frame").expect("no error");
        text(&frame.into_data().expect("data"))
    }

    /// Reads to the end, as a recipient does: an error is the end.
    async fn rest(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(frame) = self.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => outcome.data += &text(&data),
                Ok(Err(frame)) => outcome.trailers = frame.into_trailers().ok(),
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        outcome
    }

    fn is_in_flight(&self) -> bool {
        Rc::strong_count(&self.in_flight) > 1
    }

    /// Connections that were kept.
    fn kept(&self) -> usize {
        self.pool.len()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Data without an error.
fn whole(data: &str) -> Outcome {
    Outcome {
        data: data.to_owned(),
        ..Outcome::default()
    }
}

/// Data, and then an error.
fn broken(data: &str, error: BodyError) -> Outcome {
    Outcome {
        error: Some(error),
        ..whole(data)
    }
}

fn head(lines: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n")
}

fn chunked(chunks: &str) -> String {
    head("Transfer-Encoding: chunked") + chunks
}

#[tokio::test]
async fn who_holds_a_receipt_hears_how_a_response_ended() {
    let head = "HTTP/1.1 200 OK\r\n";
    for (rest, heard) in [
        ("Content-Length: 5\r\n\r\nwhole", "ended"),
        ("Content-Length: 4\r\n\r\nha", "fell silent"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nwhole", ""),
    ] {
        let mut scene = Scene::new(&format!("{head}{rest}")).await;
        scene.data().await;
        Pin::new(&mut scene.body).fell_silent();
        assert_eq!(scene.in_flight.get(), heard, "{rest}");
        // That nobody waits for the rest is nothing to hear.
        let Scene {
            in_flight, body, ..
        } = scene;
        drop(body);
        assert_eq!(in_flight.get(), heard, "{rest}");
    }
    let mut scene = Scene::new(&format!("{head}Transfer-Encoding: chunked\r\n\r\nx\r\n")).await;
    assert!(scene.rest().await.error.is_some());
    assert_eq!(scene.in_flight.get(), "broke off");
}

#[tokio::test]
async fn a_connection_goes_home_with_the_last_byte() {
    let mut scene = Scene::new(&(head("Content-Length: 10") + "hello")).await;
    assert_eq!(scene.body.size_hint().exact(), Some(10));
    assert_eq!(scene.data().await, "hello");
    assert_eq!(scene.body.size_hint().exact(), Some(5));
    assert!(scene.is_in_flight() && scene.kept() == 0 && !scene.body.is_end_stream());
    scene.says("world").await;
    assert_eq!(scene.data().await, "world");
    // Without being asked for more.
    assert!(!scene.is_in_flight() && scene.kept() == 1 && scene.body.is_end_stream());
    assert_eq!(scene.rest().await, whole(""));
    let again = scene
        .pool
        .checkout(&scene.peer.endpoint, Wanted::ANY, Instant::now(), false);
    assert!(again.expect("it is kept").is_reused());
}

#[tokio::test]
async fn a_response_without_a_body_is_over_at_once() {
    for lines in [
        "Content-Length: 0",
        "Connection: keep-alive\r\nContent-Length: 0",
    ] {
        let scene = Scene::new(&head(lines)).await;
        assert!(!scene.is_in_flight() && scene.body.is_end_stream());
        assert_eq!(scene.kept(), 1, "{lines}");
    }
}

#[tokio::test]
async fn a_body_that_came_with_its_head_need_not_stream() {
    for (bytes, whole) in [
        (head("Content-Length: 5") + "hello", Some("hello")),
        (head("Content-Length: 0"), Some("")),
        (head("Content-Length: 5") + "hell", None),
        (chunked("5\r\nhello\r\n0\r\n\r\n"), None),
        (head("Connection: close") + "hello", None),
    ] {
        let peer = Peer::new().await;
        let (connection, mut other) = peer.open().await;
        other.write_all(bytes.as_bytes()).await.expect("it is open");
        let mut call = call(connection, Body::empty(), Framing::None);
        let Ok(Event::Response(head)) = event(&mut call).await else {
            panic!("no response: {bytes}")
        };
        let body = call.take_whole_body(head.framing);
        assert_eq!(body.as_deref(), whole.map(str::as_bytes), "{bytes}");
        if body.is_some() {
            let Return { pool, keep } = home(&Rc::new(Pool::default()));
            call.end(head.persistent, &pool, keep, Instant::now());
            assert_eq!(pool.len(), 1, "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_left_takes_its_connection_along() {
    for bytes in [
        head("Content-Length: 10") + "hello",
        chunked("5\r\nhello\r\n"),
    ] {
        let mut scene = Scene::new(&bytes).await;
        assert_eq!(scene.data().await, "hello");
        let Scene {
            pool,
            mut other,
            body,
            in_flight,
            ..
        } = scene;
        drop(body);
        closed(&mut other).await;
        assert_eq!(
            (pool.len(), Rc::strong_count(&in_flight)),
            (0, 1),
            "{bytes}"
        );
    }
}

#[tokio::test]
async fn chunks_end_with_the_piece_that_is_the_last() {
    let mut scene = Scene::new(&chunked("5\r\nhello\r\n0\r\n\r\n")).await;
    assert_eq!(scene.data().await, "hello");
    assert!(!scene.is_in_flight() && scene.kept() == 1 && scene.body.is_end_stream());
    assert_eq!(scene.rest().await, whole(""));
}

#[tokio::test]
async fn chunks_may_come_in_any_pieces() {
    let bytes = chunked("5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n");
    let start = chunked("").len();
    for cut in start..bytes.len() {
        let mut scene = Scene::new(&bytes[..cut]).await;
        let early = settled_frames(&mut scene).await;
        scene.says(&bytes[cut..]).await;
        let outcome = scene.rest().await;
        assert_eq!(early + &outcome.data, "hello world", "cut at {cut}");
        assert_eq!((outcome.error, scene.kept()), (None, 1), "cut at {cut}");
    }
}

/// What the body yields without waiting.
async fn settled_frames(scene: &mut Scene) -> String {
    let mut data = String::new();
    settle().await;
    poll_fn(|cx| {
        while let Poll::Ready(frame) = Pin::new(&mut scene.body).poll_frame(cx) {
            let Some(frame) = frame else { break };
            let frame = frame.expect("no error").into_data().expect("data");
            data += &text(&frame);
        }
        Poll::Ready(())
    })
    .await;
    data
}

#[tokio::test]
async fn trailers_come_last() {
    let mut scene = Scene::new(&chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")).await;
    let outcome = scene.rest().await;
    assert_eq!(outcome.data, "hello");
    assert_eq!(outcome.trailers.expect("trailers")["x-sum"], "1");
    assert_eq!((outcome.error, scene.kept()), (None, 1));
    assert!(scene.body.is_end_stream());
}

#[tokio::test]
async fn a_bad_chunk_behind_good_data_is_never_a_clean_end() {
    for bad in [
        "x\r\n",
        "5\r\nhello!\r\n",
        "5 \r\nhello\r\n",
        "0\r\nbad trailer\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "\r\n",
    ] {
        // In the same read as the good data, and in one of its own.
        for together in [true, false] {
            let good = chunked("5\r\nhello\r\n");
            let mut scene = if together {
                Scene::new(&(good + bad)).await
            } else {
                Scene::new(&good).await
            };
            assert_eq!(scene.data().await, "hello", "{bad:?}");
            assert!(!scene.body.is_end_stream(), "{bad:?} looks like an end");
            if !together {
                scene.says(bad).await;
            }
            let outcome = scene.rest().await;
            let data = outcome.data.clone();
            assert_eq!(outcome, broken(&data, BodyError::Malformed), "{bad:?}");
            assert_eq!(scene.kept(), 0, "{bad:?}");
            closed(&mut scene.other).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_says_so() {
    for bytes in [
        head("Content-Length: 10") + "hello",
        chunked("5\r\nhello\r\n"),
        chunked("5\r\nhello\r\n0\r\n"),
        chunked("a\r\nhello"),
    ] {
        let mut scene = Scene::new(&bytes).await;
        scene.other.shutdown().await.expect("it is open");
        assert_eq!(
            scene.rest().await,
            broken("hello", BodyError::Truncated),
            "{bytes}"
        );
        assert_eq!(scene.kept(), 0, "{bytes}");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole_and_the_connection_gone() {
    let mut scene = Scene::new(&(head("X-A: b") + "hello")).await;
    assert_eq!(scene.body.size_hint().exact(), None);
    scene.other.shutdown().await.expect("it is open");
    assert_eq!(scene.rest().await, whole("hello"));
    assert_eq!((scene.kept(), scene.is_in_flight()), (0, false));
}

#[tokio::test]
async fn a_connection_that_is_announced_to_close_is_not_kept() {
    for bytes in [
        head("Connection: close\r\nContent-Length: 5") + "hello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
    ] {
        let mut scene = Scene::new(&bytes).await;
        assert_eq!(scene.rest().await, whole("hello"), "{bytes}");
        assert_eq!((scene.kept(), scene.is_in_flight()), (0, false), "{bytes}");
    }
}

#[tokio::test]
async fn a_connection_with_bytes_behind_the_response_is_not_kept() {
    for bytes in [
        head("Content-Length: 5") + "hello" + "HTTP/1.1 200 OK\r\n",
        chunked("5\r\nhello\r\n0\r\n\r\n") + "x",
    ] {
        let mut scene = Scene::new(&bytes).await;
        assert_eq!(scene.rest().await, whole("hello"), "{bytes}");
        assert_eq!(scene.kept(), 0, "{bytes}");
        closed(&mut scene.other).await;
    }
}

#[tokio::test]
async fn a_connection_that_still_carries_its_request_is_not_kept() {
    let bytes = head("Content-Length: 5") + "hello";
    let request = Body::stream(Never);
    let mut scene = Scene::of_request(request, Framing::Chunked, &bytes).await;
    assert_eq!(scene.rest().await, whole("hello"));
    assert_eq!((scene.kept(), scene.is_in_flight()), (0, false));
    closed(&mut scene.other).await;
}

impl HttpBody for Never {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Flow for Never {}
