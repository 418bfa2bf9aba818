//! What is kept of a request while it is served, for the access log and the metrics.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Version as HttpVersion, header};
use tokio::time::Instant;

use super::connection::Connection;
use super::grpc::GrpcCall;
use super::respond::Cause;
use crate::endpoint::Endpoint;
use crate::message::{RequestParts, Value};
use crate::net::Stream;
use crate::policy::RequestId;
use crate::policy::grpc::Code;
use crate::protocol::local::Local;
use crate::snapshot::{Route, RouteMetrics, Snapshot};
use crate::telemetry::access::{self, End, Entry, Origin};
use crate::tls::Version;
use crate::upstream::Upstream;

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
    waited: Cell<Duration>,
    pub(super) cause: Cell<Option<Cause>>,
    pub(super) end: Cell<End>,
    /// What has been sent of the response, once that has begun.
    pub(super) sent: Cell<Option<Ending>>,
    is_finished: Cell<bool>,
    target: RefCell<Option<Target>>,
}

/// Where an attempt went.
type Target = (Arc<Upstream>, Arc<Endpoint>);

/// What only the access log needs, and calls of gRPC. Its texts stand in one piece of memory, one
/// behind the other.
#[derive(Debug)]
struct Asked {
    at: SystemTime,
    version: HttpVersion,
    has_query: bool,
    text: Box<[u8]>,
    /// Where each [`Part`] ends, and the next one begins.
    ends: [usize; PARTS],
    grpc: Option<Box<GrpcCall>>,
}

/// What is kept of a head that could be read.
#[derive(Debug, Clone, Copy)]
enum Part {
    Path,
    Query,
    Host,
    UserAgent,
    Referer,
}

const PARTS: usize = Part::Referer as usize + 1;

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
    pub(super) peer: SocketAddr,
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
            waited: Cell::new(Duration::ZERO),
            cause: Cell::new(None),
            end: Cell::new(End::Ok),
            sent: Cell::new(None),
            is_finished: Cell::new(false),
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
        self.asked = Some(Box::new(Asked {
            has_query: query.is_some(),
            ..Asked::new(self.began(), parts.version, texts)
        }));
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
        match self.waited.get() {
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

    /// Takes time that was spent waiting for the client or an endpoint: what is left is our own.
    pub(super) fn waited(&self, time: Duration) {
        self.waited.set(self.waited.get() + time);
    }

    /// The endpoint that was asked last.
    pub(super) fn endpoint_name(&self) -> Option<Arc<str>> {
        self.target
            .borrow()
            .as_ref()
            .map(|(_, endpoint)| Arc::clone(&endpoint.name))
    }

    /// Whether it has been counted and logged.
    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.get()
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
        if let Some(asked) = self.asked.as_ref().filter(|_| snapshot.access_log) {
            let who = Who {
                local: &connection.local,
                stream: connection.client.stream(),
                peer: connection.client.facts.peer,
            };
            self.log(&who, snapshot, &route.metrics.origin, asked, &ended);
        }
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
            self.log(who, snapshot, &route.metrics.origin, asked, &ended);
        }
    }

    fn end(&self, now: Instant, ending: Ending) -> Ended {
        self.is_finished.set(true);
        let total = now - self.started;
        Ended {
            status: ending.status,
            grpc: self
                .call()
                .map(|call| call.ended(ending.status, self.end.get())),
            request_bytes: 0,
            response_bytes: ending.response_bytes,
            total,
            overhead: total.saturating_sub(self.waited.get()),
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
        snapshot: &Snapshot,
        origin: &Origin,
        asked: &Asked,
        ended: &Ended,
    ) {
        let target = self.target.borrow();
        let target = target.as_ref().map(|(upstream, endpoint)| {
            let told = || access::Target::new(&upstream.name, &endpoint.zone, &endpoint.name);
            endpoint.logged.get_or_init(told)
        });
        let peer = who.peer;
        who.local.access_log.record(&Entry {
            at: asked.at,
            request_id: self.request_id.get().map_or(b"", RequestId::bytes),
            origin,
            target,
            client: self
                .client
                .get()
                .map_or(peer, |ip| SocketAddr::new(ip, peer.port())),
            method: self.method.as_str(),
            scheme: self.scheme.get(),
            host: asked.part(Part::Host),
            path: asked.part(Part::Path),
            query: Some(asked.part(Part::Query)).filter(|_| asked.has_query && snapshot.log_query),
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
            queued: None,
            connect: self.connect.get(),
            first_byte: self.first_byte.get(),
            total: ended.total,
            overhead: Some(ended.overhead),
            end: self.end.get(),
            error: self.cause.get().map(Cause::word),
            generation: snapshot.generation,
        });
    }
}

impl Asked {
    fn new(at: SystemTime, version: HttpVersion, texts: [&[u8]; PARTS]) -> Self {
        let mut end = 0;
        let ends = texts.map(|text| {
            end += text.len();
            end
        });
        Self {
            at,
            version,
            has_query: false,
            text: texts.concat().into(),
            ends,
            grpc: None,
        }
    }

    fn part(&self, part: Part) -> &[u8] {
        let start = match part {
            Part::Path => 0,
            Part::Query | Part::Host | Part::UserAgent | Part::Referer => {
                self.ends[part as usize - 1]
            }
        };
        &self.text[start..self.ends[part as usize]]
    }
}
