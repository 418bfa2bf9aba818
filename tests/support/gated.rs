//! An endpoint that answers when the test says so: what is in flight stays there meanwhile.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::clock::eventually;
use super::endpoint::Endpoint;

/// Holds every request until it is opened.
#[derive(Debug)]
pub(crate) struct Gated {
    endpoint: Endpoint,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gated {
    /// An endpoint that answers with this body, once it is opened.
    pub(crate) fn answering(body: &str) -> Self {
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let endpoint = Endpoint::start(move |peer| {
            while peer.request().is_some() {
                held.wait();
                peer.send(&answer);
            }
        });
        Self { endpoint, gate }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// How many requests have come.
    pub(crate) fn count(&self) -> usize {
        self.endpoint.requests().len()
    }

    /// Waits until this many requests have come, answered or not.
    pub(crate) fn wait_for(&self, count: usize) {
        eventually("the endpoint has the request", || {
            (self.count() >= count).then_some(())
        });
    }

    /// Answers what is held, and from now on everything at once.
    pub(crate) fn open(&self) {
        self.gate.open();
    }

    /// The endpoint itself.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Whoever still waits is let go, so that no thread outlives its test.
impl Drop for Gated {
    fn drop(&mut self) {
        self.gate.open();
    }
}

impl Gate {
    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.opened.wait_while(is_open, |is_open| !*is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}
