//! One request on a stream of its own: a task from its head to the end of its response.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use super::Streams;
use crate::http1::{Framing, RequestHead, Trailers};
use crate::http2::{self, Stream, StreamError};
use crate::protocol::http::client::Client;
use crate::protocol::http::connection::{Connection, Next};
use crate::protocol::http::exchange;
use crate::protocol::http::record::Who;
use crate::protocol::http::respond::Cause;
use crate::protocol::http::terms::Terms;
use crate::protocol::http::websocket;
use crate::snapshot::Http2;

/// What a connection and all its requests hold until the last of them has ended. A request that
/// ends by a fault of ours is counted here, since its connection goes on.
#[derive(Debug)]
pub(super) struct Held<G> {
    _guard: G,
    spoken: Arc<Http2>,
}

/// One request's hold.
struct Hold<G>(Rc<Held<G>>);

impl<G> Held<G> {
    pub(super) fn new(guard: G, spoken: &Arc<Http2>) -> Self {
        Self {
            _guard: guard,
            spoken: Arc::clone(spoken),
        }
    }
}

impl<G> Drop for Hold<G> {
    fn drop(&mut self) {
        // Where it is the last, the guard counts it.
        if std::thread::panicking() && Rc::strong_count(&self.0) > 1 {
            self.0.spoken.metrics.panicked.inc();
        }
    }
}

impl<G: 'static> Streams<G> {
    /// Serves a request.
    pub(super) fn spawn(&self, head: http2::RequestHead, stream: Stream) {
        let (hold, request) = self.request(stream);
        let terms = self.terms.clone();
        // Its body is as long as it was to be before anything of it has come; that nothing comes,
        // only its end tells.
        let is_to_be_empty = head.length == Some(0) && !head.ends;
        let head = Box::new(as_http1(head));
        // The task belongs to the worker's runtime; it ends with its stream.
        drop(spawn_local(async move {
            if is_to_be_empty && !is_ended(&request, &terms).await {
                return end(request, hold);
            }
            let next = exchange::serve(&request, &terms, head).await;
            if let Next::Tunnel(tunnel) = next {
                // A tunnel may outlive many snapshots, and must not keep its own alive.
                drop(terms);
                Box::pin(tunnel.run(request.client)).await;
                drop(hold);
            } else {
                end(request, hold);
            }
        }));
    }

    /// Answers what cannot be served.
    pub(super) fn spawn_refusal(&self, cause: Cause, stream: Stream) {
        let (hold, request) = self.request(stream);
        let terms = self.terms.clone();
        drop(spawn_local(async move {
            drop(exchange::refuse(&request, &terms, cause, Instant::now()).await);
            end(request, hold);
        }));
    }

    fn request(&self, stream: Stream) -> (Hold<G>, Connection) {
        let request = Connection {
            client: Rc::new(Client::on_stream(
                stream,
                Rc::clone(&self.routes),
                self.facts.clone(),
            )),
            local: Rc::clone(&self.local),
        };
        (Hold(Rc::clone(&self.held)), request)
    }
}

/// Ends a request whose exchange is over, which has decided how its stream ends. Where the client
/// is still sending, that is left to a task that keeps nothing of the exchange.
fn end<G: 'static>(request: Connection, hold: Hold<G>) {
    if request.client.http2().is_some_and(Stream::may_say_rest) {
        drop(spawn_local(async move {
            request.client.linger().await;
            drop(request);
            drop(hold);
        }));
        return;
    }
    drop(request);
    drop(hold); // the last: whoever counts must find what is still there
}

/// Waits for the end of a request that has no body but its end. False if it was told there is one,
/// or has gone; one whose end does not come is answered.
async fn is_ended(request: &Connection, terms: &Terms) -> bool {
    let Some(stream) = request.client.http2() else {
        return false;
    };
    let began = Instant::now();
    let end = poll_fn(|cx| stream.poll_frame(cx));
    match timeout(terms.listener.timeouts.body_idle, end).await {
        // Trailers of an empty body have no place in HTTP/1.1 beside its length.
        Ok(None | Some(Ok(_))) => true,
        Ok(Some(Err(StreamError::Malformed(_)))) => {
            let who = Who {
                local: &request.local,
                stream: request.client.stream(),
                facts: &request.client.facts,
            };
            exchange::note_refused(terms, &who, Cause::BadRequest);
            false
        }
        Ok(Some(Err(_))) => false,
        Err(_) => {
            drop(exchange::refuse(request, terms, Cause::RequestBodyTimeout, began).await);
            false
        }
    }
}

/// A head as HTTP/1.1 has it: what is done to a request does not know the difference.
fn as_http1(mut head: http2::RequestHead) -> RequestHead {
    let upgrade = websocket::ask(&mut head);
    let is_tunnel = upgrade.is_some() || head.parts.method == Method::CONNECT;
    let framing = match head.length {
        // What follows is no body, and waits in its stream until there is somebody to read it.
        None if is_tunnel => Framing::None,
        Some(length) => Framing::Length(length),
        None if head.ends => Framing::None,
        None => Framing::Chunked,
    };
    RequestHead {
        parts: head.parts,
        framing,
        trailers: Trailers::Kept,
        persistent: true,
        expect_continue: head.expect_continue && framing.has_body(),
        upgrade,
        te_trailers: head.te_trailers,
        size: 0,
    }
}
