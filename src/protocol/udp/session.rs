//! One client's session: an endpoint, and a socket that is connected to it.
//!
//! The socket is the session's own, so that what comes back by it is for this client, and what the
//! network says of the endpoint is heard. An endpoint that refuses, that became unhealthy or that a
//! reload took out is left with the client's next datagram.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{io, net::UdpSocket};

use tokio::time::Instant;

use super::current::{Form, Seat};
use crate::balance::client_key;
use crate::endpoint::{ConnectFailure, Direction, Endpoint, Health, OpenConnection};
use crate::net::{self, Address, Source};
use crate::protocol::local::Local;
use crate::proxy_protocol::{Addresses, Introduction, Transport};
use crate::snapshot::{Dropped, SessionResult, SessionTarget};
use crate::telemetry::access::{End, Entry, Origin, Target};
use crate::upstream::Pick;

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
    sent: u64,
    received: u64,
    first_byte: Option<Duration>,
    error: Option<&'static str>,
    _seat: Seat,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing moved for too long.
    Idle,
    /// It made room for another.
    Evicted,
    /// The drain is over, or a fault of ours.
    Cut,
}

/// The way to an endpoint.
#[derive(Debug)]
struct Link {
    socket: UdpSocket,
    /// What stands before each datagram to it, if it is told whom they are from.
    header: Option<Rc<[u8]>>,
    endpoint: Arc<Endpoint>,
    /// Whether the network said that nobody is there.
    has_failed: bool,
    /// Whether anything came from there.
    is_proved: bool,
    _open: OpenConnection,
    _pick: Pick,
}

/// Who asks for a way to an endpoint.
struct Wish<'a> {
    local: &'a Local,
    form: &'a Form,
    peer: SocketAddr,
    source: Option<Source>,
    now: Instant,
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
        let (link, attempts) = wish.link(&target, None)?;
        target.metrics().active.inc();
        Ok(Self {
            peer,
            source,
            ending: Ending::Cut,
            link: link.ok_or(Dropped::NoEndpoint)?,
            target,
            listener: Arc::clone(&form.listener.name),
            generation: form.generation,
            local: Rc::clone(local),
            began: now,
            attempts,
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

    /// Goes to another endpoint if this one will not do any more. `true` if the socket is new.
    pub(super) fn look(&mut self, form: &Form, now: Instant) -> Result<bool, Dropped> {
        let is_gone = self.generation != form.generation && !self.adopt(form);
        let upstream = &self.target.choice().upstream;
        let endpoint = &self.link.endpoint;
        let is_bad = self.link.has_failed
            || (upstream.health_of(endpoint) == Health::Unhealthy && !upstream.is_panicking());
        if !is_gone && !is_bad {
            return Ok(false);
        }
        let wish = Wish {
            local: &self.local,
            form,
            peer: self.peer,
            source: self.source,
            now,
        };
        let (link, attempts) = wish.link(&self.target, Some(endpoint))?;
        self.attempts += attempts;
        self.link.has_failed = false;
        let is_new = link.is_some();
        if let Some(link) = link {
            self.link = link;
        }
        Ok(is_new)
    }

    /// Goes over to another build of the configuration; whether the endpoint is in that as well.
    fn adopt(&mut self, form: &Form) -> bool {
        self.generation = form.generation;
        let Some(target) = target(form, &self.local) else {
            return true;
        };
        self.target.metrics().active.dec();
        target.metrics().active.inc();
        self.target = target;
        let id = self.link.endpoint.live.id();
        let endpoints = self.target.choice().upstream.endpoints();
        let same = endpoints.iter().find(|endpoint| endpoint.live.id() == id);
        if let Some(same) = same {
            self.link.endpoint = Arc::clone(same);
        }
        same.is_some()
    }

    /// Datagrams were sent to the endpoint.
    pub(super) fn sent(&mut self, count: u64, bytes: u64) {
        self.sent += bytes;
        self.target.metrics().sent.add(bytes);
        let metrics = &self.link.endpoint.metrics;
        metrics.relayed(Direction::Sent, count, bytes);
    }

    /// Datagrams of the endpoint were sent to the client.
    pub(super) fn received(&mut self, count: u64, bytes: u64, now: Instant) {
        if !self.link.is_proved {
            self.link.is_proved = true;
            self.error = None;
            self.link.endpoint.live.connect_succeeded();
            self.first_byte.get_or_insert(now - self.began);
        }
        self.received += bytes;
        self.target.metrics().received.add(bytes);
        let metrics = &self.link.endpoint.metrics;
        metrics.relayed(Direction::Received, count, bytes);
    }

    /// Takes in what the network, or the kernel, said of the endpoint. Whether another one may do
    /// better.
    pub(super) fn failed(&mut self, error: &io::Error, now: Instant) -> bool {
        let failure = ConnectFailure::of(error);
        tracing::debug!(endpoint = %self.link.endpoint.name, why = %error, "a session failed");
        self.error = Some(failure.as_str());
        self.link.has_failed = self.link.endpoint.connect_failed(failure, now);
        self.link.has_failed
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
            end: end(result),
            error,
            generation: self.generation,
        });
    }
}

impl Wish<'_> {
    /// A way to an endpoint, and how many were tried. None if it is that of `before`, which is then
    /// as good as any.
    fn link(
        &self,
        target: &SessionTarget,
        before: Option<&Arc<Endpoint>>,
    ) -> Result<(Option<Link>, u32), Dropped> {
        let upstream = &target.choice().upstream;
        let key = Some(client_key(self.peer.ip()));
        let before = before.map(|endpoint| endpoint.live.id());
        let mut tried: Vec<u64> = before.into_iter().collect();
        let mut result = Dropped::NoEndpoint;
        for attempt in 1..=ATTEMPTS {
            let pick = self
                .local
                .with_random(|random| upstream.pick_for(key, &tried, random, self.now));
            let Ok(pick) = pick else {
                break;
            };
            let id = pick.endpoint.live.id();
            if before == Some(id) {
                return Ok((None, attempt));
            }
            if tried.contains(&id) {
                break; // all have been tried
            }
            tried.push(id);
            match self.open(pick) {
                Ok(link) => return Ok((Some(link), attempt)),
                Err(why) => result = why,
            }
        }
        Err(result)
    }

    fn open(&self, pick: Pick) -> Result<Link, Dropped> {
        let endpoint = Arc::clone(&pick.endpoint);
        let Address::Ip(address) = endpoint.address else {
            return Err(Dropped::NoEndpoint);
        };
        if self
            .form
            .is_own(address, self.source.map(|source| source.address))
        {
            return Err(Dropped::Loop);
        }
        let open = endpoint
            .live
            .open_connection(endpoint.limits.max_connections);
        let open = open.ok_or(Dropped::NoEndpoint)?;
        let socket = net::connected(address, endpoint.socket.as_deref()).map_err(|error| {
            let failure = ConnectFailure::of(&error);
            if endpoint.connect_failed(failure, self.now) {
                Dropped::NoEndpoint
            } else {
                Dropped::Error
            }
        })?;
        Ok(Link {
            socket,
            header: self.header(&endpoint),
            endpoint,
            has_failed: false,
            is_proved: false,
            _open: open,
            _pick: pick,
        })
    }
}

impl Wish<'_> {
    /// What is said before each datagram, if the endpoint is told whom they are from.
    fn header(&self, endpoint: &Endpoint) -> Option<Rc<[u8]>> {
        let version = endpoint.proxy_protocol?;
        let own = self.form.listener.sockets.local;
        let arrived = self
            .source
            .map(|source| (source.address, own.port()).into());
        let destination = net::canonical(arrived.unwrap_or(own));
        let addresses = Addresses::new(net::canonical(self.peer), destination, Transport::Datagram);
        let introduction = Introduction::of_addresses(version, addresses);
        Some(introduction.finished().into())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
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

/// The log's word for how a session ended.
fn end(result: SessionResult) -> End {
    match result {
        SessionResult::Ok => End::Ok,
        SessionResult::ClientReset => End::ClientAbort,
        SessionResult::EndpointReset | SessionResult::ConnectFailed => End::EndpointReset,
        SessionResult::Idle | SessionResult::Silent | SessionResult::MaxAge => End::Timeout,
        SessionResult::Denied => End::Denied,
        SessionResult::Unavailable | SessionResult::Removed | SessionResult::Cut => End::Shed,
    }
}

/// Endpoints that one datagram tries, as of a TCP session.
const ATTEMPTS: u32 = 5;
