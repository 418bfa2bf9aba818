//! A listener, or a route by server name, straight to an upstream: bytes that nobody reads.
//!
//! A session is one client's connection: an endpoint is picked and connected, another one if that
//! fails, and then the tunnel runs. Until an endpoint stands nothing is read from the client but
//! what a route was found by, and that is kept: no attempt can lose its first bytes.

mod destination;
mod greeted;
mod log;
mod opening;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::greeted::Greeted;
use self::opening::Opened;
use super::local::Local;
use super::tunnel::{End, Ended, Meters, Outcome, Passed, Prefix, Watch, tunnel};
use crate::context::ConnectionFacts;
use crate::endpoint::{ConnectFailure, Endpoint, SessionEnd};
use crate::message::Value;
use crate::net::{Known, Stream};
use crate::policy::RequestId;
use crate::proxy_protocol::Kind;
use crate::snapshot::{SessionMetrics, SessionResult, SessionRoute, TcpListener, TunnelTimeouts};
use crate::upstream::Waited;

/// How a session begins.
#[derive(Debug)]
pub struct Beginning {
    /// Who takes it.
    pub route: Arc<SessionRoute>,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// What was received already.
    pub received: Bytes,
}

impl Beginning {
    /// One at the target of a listener, if that has one.
    pub fn at(listener: &TcpListener, received: Vec<u8>) -> Option<Self> {
        Some(Self {
            route: Arc::clone(listener.fallback.as_ref()?),
            server_name: None,
            received: received.into(),
        })
    }
}

/// One client's connection, from its acceptance on. It is counted and logged when it is dropped, so
/// that a session which is cut by a drain, or by a fault of ours, is seen as well.
///
/// It may last for days and through many reloads, so it keeps nothing that leads to the route and
/// the upstream it began with: those would stay for as long, with their tables.
#[derive(Debug)]
struct Session {
    facts: ConnectionFacts,
    metrics: Arc<SessionMetrics>,
    /// What makes its id, unless a proxy in front has given it one.
    number: [u8; 16],
    /// Of TLS, if that is spoken.
    hello: Option<Box<Greeted>>,
    local: Rc<Local>,
    generation: u64,
    began: Instant,
    attempts: u8,
    /// Whether it leads to the endpoint that was tried last, and how that ended.
    is_open: bool,
    end_there: SessionEnd,
    result: SessionResult,
    /// For an endpoint with room.
    waited: Waited,
    /// Known as one that was brought here.
    taken: Option<Box<Known>>,
    /// The endpoint that was tried last.
    endpoint: Option<Arc<Endpoint>>,
    /// Until the connection to it stood.
    connect: Option<Duration>,
    passed: Passed,
    /// The cause of a failure, as a word of RFC 9209.
    error: Option<&'static str>,
}

/// Serves a client until its session ends; what is held is let go then.
///
/// A session may last for days, and there may be very many: a function that returns a future, since
/// an `async fn` holds its arguments twice, and a box for what is over once it is connected.
pub fn serve<H>(
    client: Stream,
    facts: ConnectionFacts,
    beginning: Beginning,
    local: Rc<Local>,
    held: H,
) -> impl Future<Output = ()> {
    let target = local.with_random(|random| beginning.route.pick(random));
    let hello = Greeted::with(&client, beginning.server_name);
    let mut session = Session::new(facts, target.metrics(), hello, local);
    // In boxes: most begin with nothing, and the target is over once it is connected.
    let received = (!beginning.received.is_empty()).then(|| Box::new(beginning.received));
    let target = Box::new(target);
    async move {
        let has_spoken = received.is_some();
        let opened = Box::pin(session.open_for(&client, target, has_spoken)).await;
        match opened {
            Ok((opened, limits)) => session.relay(&client, opened, limits, received).await,
            Err(result) => session.result = result,
        }
        // In this order: whoever is told of its end finds that it has been counted.
        drop((session, client, held));
    }
}

impl Session {
    fn new(
        facts: ConnectionFacts,
        metrics: &Arc<SessionMetrics>,
        hello: Option<Box<Greeted>>,
        local: Rc<Local>,
    ) -> Self {
        metrics.active.inc();
        Self {
            facts,
            metrics: Arc::clone(metrics),
            number: local.with_random(|random| random.u128(1..).to_be_bytes()),
            hello,
            generation: local.snapshot().generation,
            local,
            began: Instant::now(),
            attempts: 0,
            is_open: false,
            end_there: SessionEnd::Ended,
            result: SessionResult::Cut,
            waited: Waited::default(),
            taken: None,
            endpoint: None,
            connect: None,
            passed: Passed::default(),
            error: None,
        }
    }

    /// Its id: the one that a proxy in front has given the connection, since that is what endpoints
    /// are told, or one of its own.
    fn id(&self) -> RequestId {
        let proxied = self.facts.proxied.as_ref();
        let told = proxied.and_then(|proxied| proxied.tlvs.find(Kind::UniqueId));
        let told = told.and_then(Value::new).and_then(RequestId::of);
        told.unwrap_or_else(|| RequestId::of_number(u128::from_be_bytes(self.number)))
    }

    fn relay<'a>(
        &'a mut self,
        client: &'a Stream,
        opened: Opened,
        limits: TunnelTimeouts,
        received: Option<Box<Bytes>>,
    ) -> impl Future<Output = ()> + 'a {
        self.is_open = true;
        async move {
            // All of it: what is only held counts as well.
            let opened = &opened;
            let watch = Watch {
                limits,
                endpoint: &opened.pick.endpoint.live,
                passed: &self.passed,
                meters: Some(Meters {
                    sent: &self.metrics.sent,
                    received: &self.metrics.received,
                }),
            };
            let prefix = Prefix {
                sent: received.map(|received| *received).unwrap_or_default(),
                ..Prefix::default()
            };
            let ends = (End::Socket(client), End::Socket(&opened.stream));
            let outcome = tunnel(ends.0, ends.1, prefix, watch).await;
            self.conclude(&outcome);
        }
    }

    fn conclude(&mut self, outcome: &Outcome) {
        (self.result, self.error) = match outcome.end {
            Ended::Closed => (SessionResult::Ok, None),
            Ended::Idle => (SessionResult::Idle, Some("connection_read_timeout")),
            Ended::MaxAge => (SessionResult::MaxAge, None),
            Ended::Removed => (SessionResult::Removed, Some("destination_unavailable")),
            Ended::Silent => (SessionResult::Silent, Some("connection_read_timeout")),
            Ended::ClientReset => (SessionResult::ClientReset, None),
            Ended::EndpointReset => (SessionResult::EndpointReset, Some("connection_terminated")),
        };
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        self.end_there = match outcome.end {
            // It took the connection and never said a word: the next clients should go elsewhere.
            Ended::EndpointReset if outcome.received == 0 => {
                endpoint.connect_failed(ConnectFailure::Terminated, Instant::now());
                SessionEnd::ResetUnanswered
            }
            Ended::EndpointReset => SessionEnd::Reset,
            Ended::Closed => {
                // Who ends a connection on which nothing was said has proved nothing. Who only
                // listens is well if he took what there was: else his end would be a reset.
                if outcome.received > 0 || outcome.sent > 0 {
                    endpoint.live.connect_succeeded();
                }
                SessionEnd::Ended
            }
            Ended::Idle | Ended::Silent | Ended::MaxAge | Ended::Removed | Ended::ClientReset => {
                SessionEnd::Ended
            }
        };
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.metrics.active.dec();
        self.metrics.count(self.result);
        if let Some(endpoint) = self.endpoint.as_ref().filter(|_| self.is_open) {
            endpoint.metrics.session_ended(self.end_there);
        }
        self.log();
    }
}
