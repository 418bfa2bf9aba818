//! A listener, or a route by server name, straight to an upstream: bytes that nobody reads.
//!
//! A session is one client's connection: an endpoint is picked and connected, another one if that
//! fails, and then the tunnel runs. Until an endpoint stands nothing is read from the client but
//! what a route was found by, and that is kept: no attempt can lose its first bytes.

mod destination;
mod log;
mod opening;
mod terminated;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::opening::Opened;
use self::terminated::Terminated;
use super::local::Local;
use super::tunnel::{End, Ended, Meters, Outcome, Passed, Prefix, Watch, tunnel};
use crate::context::ConnectionFacts;
use crate::endpoint::{ConnectFailure, Endpoint, SessionEnd};
use crate::message::Value;
use crate::net::{Known, Stream};
use crate::policy::RequestId;
use crate::proxy_protocol::Kind;
use crate::snapshot::{SessionMetrics, SessionResult, SessionRoute, TcpListener, TunnelTimeouts};

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
    told: Box<Told>,
    local: Rc<Local>,
    /// Whether it leads to the endpoint that was tried last, and how that ended.
    is_open: bool,
    end_there: SessionEnd,
    /// Known as one that was brought here.
    taken: Option<Box<Known>>,
    /// The endpoint that was tried last.
    endpoint: Option<Arc<Endpoint>>,
    passed: Passed,
    result: SessionResult,
    /// The cause of a failure, as a word of RFC 9209.
    error: Option<&'static str>,
}

/// What is told of a session. In a box: most of them rest, and then nobody asks.
#[derive(Debug)]
struct Told {
    id: RequestId,
    generation: u64,
    began: Instant,
    route: Arc<str>,
    upstream: Arc<str>,
    /// The name that the client asked for, where TLS passes through.
    server_name: Option<Box<str>>,
    /// TLS that ends here, if it does.
    terminated: Option<Terminated>,
    attempts: u32,
    /// For how long it waited for an endpoint with room.
    queued: Duration,
    /// Until the connection to the endpoint stood.
    connect: Option<Duration>,
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
    let told = Told {
        id: local.with_random(|random| id_of(&facts, random)),
        generation: local.snapshot().generation,
        began: Instant::now(),
        route: Arc::clone(&target.route.name),
        upstream: Arc::clone(&target.choice().upstream.name),
        server_name: beginning.server_name,
        terminated: Terminated::on(&client),
        attempts: 0,
        queued: Duration::ZERO,
        connect: None,
    };
    let mut session = Session::new(facts, target.metrics(), told, local);
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
        told: Told,
        local: Rc<Local>,
    ) -> Self {
        metrics.active.inc();
        Self {
            facts,
            metrics: Arc::clone(metrics),
            told: Box::new(told),
            local,
            is_open: false,
            end_there: SessionEnd::Ended,
            taken: None,
            endpoint: None,
            passed: Passed::default(),
            result: SessionResult::Cut,
            error: None,
        }
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

/// The id of a session: the one that a proxy in front has given the connection, since that is what
/// endpoints are told, or a new one.
fn id_of(facts: &ConnectionFacts, random: &mut fastrand::Rng) -> RequestId {
    let proxied = facts.proxied.as_ref();
    let told = proxied.and_then(|proxied| proxied.tlvs.find(Kind::UniqueId));
    let told = told.and_then(Value::new).and_then(RequestId::of);
    told.unwrap_or_else(|| RequestId::made(random))
}
