//! The engine beside a proxy made of hyper: the same bytes, and what is forwarded, answered and
//! closed.

mod oracle;
mod request_rules;
mod requests;
mod response_rules;
mod responses;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::endpoint::{Endpoint, Script};
use crate::engine::Engine;
use crate::run;

use self::oracle::Oracle;

/// Both proxies in front of one endpoint.
#[derive(Debug)]
pub struct Bench {
    runtime: Runtime,
    endpoint: Endpoint,
    engine: Engine,
    oracle: Oracle,
}

impl Bench {
    /// Both proxies, not yet used.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::bind("hyper").expect("a socket")
        };
        Self {
            engine: Engine::new(endpoint.path()),
            oracle: Oracle::new(endpoint.path()),
            endpoint,
            runtime,
        }
    }

    /// Runs one input. False if it is none: it begins with what the rest is, and how that is split.
    ///
    /// # Panics
    ///
    /// If the engine does anything that hyper does not, and that no rule accepts.
    pub fn run(&self, input: &[u8]) -> bool {
        let [kind, how, bytes @ ..] = input else {
            return false;
        };
        let local = LocalSet::new();
        local.block_on(&self.runtime, async {
            match kind {
                b'q' => self.requests(*how, bytes).await,
                b's' => self.responses(GET, (*how, bytes), false).await,
                b'S' => self.responses(GET, (*how, bytes), true).await,
                b'h' => self.responses(HEAD, (*how, bytes), false).await,
                b'H' => self.responses(HEAD, (*how, bytes), true).await,
                b'o' => self.responses(OLD, (*how, bytes), false).await,
                _ => return false,
            }
            true
        })
    }

    async fn requests(&self, how: u8, bytes: &[u8]) {
        let ours = run::requests(&self.engine, &self.endpoint, (how, bytes)).await;
        let theirs = run::requests(&self.oracle, &self.endpoint, (how, bytes)).await;
        let read = self.oracle.take_read();
        requests::compare(bytes, &ours, &theirs, &read.requests);
    }

    async fn responses(&self, request: &[u8], (how, bytes): (u8, &[u8]), stays: bool) {
        let script = Script::Bytes { bytes, how, stays };
        let ours = run::responses(&self.engine, &self.endpoint, request, script).await;
        let theirs = run::responses(&self.oracle, &self.endpoint, request, script).await;
        let read = self.oracle.take_read();
        responses::compare(request, bytes, &ours, &theirs, &read.answers);
    }
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

const GET: &[u8] = b"GET /r HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n";

const HEAD: &[u8] = b"HEAD /r HTTP/1.1\r\nHost: a\r\n\r\n";

/// HTTP/1.0 knows no chunks and no interim responses.
const OLD: &[u8] = b"GET /r HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
