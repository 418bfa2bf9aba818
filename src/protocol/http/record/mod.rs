//! What is kept of a request while it is served, for the access log and the metrics.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version as HttpVersion, header};
use tokio::time::Instant;

use self::asked::{Asked, PARTS, Part};
use super::connection::Connection;
use super::grpc::GrpcCall;
use super::respond::Cause;
use super::waiting::nanoseconds;
use crate::context::ConnectionFacts;
use crate::endpoint::Endpoint;
use crate::message::{RequestParts, Value};
use crate::net::Stream;
use crate::policy::RequestId;
use crate::policy::grpc::Code;
use crate::protocol::local::Local;
use crate::snapshot::{Route, RouteMetrics, Snapshot};
use crate::telemetry::access::{self, End, Entry, Origin};
use crate::tls::Version;
use crate::upstream::{Upstream, Waited};

mod asked;
mod beside;
mod line;

pub(super) use self::line::{Last, Line};

/// One request's record.
#[derive(Debug)]
pub(super) struct Record {
    started: Instant,
    method: Method,
    /// In a box: most proxies that are busy write no access log.
    asked: Option<Box<Asked>>,
    pub(super) client: Cell<Option<IpAddr>>,
    /// As the client sees it: a trusted proxy in front may have taken TLS off.
    pub(super) scheme: Cell<&'static str>,
    pub(super) request_id: OnceCell<RequestId>,
    pub(super) attempts: Cell<u32>,
    pub(super) connect: Cell<Option<Duration>>,
    pub(super) first_byte: Cell<Option<Duration>>,
    /// For an endpoint with room.
    pub(super) queued: Cell<Waited>,
    /// For the client or an endpoint, in nanoseconds, which take half the room of a [`Duration`].
    waited: Cell<u64>,
    pub(super) cause: Cell<Option<Cause>>,
    pub(super) end: Cell<End>,
    /// What has been sent of the response, once that has begun.
    pub(super) sent: Cell<Option<Ending>>,
    kept: Cell<Kept>,
    target: RefCell<Option<Target>>,
}

/// Where an attempt went.
type Target = (Arc<Upstream>, Arc<Endpoint>);

/// What has been kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    NotYet,
    /// Its line is left to the end of a tunnel.
    ButForItsLine,
    Wholly,
}

/// How a request ended, for its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) status: u16,
    pub(super) response_bytes: u64,
}

/// Who asked, for the access log.
#[derive(Debug)]
pub(super) struct Who<'a> {
    pub(super) local: &'a Local,
    pub(super) stream: &'a Stream,
    pub(super) facts: &'a ConnectionFacts,
}

/// The figures of a request that has ended.
struct Ended {
    status: u16,
    grpc: Option<Code>,
    request_bytes: u64,
    response_bytes: u64,
    total: Duration,
    /// What of that time was ours.
    overhead: Duration,
    end: End,
    error: Option<&'static str>,
}

/// What the configuration that a request was served by says of its line.
#[derive(Debug, Clone, Copy)]
struct Served {
    log_query: bool,
    generation: u64,
}

impl Record {
    /// Starts the record of a request that has no head yet.
    pub(super) fn new(method: Method, started: Instant) -> Self {
        Self {
            started,
            method,
            asked: None,
            client: Cell::new(None),
            scheme: Cell::new("http"),
            request_id: OnceCell::new(),
            attempts: Cell::new(0),
            connect: Cell::new(None),
            first_byte: Cell::new(None),
            queued: Cell::default(),
            waited: Cell::new(0),
            cause: Cell::new(None),
            end: Cell::new(End::Ok),
            sent: Cell::new(None),
            kept: Cell::new(Kept::NotYet),
            target: RefCell::new(None),
        }
    }

    /// Keeps what the access log tells about a request whose head has just come,
    /// before it is changed.
    pub(super) fn keep(&mut self, parts: &RequestParts) {
        let [host, user_agent, referer] = parts
            .headers
            .first_of([&header::HOST, &header::USER_AGENT, &header::REFERER])
            .map(|value| value.map(Value::as_bytes).unwrap_or_default());
        let query = parts.uri.query();
        let texts = [
            parts.uri.path().as_bytes(),
            query.unwrap_or_default().as_bytes(),
            host,
            user_agent,
            referer,
        ];
        let mut asked = Box::new(Asked::new(self.began(), parts.version, texts));
        asked.has_query = query.is_some();
        self.asked = Some(asked);
    }

    /// Keeps that the request is a call of gRPC.
    pub(super) fn keep_call(&mut self, call: Box<GrpcCall>) {
        let began = self.began();
        let asked = self
            .asked
            .get_or_insert_with(|| Box::new(Asked::new(began, HttpVersion::HTTP_2, [b""; PARTS])));
        asked.grpc = Some(call);
    }

    /// The call of gRPC that the request is, if it is one.
    pub(super) fn call(&self) -> Option<&GrpcCall> {
        self.asked.as_ref()?.grpc.as_deref()
    }

    /// Keeps that there was something which could not be read as a request.
    pub(super) fn keep_unread(&mut self, version: HttpVersion) {
        let asked = Asked::new(self.began(), version, [b""; PARTS]);
        self.asked = Some(Box::new(asked));
    }

    /// When the request began, by the wall clock. All that has passed was waiting for its head.
    fn began(&self) -> SystemTime {
        let now = SystemTime::now();
        match Duration::from_nanos(self.waited.get()) {
            Duration::ZERO => now,
            waited => now.checked_sub(waited).unwrap_or(now),
        }
    }

    /// When the request began.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// The request's method.
    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Notes which endpoint an attempt goes to.
    pub(super) fn attempt(&self, upstream: &Arc<Upstream>, endpoint: &Arc<Endpoint>) {
        self.attempts.set(self.attempts.get() + 1);
        *self.target.borrow_mut() = Some((Arc::clone(upstream), Arc::clone(endpoint)));
    }

    /// Time that was spent waiting for the client or an endpoint.
    fn waited_time(&self) -> Duration {
        Duration::from_nanos(self.waited.get())
    }

    /// Takes time that was spent waiting for the client or an endpoint: what is left is our own.
    pub(super) fn waited(&self, time: Duration) {
        self.waited
            .set(self.waited.get().saturating_add(nanoseconds(time)));
    }

    /// The endpoint that was asked last.
    pub(super) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        let target = self.target.borrow();
        target.as_ref().map(|(_, endpoint)| Arc::clone(endpoint))
    }

    /// Its name.
    pub(super) fn endpoint_name(&self) -> Option<Arc<str>> {
        self.target
            .borrow()
            .as_ref()
            .map(|(_, endpoint)| Arc::clone(&endpoint.name))
    }

    /// Whether it has been counted and logged.
    pub(super) fn is_finished(&self) -> bool {
        self.kept.get() != Kept::NotYet
    }

    /// Counts and logs the request that has ended.
    pub(super) fn finish(
        &self,
        connection: &Connection,
        snapshot: &Snapshot,
        route: &Route,
        ending: Ending,
    ) {
        let now = Instant::now();
        connection.client.rests(now);
        let ended = Ended {
            request_bytes: connection.client.body_bytes(),
            ..self.end(now, ending)
        };
        self.count(&route.metrics, &ended);
        if let Some(asked) = self.asked.as_ref().filter(|_| self.is_logged(snapshot)) {
            let who = Who {
                local: &connection.local,
                stream: connection.client.stream(),
                facts: &connection.client.facts,
            };
            self.log(&who, (snapshot, route), asked, &ended);
        }
    }

    fn is_logged(&self, snapshot: &Snapshot) -> bool {
        snapshot.access_log && self.kept.get() != Kept::ButForItsLine
    }

    /// Counts and logs what was no request that could be answered, and was not.
    pub(super) fn finish_unanswered(
        &self,
        who: &Who<'_>,
        snapshot: &Snapshot,
        route: &Route,
        status: u16,
    ) {
        let ending = Ending {
            status,
            response_bytes: 0,
        };
        let ended = self.end(Instant::now(), ending);
        self.count(&route.metrics, &ended);
        if let Some(asked) = self.asked.as_ref().filter(|_| snapshot.access_log) {
            self.log(who, (snapshot, route), asked, &ended);
        }
    }

    fn end(&self, now: Instant, ending: Ending) -> Ended {
        if self.kept.get() == Kept::NotYet {
            self.kept.set(Kept::Wholly);
        }
        let total = now - self.started;
        Ended {
            status: ending.status,
            grpc: self
                .call()
                .map(|call| call.ended(ending.status, self.end.get())),
            request_bytes: 0,
            response_bytes: ending.response_bytes,
            total,
            overhead: total.saturating_sub(self.waited_time()),
            end: self.end.get(),
            error: self.cause.get().map(Cause::word),
        }
    }

    fn count(&self, metrics: &RouteMetrics, ended: &Ended) {
        metrics.count(&self.method, ended.status);
        if let Some(code) = ended.grpc {
            metrics.count_grpc(code);
        }
        metrics.duration.observe(ended.total);
        metrics.overhead.observe(ended.overhead);
        if ended.request_bytes > 0 {
            metrics.request_bytes.add(ended.request_bytes);
        }
        if ended.response_bytes > 0 {
            metrics.response_bytes.add(ended.response_bytes);
        }
        if let Some(cause) = self.cause.get() {
            let target = self.target.borrow();
            let nobody: Arc<str> = Arc::from("");
            let upstream = target
                .as_ref()
                .map_or(&nobody, |(upstream, _)| &upstream.name);
            metrics.count_error(upstream, cause.word(), cause.shed());
        }
    }

    fn log(
        &self,
        who: &Who<'_>,
        (snapshot, route): (&Snapshot, &Route),
        asked: &Asked,
        ended: &Ended,
    ) {
        let target = self.target.borrow();
        let places = (&route.metrics.origin, target.as_ref().map(told));
        self.write(who, Served::by(snapshot), places, asked, ended);
    }

    fn write(
        &self,
        who: &Who<'_>,
        served: Served,
        (origin, target): (&Origin, Option<&access::Target>),
        asked: &Asked,
        ended: &Ended,
    ) {
        let peer = who.facts.peer;
        who.local.access_log.record(&Entry {
            at: asked.at,
            request_id: self.request_id.get().map_or(b"", RequestId::bytes),
            origin,
            target,
            client: self
                .client
                .get()
                .map_or(peer, |ip| SocketAddr::new(ip, peer.port())),
            proxy: who.facts.proxy().map(|proxy| proxy.ip()),
            method: self.method.as_str(),
            scheme: self.scheme.get(),
            host: asked.part(Part::Host),
            path: asked.part(Part::Path),
            query: Some(asked.part(Part::Query)).filter(|_| asked.has_query && served.log_query),
            status: Some(ended.status),
            grpc: ended.grpc.map(|code| code as u8),
            request_bytes: ended.request_bytes,
            response_bytes: ended.response_bytes,
            version: match asked.version {
                HttpVersion::HTTP_10 => "1.0",
                HttpVersion::HTTP_2 => "2",
                _ => "1.1",
            },
            tls: Version::of(who.stream).map(Version::as_str),
            client_certificate: who
                .stream
                .client_certificate()
                .map(|shown| (&*shown.subject, &*shown.fingerprint)),
            user_agent: asked.part(Part::UserAgent),
            referer: asked.part(Part::Referer),
            attempts: self.attempts.get(),
            queued: self.queued.get().some(),
            connect: self.connect.get(),
            first_byte: self.first_byte.get(),
            total: ended.total,
            overhead: Some(ended.overhead),
            end: ended.end,
            error: ended.error,
            generation: served.generation,
        });
    }
}

impl Served {
    fn by(snapshot: &Snapshot) -> Self {
        Self {
            log_query: snapshot.log_query,
            generation: snapshot.generation,
        }
    }
}

/// Where an attempt went, as lines tell it.
fn told((upstream, endpoint): &Target) -> &access::Target {
    let told = || access::Target::new(&upstream.name, &endpoint.zone, &endpoint.name);
    endpoint.logged.get_or_init(told)
}
