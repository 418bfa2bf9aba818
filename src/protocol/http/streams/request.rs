//! One request on a stream of its own: a task from its head to the end of its response.

use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Streams;
use crate::http1::{Framing, RequestHead, Trailers};
use crate::http2::{self, Stream};
use crate::protocol::http::client::Client;
use crate::protocol::http::connection::Connection;
use crate::protocol::http::exchange;
use crate::protocol::http::respond::Cause;
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
        let head = Box::new(as_http1(head));
        // The task belongs to the worker's runtime; it ends with its stream.
        drop(spawn_local(async move {
            // How its stream ends, the exchange has decided.
            drop(exchange::serve(&request, &terms, head).await);
            // In this order: whoever counts must find what is still there.
            drop(request);
            drop(hold);
        }));
    }

    /// Answers what cannot be served.
    pub(super) fn spawn_refusal(&self, cause: Cause, stream: Stream) {
        let (hold, request) = self.request(stream);
        let terms = self.terms.clone();
        drop(spawn_local(async move {
            drop(exchange::refuse(&request, &terms, cause, Instant::now()).await);
            drop(request);
            drop(hold);
        }));
    }

    fn request(&self, stream: Stream) -> (Hold<G>, Connection) {
        let request = Connection {
            client: Rc::new(Client::on_stream(stream, self.facts.clone())),
            local: Rc::clone(&self.local),
        };
        (Hold(Rc::clone(&self.held)), request)
    }
}

/// A head as HTTP/1.1 has it: what is done to a request does not know the difference.
fn as_http1(head: http2::RequestHead) -> RequestHead {
    let framing = match head.length {
        Some(length) => Framing::Length(length),
        None if head.ends => Framing::None,
        None => Framing::Chunked,
    };
    RequestHead {
        parts: head.parts,
        framing,
        trailers: Trailers::Kept,
        persistent: true,
        expect_continue: false,
        upgrade: None,
        te_trailers: head.te_trailers,
        size: 0,
    }
}
