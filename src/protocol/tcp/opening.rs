//! How a session is connected: to where it goes, and to another endpoint as often as that fails.
//!
//! Who finds every endpoint at its limit waits for a moment, and so does who finds one that fails
//! while the others are at their limits, where he stood before. A reload may come meanwhile: who
//! looks, looks at the upstream of that name that is in force.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::super::introduction::{Known as Introduced, introduction};
use super::super::tunnel::Places;
use super::cause::Cause;
use super::{Session, Start, destination};
use crate::balance::client_key;
use crate::context::{Brought, ConnectionFacts};
use crate::endpoint::{ConnectFailure, Endpoint, Line, OpenConnection, Outcome, SessionEnd};
use crate::net::{Known, Stream, named};
use crate::pool::{Wanted, connect};
use crate::proxy_protocol::Introduction;
use crate::snapshot::{Denial, SessionResult, TunnelTimeouts};
use crate::tls::Purpose;
use crate::upstream::{Patience, Pick, PickError};

/// A connection to an endpoint, and what is said once, when it begins to be relayed.
#[derive(Debug)]
pub(super) struct Standing {
    /// In a box: what rests would hold it twice.
    pub(super) opened: Box<Opened>,
    /// How long the session may last.
    pub(super) limits: TunnelTimeouts,
    /// From the client.
    pub(super) received: Bytes,
}

/// A connection to an endpoint with all that counts it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) endpoint: Arc<Endpoint>,
    /// One more of its connections, and one more in flight there.
    pub(super) places: Places,
    /// Known as one of ours, where it might be brought here.
    _made: Option<Box<Known>>,
}

/// A client for whom nobody stands yet. If it stays so its connection is reset, whoever ends it: an
/// orderly end would say that the service had nothing to tell.
#[derive(Debug)]
struct Unserved<'a> {
    client: &'a Stream,
    is_over: bool,
}

impl Session {
    /// Connects to where the session goes, for as long as the client waits for it.
    pub(super) async fn open_for(
        &mut self,
        client: &Stream,
        start: Box<Start>,
    ) -> Result<Box<Standing>, SessionResult> {
        let mut unserved = Unserved {
            client,
            is_over: false,
        };
        let opened = tokio::select! {
            biased;
            () = client.broken() => return Err(SessionResult::ClientReset),
            opened = self.open(client, &start) => Box::new(opened?),
        };
        unserved.is_over = true;
        let timeouts = &start.target.choice().timeouts;
        let mut limits = self.local.with_random(|random| timeouts.tunnel(random));
        limits.first_byte = start.received.is_empty().then_some(timeouts.first_byte);
        Ok(Box::new(Standing {
            opened,
            limits,
            received: start.received,
        }))
    }

    async fn open(&mut self, client: &Stream, start: &Start) -> Result<Opened, SessionResult> {
        match destination::taken(start.facts.brought.as_deref(), client) {
            Ok(known) => self.taken = known.map(Box::new),
            Err(refusal) => return Err(self.refuse(refusal)),
        }
        if start.target.choice().upstream.leads_to_destinations() {
            self.open_destination(client, start).await
        } else {
            self.open_endpoint(client, start).await
        }
    }

    /// Connects to where the client was going.
    async fn open_destination(
        &mut self,
        client: &Stream,
        start: &Start,
    ) -> Result<Opened, SessionResult> {
        let choice = start.target.choice();
        let begun = self.local.running(&choice.upstream);
        let found = destination::destination(
            start.facts.brought.as_deref(),
            &begun,
            &self.local.snapshot(),
        );
        let to = match found {
            Ok(to) => to,
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        let endpoint = match begun.destination(to) {
            Ok(endpoint) => endpoint,
            Err(error) => return Err(self.unavailable(error)),
        };
        let local = &self.local;
        let pick = |_| {
            let upstream = local.running(&begun);
            if Arc::ptr_eq(&upstream, &begun) {
                return Pick::only(&endpoint);
            }
            Pick::only(&upstream.destination(to)?)
        };
        let patience = Patience {
            limit: choice.timeouts.connect,
            waited: &mut self.waited,
            arrival: &mut None,
        };
        // In a line of its own: who is going elsewhere is not held up by it.
        let line = Line::Only(endpoint.live.id());
        match begun.pick_in_turn(line, patience, pick).await {
            Ok(pick) => self.connect(client, start, pick).await,
            Err(error) => Err(self.unavailable(error)),
        }
    }

    fn refuse(&mut self, refusal: Denial) -> SessionResult {
        self.metrics.refuse(refusal);
        self.error = Some(Cause::Denied(refusal));
        SessionResult::Denied
    }

    /// What went wrong with those that were tried says more than that none is left.
    fn unavailable(&mut self, error: PickError) -> SessionResult {
        self.error.get_or_insert(error.into());
        SessionResult::Unavailable
    }

    /// Connects to an endpoint, and to another one as often as that fails.
    async fn open_endpoint(
        &mut self,
        client: &Stream,
        start: &Start,
    ) -> Result<Opened, SessionResult> {
        let choice = start.target.choice();
        let key = named(self.peer).map(client_key);
        let mut tried = Vec::new();
        // Whoever comes while an endpoint is tried stands behind.
        let mut arrival = None;
        let mut result = None;
        for _ in 0..ATTEMPTS {
            let waited = self.waited;
            let local = &self.local;
            let pick = |haste| {
                let upstream = local.running(&choice.upstream);
                let when = (Instant::now(), haste);
                local.with_random(|random| upstream.pick_by(key, &tried, when, random))
            };
            let patience = Patience {
                limit: choice.timeouts.connect,
                waited: &mut self.waited,
                arrival: &mut arrival,
            };
            let turn = choice.upstream.pick_in_turn(Line::Any, patience, pick);
            let pick = match turn.await {
                Ok(pick) => pick,
                Err(error) => {
                    let unavailable = self.unavailable(error);
                    return Err(result.unwrap_or(unavailable));
                }
            };
            let id = pick.endpoint().live.id();
            if !tried.contains(&id) {
                tried.push(id);
            } else if self.waited == waited {
                break; // all have been tried: once more at once would bring the same
            }
            match self.connect(client, start, pick).await {
                Ok(opened) => return Ok(opened),
                Err(SessionResult::Denied) => return Err(SessionResult::Denied),
                Err(failed) => result = Some(failed),
            }
        }
        Err(result.unwrap_or(SessionResult::Unavailable))
    }

    async fn connect(
        &mut self,
        client: &Stream,
        start: &Start,
        pick: Pick,
    ) -> Result<Opened, SessionResult> {
        let endpoint = Arc::clone(pick.endpoint());
        let introduction = self.introduction(&endpoint, client, &start.facts);
        self.endpoint = Some(Arc::clone(&endpoint));
        // One limit for both: a place among its connections, and the connection.
        let limit = start.target.choice().timeouts.connect;
        let end = Instant::now() + limit;
        let Ok(open) = timeout_at(end, self.local.pool.may_open(&endpoint)).await else {
            self.error = Some(Cause::LimitReached);
            return Err(SessionResult::Unavailable);
        };
        self.attempts += 1;
        let began = Instant::now();
        let wanted = Wanted {
            host: None,
            client: introduction.as_deref(),
        };
        let stands = Cell::new(false);
        let stood = || stands.set(true);
        let opening = connect(&endpoint, &endpoint.address, Purpose::Raw, wanted, stood);
        let failure = match timeout_at(end, opening).await {
            Ok(Ok((stream, _))) => {
                let brought = start.facts.brought.as_deref();
                return self.opened(brought, stream, (open, pick), began);
            }
            Ok(Err(error)) => {
                tracing::debug!(endpoint = %endpoint.name, why = %error, "no connection");
                ConnectFailure::of(&error)
            }
            Err(_) => ConnectFailure::timed_out(stands.get()),
        };
        // Waiting for a place is no fault of the endpoint.
        let had_its_time = !failure.is_timeout() || began.elapsed() >= limit;
        if had_its_time && pick.learn(Outcome::NoConnection(failure), Instant::now()) {
            endpoint.metrics.session_ended(SessionEnd::ConnectFailed);
        }
        self.error = Some(Cause::Failed(failure));
        Err(SessionResult::ConnectFailed)
    }

    /// What the endpoint is told of the client, if it is.
    fn introduction(
        &mut self,
        endpoint: &Endpoint,
        client: &Stream,
        facts: &ConnectionFacts,
    ) -> Option<Box<Introduction>> {
        endpoint.proxy_protocol?;
        self.id();
        let known = Introduced {
            server_name: self.server_name(),
            unique_id: self.id.as_ref().map(|id| id.bytes()),
        };
        introduction(endpoint, facts, client, known)
    }

    /// A connection stands.
    fn opened(
        &mut self,
        brought: Option<&Brought>,
        mut stream: Stream,
        (open, pick): (OpenConnection, Pick),
        began: Instant,
    ) -> Result<Opened, SessionResult> {
        let endpoint: &Endpoint = pick.endpoint();
        let measures = endpoint.metrics.tcp();
        self.local.sampler.watch(&mut stream, measures);
        let took = began.elapsed();
        endpoint.connected(took);
        endpoint.live.connected();
        self.connect = Some(took);
        let made = match destination::made(brought, &stream) {
            Ok(made) => made.map(Box::new),
            Err(refusal) => return Err(self.refuse(refusal)),
        };
        self.error = None;
        Ok(Opened {
            stream,
            endpoint: Arc::clone(pick.endpoint()),
            places: Places::of(open, pick),
            _made: made,
        })
    }
}

impl Drop for Unserved<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.client.reset_on_close();
        }
    }
}

/// Endpoints that one session tries. With half of them dead and none known to be, one client in 32
/// is turned away; each that failed is left alone by the next clients.
const ATTEMPTS: usize = 5;
