//! One run: a client, a proxy and the endpoint, from the first byte to the last close.

use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::endpoint::{Endpoint, Script};
use crate::rest::Motion;
use crate::wire::{Message, read_response};

/// Serves a client's connection until it ends.
pub trait Proxy {
    /// Begins to.
    fn serve(&self, stream: UnixStream) -> JoinHandle<()>;
}

/// What was visible of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What the endpoint was asked.
    pub seen: Vec<Message>,
    /// What the client received.
    pub received: Vec<u8>,
    /// Whether the proxy closed the client's connection before the client ended its side.
    pub is_closed: bool,
    /// Whether it did so once the client had.
    pub has_ended: bool,
    /// What the client received after it had sent a second request, behind a scripted answer.
    pub second: Vec<u8>,
    /// How many final answers it received to what it said first.
    pub answers: usize,
}

/// A client sends bytes, whatever they are; the endpoint answers each request in the usual way.
pub async fn requests(
    proxy: &impl Proxy,
    endpoint: &Endpoint,
    (how, bytes): (u8, &[u8]),
) -> Outcome {
    let motion = Motion::default();
    let session = endpoint.session(Script::Usual, &motion);
    let (mut client, serving) = connect(proxy, &motion);
    client.send(how, bytes).await;
    motion.rest().await;
    let is_closed = client.is_closed();
    client.finish().await;
    motion.rest().await;
    let (received, has_ended) = (client.received(), client.is_closed());
    let answers = client.answers();
    client.end().await;
    motion.rest().await;
    ended(serving, &motion).await;
    Outcome {
        seen: session.end().await,
        received,
        is_closed,
        has_ended,
        second: Vec::new(),
        answers,
    }
}

/// A client sends `request`, and the endpoint says `script`. Then, if the client's connection is
/// still there, it sends `request` again.
pub async fn responses(
    proxy: &impl Proxy,
    endpoint: &Endpoint,
    request: &[u8],
    script: Script<'_>,
) -> Outcome {
    let motion = Motion::default();
    let session = endpoint.session(script, &motion);
    let (mut client, serving) = connect(proxy, &motion);
    client.send(b' ', request).await;
    motion.rest().await;
    if !is_answered(&client.received(), request) {
        session.close();
        motion.rest().await;
    }
    let (received, is_closed) = (client.received(), client.is_closed());
    if !is_closed {
        client.send(b' ', request).await;
        motion.rest().await;
    }
    let second = client.received()[received.len()..].to_vec();
    client.finish().await;
    motion.rest().await;
    let (has_ended, answers) = (client.is_closed(), client.answers());
    client.end().await;
    session.close();
    motion.rest().await;
    ended(serving, &motion).await;
    Outcome {
        seen: session.end().await,
        received,
        is_closed,
        has_ended,
        second,
        answers,
    }
}

fn connect(proxy: &impl Proxy, motion: &Motion) -> (Client, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().expect("two descriptors");
    (Client::new(ours, motion), proxy.serve(theirs))
}

/// The task of a connection ends with it, or something is kept for ever.
async fn ended(serving: JoinHandle<()>, motion: &Motion) {
    if !serving.is_finished() {
        motion.rest().await;
    }
    assert!(serving.is_finished(), "a connection outlives its client");
    serving.await.expect("no panic");
}

/// Whether a final answer has come wholly, so that its connection may be free for another.
fn is_answered(received: &[u8], request: &[u8]) -> bool {
    let is_head = request.starts_with(b"HEAD ");
    let mut rest = received;
    while let Ok(Some((answer, size))) = read_response(rest, is_head, false) {
        if answer.status() >= 200 {
            return answer.is_whole;
        }
        rest = &rest[size..];
    }
    false
}
