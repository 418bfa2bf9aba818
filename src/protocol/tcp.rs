//! A listener, or a route by server name, straight to an upstream: bytes that nobody reads.
//!
//! A session is one client's connection: an endpoint is picked and connected, another one if that
//! fails, and then the tunnel runs. Until an endpoint stands nothing is read from the client but
//! what a route was found by, and that is kept: no attempt can lose its first bytes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::introduction::{Known, introduction};
use super::local::Local;
use super::tunnel::{End as TunnelEnd, Ended, Meters, Outcome, Passed, Prefix, Watch, tunnel};
use crate::balance::client_key;
use crate::context::ConnectionFacts;
use crate::endpoint::{ConnectFailure, Endpoint, OpenConnection};
use crate::net::{Stream, named};
use crate::pool::{Wanted, connect};
use crate::snapshot::{SessionResult, SessionRoute, SessionTarget, TcpListener};
use crate::telemetry::access::{End, Entry, Origin, Target};
use crate::tls::{Purpose, Version};
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
    /// The endpoint that was tried last.
    endpoint: Option<Arc<Endpoint>>,
    /// Until the connection to it stood.
    connect: Option<Duration>,
    passed: Passed,
    result: SessionResult,
    /// The cause of a failure, as a word of RFC 9209.
    error: Option<&'static str>,
}

/// What is told of a client's session of TLS.
#[derive(Debug)]
struct Terminated {
    version: Option<&'static str>,
    certificate: Option<Shown>,
}

/// What is told of the certificate that a client showed.
#[derive(Debug)]
struct Shown {
    subject: Box<str>,
    fingerprint: Box<str>,
}

/// A connection to an endpoint with all that counts it.
#[derive(Debug)]
struct Opened {
    stream: Stream,
    /// One more of its connections.
    _open: OpenConnection,
    /// One more in flight there.
    _pick: Pick,
}

/// Serves a client until its session ends.
pub async fn serve(
    mut client: Stream,
    facts: ConnectionFacts,
    beginning: Beginning,
    local: Rc<Local>,
) {
    let target = local.with_random(|random| beginning.route.pick(random));
    let mut session = Session::new(facts, target, beginning.server_name, local);
    session.terminated = Terminated::on(&client);
    let opened = tokio::select! {
        biased;
        () = client.broken() => Err(SessionResult::ClientReset),
        opened = session.open(&client) => opened,
    };
    match opened {
        Ok(mut opened) => {
            let relayed = session.relay(&mut client, &mut opened, beginning.received);
            relayed.await;
        }
        Err(result) => {
            session.result = result;
            // An orderly end would say that the service had nothing to tell.
            client.reset_on_close();
        }
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
            endpoint: None,
            connect: None,
            passed: Passed::default(),
            result: SessionResult::Cut,
            error: None,
        }
    }

    /// Connects to an endpoint, and to another one as often as that fails.
    async fn open(&mut self, client: &Stream) -> Result<Opened, SessionResult> {
        let key = named(self.facts.peer).map(client_key);
        let mut tried = Vec::new();
        let mut result = SessionResult::Unavailable;
        while tried.len() < ATTEMPTS {
            let (now, upstream) = (Instant::now(), &self.target.choice().upstream);
            let pick = self
                .local
                .with_random(|random| upstream.pick_for(key, &tried, random, now));
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
                Err(failed) => result = failed,
            }
        }
        Err(result)
    }

    async fn connect(&mut self, client: &Stream, pick: Pick) -> Result<Opened, SessionResult> {
        let endpoint = Arc::clone(&pick.endpoint);
        let known = Known {
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
        // In a box: once it runs, a session needs no room for its beginning.
        let opening = connect(&endpoint, &endpoint.address, Purpose::Raw, wanted);
        let opening = Box::pin(opening);
        let failure = match timeout_at(end, opening).await {
            Ok(Ok((stream, _))) => {
                let took = began.elapsed();
                endpoint.connected(took);
                endpoint.live.connect_succeeded();
                self.connect = Some(took);
                self.error = None;
                return Ok(Opened {
                    stream,
                    _open: open,
                    _pick: pick,
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
        self.error = Some(failure.as_str());
        Err(SessionResult::ConnectFailed)
    }

    async fn relay(&mut self, client: &mut Stream, opened: &mut Opened, received: Bytes) {
        let target = self.target.clone();
        let metrics = target.metrics();
        let first_byte = target.choice().timeouts.first_byte;
        let first_byte = received.is_empty().then_some(first_byte);
        let prefix = Prefix {
            sent: received,
            ..Prefix::default()
        };
        let watch = Watch {
            idle: target.choice().timeouts.tunnel_idle,
            first_byte,
            passed: &self.passed,
            meters: Some(Meters {
                sent: &metrics.sent,
                received: &metrics.received,
            }),
        };
        let (client, endpoint) = (TunnelEnd::Socket(client), TunnelEnd::Socket(&opened.stream));
        let outcome = tunnel(client, endpoint, prefix, watch).await;
        self.conclude(&outcome);
    }

    fn conclude(&mut self, outcome: &Outcome) {
        (self.result, self.error) = match outcome.end {
            Ended::Closed => (SessionResult::Ok, None),
            Ended::Idle => (SessionResult::Idle, Some("connection_read_timeout")),
            Ended::Silent => (SessionResult::Silent, Some("connection_read_timeout")),
            Ended::ClientReset => (SessionResult::ClientReset, None),
            Ended::EndpointReset => (SessionResult::EndpointReset, Some("connection_terminated")),
        };
        // It took the connection and never said a word: the next clients should go elsewhere.
        if outcome.end == Ended::EndpointReset
            && outcome.received == 0
            && let Some(endpoint) = &self.endpoint
        {
            endpoint.connect_failed(ConnectFailure::Terminated, Instant::now());
        }
    }

    fn log(&self) {
        if !self.local.access_log.is_on() {
            return;
        }
        let endpoint = self.endpoint.as_deref();
        let (total, now) = (self.began.elapsed(), SystemTime::now());
        let terminated = self.terminated.as_deref();
        let certificate = terminated.and_then(|it| it.certificate.as_ref());
        let origin = Origin::new(&self.facts.listener, &self.target.route.name);
        let upstream = &self.target.choice().upstream.name;
        let target = endpoint.map_or_else(
            || Target::new(upstream, "", ""),
            |endpoint| Target::new(upstream, &endpoint.zone, &endpoint.name),
        );
        self.local.access_log.record(&Entry {
            at: now.checked_sub(total).unwrap_or(now),
            request_id: b"",
            origin: &origin,
            target: Some(&target),
            client: self.facts.peer,
            method: "",
            scheme: "tcp",
            host: self.server_name.as_deref().unwrap_or_default().as_bytes(),
            path: b"",
            query: None,
            status: None,
            grpc: None,
            request_bytes: self.passed.sent.get(),
            response_bytes: self.passed.received.get(),
            version: "",
            tls: terminated.and_then(|it| it.version),
            client_certificate: certificate.map(|shown| (&*shown.subject, &*shown.fingerprint)),
            user_agent: b"",
            referer: b"",
            attempts: self.attempts,
            connect: self.connect,
            first_byte: None,
            total,
            overhead: None,
            end: end(self.result, self.error),
            error: self.error,
            generation: self.generation,
        });
    }
}

impl Terminated {
    /// Of a client's connection, if it is one of TLS.
    fn on(client: &Stream) -> Option<Box<Self>> {
        client.is_secure().then(|| {
            let shown = client.client_certificate();
            Box::new(Self {
                version: Version::of(client).map(Version::as_str),
                certificate: shown.map(|shown| Shown {
                    subject: shown.subject.clone(),
                    fingerprint: shown.fingerprint.clone(),
                }),
            })
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let metrics = self.target.metrics();
        metrics.active.dec();
        metrics.count(self.result);
        self.log();
    }
}

/// The log's word for how a session ended.
fn end(result: SessionResult, error: Option<&str>) -> End {
    match result {
        SessionResult::Ok => End::Ok,
        SessionResult::ClientReset => End::ClientAbort,
        SessionResult::EndpointReset | SessionResult::ConnectFailed => End::EndpointReset,
        SessionResult::Idle | SessionResult::Silent => End::Timeout,
        SessionResult::Unavailable if error != Some(LIMIT_REACHED) => End::EndpointReset,
        SessionResult::Unavailable | SessionResult::Cut => End::Shed,
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
