//! One client's session: an endpoint, and a socket that is connected to it.
//!
//! The socket is the session's own, so that what comes back by it is for this client, and what the
//! network says of the endpoint is heard. An endpoint that refuses, that became unhealthy or that a
//! reload took out is left with the client's next datagram.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::current::{Form, Seat};
use super::link::{Link, Way, Wish};
use super::ready::Ready;
use crate::endpoint::{ConnectFailure, Direction};
use crate::net::{self, Batch, Source, heard};
use crate::protocol::local::Local;
use crate::snapshot::{Dropped, SessionResult, SessionTarget};
use crate::telemetry::access::{Entry, Origin, Target};

/// A session. It is counted and logged when it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    /// The client as its socket knows it.
    pub(super) peer: SocketAddr,
    /// Which address of ours it talks to, where that is not the only one.
    pub(super) source: Option<Source>,
    /// Why it ends.
    pub(super) ending: Ending,
    link: Link,
    /// Who the client's datagrams are sent by, and what counts them.
    target: SessionTarget,
    listener: Arc<str>,
    generation: u64,
    local: Rc<Local>,
    began: Instant,
    attempts: u32,
    /// Datagrams of the client that left, and of the endpoint that did.
    datagrams: [u64; 2],
    sent: u64,
    received: u64,
    first_byte: Option<Duration>,
    error: Option<&'static str>,
    _seat: Seat,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing moved for too long, or all was said.
    Idle,
    /// It made room for another.
    Evicted,
    /// The drain is over, or a fault of ours.
    Cut,
}

impl Session {
    /// A session of a new client.
    pub(super) fn begin(
        (peer, source): (SocketAddr, Option<Source>),
        form: &Form,
        local: &Rc<Local>,
        seat: Seat,
        now: Instant,
    ) -> Result<Self, Dropped> {
        let target = target(form, local).ok_or(Dropped::NoEndpoint)?;
        let wish = Wish {
            local,
            form,
            peer,
            source,
            now,
        };
        let (Way::Other(link), attempts) = wish.link(&target, None)? else {
            return Err(Dropped::NoEndpoint); // there is none yet that it could be
        };
        target.metrics().active.inc();
        Ok(Self {
            peer,
            source,
            ending: Ending::Cut,
            link,
            target,
            listener: Arc::clone(&form.listener.name),
            generation: form.generation,
            local: Rc::clone(local),
            began: now,
            attempts,
            datagrams: [0; 2],
            sent: 0,
            received: 0,
            first_byte: None,
            error: None,
            _seat: seat,
        })
    }

    /// The socket to the endpoint.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.link.socket.as_fd()
    }

    /// What stands before each datagram to the endpoint, if anything does.
    pub(super) fn header(&self) -> Option<Rc<[u8]>> {
        self.link.header.clone()
    }

    /// Goes to another endpoint if this one will not do any more. Its socket may be a new one
    /// then, also if it fails.
    pub(super) fn look(&mut self, form: &Form, now: Instant) -> Result<(), Dropped> {
        if self.generation != form.generation {
            self.adopt(form, now);
        }
        let upstream = &self.target.choice().upstream;
        let endpoint = &self.link.endpoint;
        let is_gone = self.link.is_gone || upstream.has_taken_out(endpoint);
        let is_unhealthy = upstream.health_of(endpoint).is_out() && !upstream.is_panicking();
        if !is_gone && !self.link.has_failed && !is_unhealthy {
            return Ok(());
        }
        let wish = self.wish(form, now);
        let (way, attempts) = match wish.link(&self.target, Some(endpoint)) {
            Ok((way, attempts)) => (Some(way), attempts),
            // Nothing else can be had, and so what was had is tried again.
            Err(_) if !is_gone && !is_unhealthy => (None, 0),
            Err(why) => return Err(why),
        };
        self.attempts += attempts;
        self.link.has_failed = false;
        match way {
            Some(Way::Other(link)) => {
                self.link = link;
                // What was said of the one before is not true of this one.
                self.error = None;
            }
            Some(Way::Same(pick)) => self.link.tries_again(pick),
            None => {}
        }
        Ok(())
    }

    /// Has it heard of what comes by its socket, if nobody listens there yet.
    pub(super) fn watch(&mut self, ready: &Ready, place: usize) -> io::Result<()> {
        if !self.link.coming.is_watched {
            ready.watch(self.link.socket.as_fd(), place)?;
            self.link.coming.is_watched = true;
        }
        Ok(())
    }

    /// Goes over to another build of the configuration.
    fn adopt(&mut self, form: &Form, now: Instant) {
        self.generation = form.generation;
        let Some(target) = target(form, &self.local) else {
            return;
        };
        self.target.metrics().active.dec();
        target.metrics().active.inc();
        self.target = target;
        let id = self.link.endpoint.live.id();
        let endpoints = self.target.choice().upstream.endpoints();
        let same = endpoints.iter().find(|endpoint| endpoint.live.id() == id);
        self.link.is_gone = same.is_none();
        let Some(same) = same else {
            return;
        };
        let wish = Wish {
            local: &self.local,
            form,
            peer: self.peer,
            source: self.source,
            now,
        };
        self.link.adopt(same, &wish);
    }

    fn wish<'a>(&'a self, form: &'a Form, now: Instant) -> Wish<'a> {
        Wish {
            local: &self.local,
            form,
            peer: self.peer,
            source: self.source,
            now,
        }
    }

    /// Whether its endpoint was taken out of the upstream: what still comes from there is passed
    /// on, but keeps nothing alive.
    pub(super) fn is_retired(&self) -> bool {
        self.link.endpoint.live.is_retired()
    }

    /// Whether it is being tried whether its endpoint is back.
    pub(super) fn is_trying(&self, now: Instant) -> bool {
        self.link.is_trying(now) && !self.is_retired()
    }

    /// Datagrams were sent to the endpoint.
    pub(super) fn sent(&mut self, count: u64, bytes: u64, now: Instant) {
        self.datagrams[0] += count;
        self.sent += bytes;
        self.target.metrics().sent.add(bytes);
        let metrics = &self.link.endpoint.metrics;
        metrics.relayed(Direction::Sent, count, bytes);
        if count > 0 && self.link.sent(now) {
            self.error = None;
        }
    }

    /// Takes what the endpoint sent: how many datagrams, and whether that may not be all.
    pub(super) fn receive(
        &mut self,
        batch: &mut Batch,
        is_alone: bool,
    ) -> io::Result<(usize, bool)> {
        self.link.receive(batch, is_alone)
    }

    /// Datagrams of the endpoint were sent to the client.
    pub(super) fn received(&mut self, count: u64, bytes: u64) {
        self.datagrams[1] += count;
        self.received += bytes;
        self.target.metrics().received.add(bytes);
        let metrics = &self.link.endpoint.metrics;
        metrics.relayed(Direction::Received, count, bytes);
    }

    /// Whether each datagram of the client was answered so often.
    pub(super) fn has_answers(&self, responses: u32) -> bool {
        let [asked, answered] = self.datagrams;
        answered >= asked.saturating_mul(responses.into())
    }

    /// The endpoint sent something, whatever becomes of it.
    pub(super) fn answered(&mut self, now: Instant) {
        if !self.link.is_proved {
            self.error = None;
            self.link.proved();
        }
        self.first_byte.get_or_insert(now - self.began);
    }

    /// Takes what the network said of the endpoint.
    pub(super) fn hear(&mut self, now: Instant) {
        if let Err(error) = heard(self.socket()) {
            self.failed(&error, now);
        }
    }

    /// Takes in what the network, or the kernel, said of the endpoint. Whether another one may do
    /// better.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> bool {
        let failure = ConnectFailure::of(error);
        tracing::debug!(endpoint = %self.link.endpoint.name, why = %error, "a session failed");
        let is_its_own = self.link.failed(failure, now);
        // One of ours among answers says nothing of how the session has fared.
        if is_its_own || self.first_byte.is_none() {
            self.error = Some(failure.as_str());
        }
        is_its_own
    }

    fn result(&self) -> (SessionResult, Option<&'static str>) {
        match self.ending {
            Ending::Idle if self.error.is_some() => (SessionResult::EndpointReset, self.error),
            Ending::Idle if self.first_byte.is_none() => {
                (SessionResult::Idle, Some("connection_read_timeout"))
            }
            Ending::Idle => (SessionResult::Ok, None),
            Ending::Evicted => (SessionResult::Cut, Some("connection_limit_reached")),
            Ending::Cut => (SessionResult::Cut, self.error),
        }
    }

    fn log(&self, (result, error): (SessionResult, Option<&'static str>)) {
        if !self.local.access_log.is_on() {
            return;
        }
        let (total, now) = (self.began.elapsed(), SystemTime::now());
        let origin = Origin::new(&self.listener, &self.target.route.name);
        let endpoint = &self.link.endpoint;
        let upstream = &self.target.choice().upstream.name;
        self.local.access_log.record(&Entry {
            at: now.checked_sub(total).unwrap_or(now),
            request_id: b"",
            origin: &origin,
            target: Some(&Target::new(upstream, &endpoint.zone, &endpoint.name)),
            client: net::canonical(self.peer),
            proxy: None,
            method: "",
            scheme: "udp",
            host: b"",
            path: b"",
            query: None,
            status: None,
            grpc: None,
            request_bytes: self.sent,
            response_bytes: self.received,
            version: "",
            tls: None,
            client_certificate: None,
            user_agent: b"",
            referer: b"",
            attempts: self.attempts,
            queued: None,
            connect: None,
            first_byte: self.first_byte,
            total,
            overhead: None,
            end: result.end(),
            error,
            generation: self.generation,
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.ending == Ending::Idle {
            self.link.end_trial(Instant::now());
        }
        let result = self.result();
        let metrics = self.target.metrics();
        metrics.active.dec();
        metrics.count(result.0);
        self.log(result);
    }
}

/// Where the sessions of a listener go now.
fn target(form: &Form, local: &Local) -> Option<SessionTarget> {
    let udp = form.listener.udp()?;
    Some(local.with_random(|random| udp.route.pick(random)))
}
