//! A listener, or a route by server name, straight to an upstream: bytes that nobody reads.
//!
//! A session is one client's connection: an endpoint is picked and connected, another one if that
//! fails, and then the tunnel runs. Until an endpoint stands nothing is read from the client but
//! what a route was found by, and that is kept: no attempt can lose its first bytes.

mod destination;
mod log;
mod terminated;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use self::terminated::Terminated;
use super::introduction::{Known as Introduced, introduction};
use super::local::Local;
use super::tunnel::{End, Ended, Meters, Outcome, Passed, Prefix, Watch, tunnel};
use crate::balance::client_key;
use crate::context::ConnectionFacts;
use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection, SessionEnd};
use crate::net::{Known, Stream, named};
use crate::pool::{Wanted, connect};
use crate::snapshot::{Choice, Denial, SessionResult, SessionRoute, SessionTarget, TcpListener};
use crate::tls::Purpose;
use crate::upstream::{Pick, PickError};

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
#[derive(Debug)]
struct Session {
    facts: ConnectionFacts,
    target: SessionTarget,
    /// The name that the client asked for.
    server_name: Option<Box<str>>,
    /// TLS that ends here, if it does.
    terminated: Option<Box<Terminated>>,
    local: Rc<Local>,
    generation: u64,
    began: Instant,
    attempts: u32,
    /// Whether it leads to the endpoint that was tried last, and how that ended.
    is_open: bool,
    end_there: SessionEnd,
    /// Known as one that was brought here.
    taken: Option<Box<Known>>,
    /// The endpoint that was tried last.
    endpoint: Option<Arc<Endpoint>>,
    /// Until the connection to it stood.
    connect: Option<Duration>,
    passed: Passed,
    result: SessionResult,
    /// The cause of a failure, as a word of RFC 9209.
    error: Option<&'static str>,
}

/// A connection to an endpoint with all that counts it.
#[derive(Debug)]
struct Opened {
    stream: Stream,
    /// One more of its connections.
    _open: OpenConnection,
    /// One more in flight there.
    pick: Pick,
    /// Known as one of ours, where it might be brought here.
    _made: Option<Box<Known>>,
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
    let mut session = Session::new(facts, target, beginning.server_name, local);
    session.terminated = Terminated::on(&client);
    // In a box: most begin with nothing.
    let received = (!beginning.received.is_empty()).then(|| Box::new(beginning.received));
    async move {
        let opened = Box::pin(session.open_for(&client)).await;
        match opened {
            Ok(opened) => session.relay(&client, opened, received).await,
            Err(result) => {
                session.result = result;
                // An orderly end would say that the service had nothing to tell.
                client.reset_on_close();
            }
        }
        // In this order: whoever is told of its end finds that it has been counted.
        drop((session, client, held));
    }
}

impl Session {
    fn new(
        facts: ConnectionFacts,
        target: SessionTarget,
        server_name: Option<Box<str>>,
        local: Rc<Local>,
    ) -> Self {
        target.metrics().active.inc();
        Self {
            facts,
            generation: local.snapshot().generation,
            target,
            server_name,
            terminated: None,
            local,
            began: Instant::now(),
            attempts: 0,
            is_open: false,
            end_there: SessionEnd::Ended,
            taken: None,
            endpoint: None,
            connect: None,
            passed: Passed::default(),
            result: SessionResult::Cut,
            error: None,
        }
    }

    /// Connects to where the session goes, for as long as the client waits for it.
    async fn open_for(&mut self, client: &Stream) -> Result<Opened, SessionResult> {
        tokio::select! {
            biased;
            () = client.broken() => Err(SessionResult::ClientReset),
            opened = self.open(client) => opened,
        }
    }

    async fn open(&mut self, client: &Stream) -> Result<Opened, SessionResult> {
        match destination::taken(self.facts.brought.as_deref(), client) {
            Ok(known) => self.taken = known.map(Box::new),
            Err(refusal) => return Err(self.refuse(refusal)),
        }
        if self.target.choice().upstream.leads_to_destinations() {
            self.open_destination(client).await
        } else {
            self.open_endpoint(client).await
        }
    }

    /// Connects to where the client was going.
    async fn open_destination(&mut self, client: &Stream) -> Result<Opened, SessionResult> {
        let target = self.target.clone();
        let Choice {
            upstream, timeouts, ..
        } = target.choice();
        let found = destination::destination(
            self.facts.brought.as_deref(),
            upstream,
            &self.local.snapshot(),
        );
        let to = match found {
            Ok(to) => to,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        let pick = upstream.pick_in_turn(|| upstream.pick_destination(to), timeouts.connect);
        match pick.await {
            Ok(pick) => self.connect(client, pick).await,
            Err(error) => {
                self.error = Some(word(error));
                Err(SessionResult::Unavailable)
            }
        }
    }

    fn refuse(&mut self, refusal: Denial) -> SessionResult {
        self.target.metrics().refuse(refusal);
        self.error = Some(refusal.error());
        SessionResult::Denied
    }

    /// Connects to an endpoint, and to another one as often as that fails.
    async fn open_endpoint(&mut self, client: &Stream) -> Result<Opened, SessionResult> {
        let key = named(self.facts.peer).map(client_key);
        let mut tried = Vec::new();
        let mut result = SessionResult::Unavailable;
        while tried.len() < ATTEMPTS {
            let Choice {
                upstream, timeouts, ..
            } = self.target.choice();
            let local = &self.local;
            let pick = || {
                let now = Instant::now();
                local.with_random(|random| upstream.pick_for(key, &tried, random, now))
            };
            let pick = if tried.is_empty() {
                upstream.pick_in_turn(pick, timeouts.connect).await
            } else {
                pick()
            };
            let pick = match pick {
                Ok(pick) => pick,
                Err(error) => {
                    // What went wrong with those that were tried says more than that none is left.
                    self.error.get_or_insert(word(error));
                    break;
                }
            };
            let id = pick.endpoint.live.id();
            if tried.contains(&id) {
                break; // all have been tried: once more at once would bring the same
            }
            tried.push(id);
            match self.connect(client, pick).await {
                Ok(opened) => return Ok(opened),
                Err(SessionResult::Denied) => return Err(SessionResult::Denied),
                Err(failed) => result = failed,
            }
        }
        Err(result)
    }

    async fn connect(&mut self, client: &Stream, pick: Pick) -> Result<Opened, SessionResult> {
        let endpoint = Arc::clone(&pick.endpoint);
        let known = Introduced {
            server_name: self.server_name.as_deref(),
            unique_id: None, // a session has none of its own
        };
        let introduction = introduction(&endpoint, &self.facts, client, known);
        self.endpoint = Some(Arc::clone(&endpoint));
        self.attempts += 1;
        // One limit for both: a place among its connections, and the connection.
        let limit = self.target.choice().timeouts.connect;
        let end = Instant::now() + limit;
        let Ok(open) = timeout_at(end, self.local.pool.may_open(&endpoint)).await else {
            self.error = Some(LIMIT_REACHED);
            return Err(SessionResult::Unavailable);
        };
        let began = Instant::now();
        let wanted = Wanted {
            host: None,
            client: introduction.as_deref(),
        };
        let opening = connect(&endpoint, &endpoint.address, Purpose::Raw, wanted);
        let failure = match timeout_at(end, opening).await {
            Ok(Ok((mut stream, _))) => {
                let measures = endpoint.metrics.tcp();
                self.local.sampler.watch(&mut stream, measures);
                let took = began.elapsed();
                endpoint.connected(took);
                endpoint.live.connected();
                self.connect = Some(took);
                let made = match destination::made(self.facts.brought.as_deref(), &stream) {
                    Ok(made) => made.map(Box::new),
                    Err(refusal) => return Err(self.refuse(refusal)),
                };
                self.error = None;
                return Ok(Opened {
                    stream,
                    _open: open,
                    pick,
                    _made: made,
                });
            }
            Ok(Err(error)) => {
                tracing::debug!(endpoint = %endpoint.name, why = %error, "no connection");
                ConnectFailure::of(&error)
            }
            Err(_) => ConnectFailure::TimedOut,
        };
        // Waiting for a place is no fault of the endpoint.
        if failure != ConnectFailure::TimedOut || began.elapsed() >= limit {
            endpoint.connect_failed(failure, Instant::now());
        }
        endpoint.metrics.session_ended(SessionEnd::ConnectFailed);
        self.error = Some(failure.as_str());
        Err(SessionResult::ConnectFailed)
    }

    fn relay<'a>(
        &'a mut self,
        client: &'a Stream,
        opened: Opened,
        received: Option<Box<Bytes>>,
    ) -> impl Future<Output = ()> + 'a {
        let timeouts = &self.target.choice().timeouts;
        let mut limits = self.local.with_random(|random| timeouts.tunnel(random));
        limits.first_byte = received.is_none().then_some(timeouts.first_byte);
        self.is_open = true;
        async move {
            // All of it: what is only held counts as well.
            let opened = &opened;
            let metrics = self.target.metrics();
            let watch = Watch {
                limits,
                endpoint: &opened.pick.endpoint.live,
                passed: &self.passed,
                meters: Some(Meters {
                    sent: &metrics.sent,
                    received: &metrics.received,
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
                endpoint.live.connect_succeeded();
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
        let metrics = self.target.metrics();
        metrics.active.dec();
        metrics.count(self.result);
        if let Some(endpoint) = self.endpoint.as_ref().filter(|_| self.is_open) {
            endpoint.metrics.session_ended(self.end_there);
        }
        self.log();
    }
}

/// RFC 9209's word for having nobody to ask.
fn word(error: PickError) -> &'static str {
    match error {
        PickError::NoEndpoints => "destination_unavailable",
        PickError::AllAtLimit => LIMIT_REACHED,
    }
}

const LIMIT_REACHED: &str = "connection_limit_reached";

/// Endpoints that one session tries. With half of them dead and none known to be, one client in 32
/// is turned away; each that failed is left alone by the next clients.
const ATTEMPTS: usize = 5;
