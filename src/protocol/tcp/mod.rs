//! A listener, or a route by server name, straight to an upstream: bytes that nobody reads.
//!
//! A session is one client's connection: an endpoint is picked and connected, another one if that
//! fails, and then the tunnel runs. Until an endpoint stands nothing is read from the client but
//! what a route was found by, and that is kept: no attempt can lose its first bytes.

mod cause;
mod destination;
mod greeted;
mod log;
mod opening;

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use self::cause::Cause;
use self::greeted::Greeted;
use self::opening::Standing;
use super::local::Local;
use super::tunnel::{End, Ended, Meters, Outcome, Passed, Prefix, Watch, tunnel};
use crate::context::{ConnectionFacts, Proxied};
use crate::endpoint::{self, ConnectFailure, Endpoint, SessionEnd};
use crate::net::{Known, Stream};
use crate::policy::RequestId;
use crate::snapshot::{SessionMetrics, SessionResult, SessionRoute, SessionTarget, TcpListener};
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
/// the upstream it began with: those would stay for as long, with their tables. And there may be
/// very many, so it keeps little: each pointer counts.
#[derive(Debug)]
struct Session {
    peer: SocketAddr,
    metrics: Arc<SessionMetrics>,
    /// Made when somebody is told it, at last the log.
    id: Option<Box<RequestId>>,
    /// What a proxy in front said.
    proxied: Option<Arc<Proxied>>,
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
    /// The cause of a failure.
    error: Option<Cause>,
}

/// What a session begins with, and needs no longer once an endpoint is connected.
#[derive(Debug)]
struct Start {
    target: SessionTarget,
    facts: ConnectionFacts,
    received: Bytes,
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
    let mut session = Session::new(&facts, target.metrics(), hello, local);
    let start = Box::new(Start {
        target,
        facts,
        received: beginning.received,
    });
    async move {
        let standing = match Box::pin(session.open_for(&client, start)).await {
            Ok(standing) => Some(standing),
            Err(result) => {
                session.result = result;
                None
            }
        };
        if let Some(standing) = standing {
            session.relay(&client, standing).await;
        }
        // In this order: whoever is told of its end finds that it has been counted.
        drop((session, client, held));
    }
}

impl Session {
    fn new(
        facts: &ConnectionFacts,
        metrics: &Arc<SessionMetrics>,
        hello: Option<Box<Greeted>>,
        local: Rc<Local>,
    ) -> Self {
        metrics.active.inc();
        Self {
            peer: facts.peer,
            metrics: Arc::clone(metrics),
            id: id_in_front(facts).map(Box::new),
            proxied: facts.proxied.clone(),
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

    /// Its id, which the log has too.
    fn id(&mut self) -> &RequestId {
        let local = &self.local;
        self.id.get_or_insert_with(|| Box::new(new_id(local)))
    }

    fn relay<'a>(
        &'a mut self,
        client: &'a Stream,
        standing: Box<Standing>,
    ) -> impl Future<Output = ()> + 'a {
        self.is_open = true;
        async move {
            let Standing {
                opened,
                limits,
                received,
            } = *standing;
            // All of it: what is only held counts as well.
            let opened = &opened;
            let watch = Watch {
                limits,
                endpoint: &opened.endpoint.live,
                places: &opened.places,
                passed: &self.passed,
                meters: Some(Meters {
                    sent: &self.metrics.sent,
                    received: &self.metrics.received,
                }),
            };
            let prefix = Prefix {
                sent: received,
                ..Prefix::default()
            };
            let ends = (End::Socket(client), End::Socket(&opened.stream));
            let outcome = tunnel(ends.0, ends.1, prefix, watch).await;
            self.conclude(&outcome, opened.places.of_attempt());
        }
    }

    fn conclude(&mut self, outcome: &Outcome, of: endpoint::Of) {
        (self.result, self.error) = match outcome.end {
            Ended::Closed => (SessionResult::Ok, None),
            Ended::Idle => (SessionResult::Idle, Some(Cause::Idle)),
            Ended::MaxAge => (SessionResult::MaxAge, Some(Cause::MaxAge)),
            Ended::Removed => (SessionResult::Removed, Some(Cause::NoEndpoint)),
            Ended::Silent => (SessionResult::Silent, Some(Cause::Silence)),
            Ended::ClientReset => (SessionResult::ClientReset, None),
            Ended::EndpointReset => (
                SessionResult::EndpointReset,
                Some(Cause::Failed(ConnectFailure::Terminated)),
            ),
        };
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        self.end_there = match outcome.end {
            // It took the connection and never said a word: the next clients should go elsewhere.
            Ended::EndpointReset if outcome.received == 0 => {
                let died = endpoint::Outcome::NoConnection(ConnectFailure::Terminated);
                endpoint.learn_of(of, died, Instant::now);
                SessionEnd::ResetUnanswered
            }
            Ended::EndpointReset => SessionEnd::Reset,
            Ended::Closed => {
                // Who ends a connection on which nothing was said has proved nothing. Who only
                // listens is well if he took what there was: else his end would be a reset.
                if outcome.received > 0 || outcome.sent > 0 {
                    endpoint.learn_of(of, endpoint::Outcome::Proved, Instant::now);
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

/// What a proxy in front calls the connection: endpoints are told the same.
fn id_in_front(facts: &ConnectionFacts) -> Option<RequestId> {
    RequestId::given(facts.proxied.as_ref()?.take_id()?)
}

fn new_id(local: &Local) -> RequestId {
    local.with_random(RequestId::random)
}
