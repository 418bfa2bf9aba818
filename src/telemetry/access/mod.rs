//! The access log: one line per request, which never holds a request up.
//!
//! Problem: a logger that writes while it serves stops serving when the pipe behind it stops, and
//! one that formats through a general serializer costs more than the relaying. Here each worker
//! formats by hand into a block of its own and hands full blocks, at latest every 200 ms, to one
//! writing thread through a bounded queue. What does not fit into the queue is dropped and counted
//! in `evenkeel_log_dropped_total`.
//!
//! Use: [`Writer::spawn`] once, [`Sink::access_log`] for each worker, [`AccessLog::record`] at the
//! end of each request, and [`AccessLog::flush`] every [`FLUSH_EVERY`].

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::text::Clock;
use writer::Stream;

mod combined;
mod json;
mod opened;
mod settings;
pub(super) mod writer;

pub use opened::Opened;
pub use settings::{Format, Output, Settings};
pub use writer::{Sink, Writer};

/// The access log of one worker.
#[derive(Debug)]
pub struct AccessLog {
    sink: Sink,
    page: RefCell<Page>,
}

/// What a worker has written and not yet handed over.
#[derive(Debug, Default)]
struct Page {
    bytes: Vec<u8>,
    lines: u64,
    clock: Clock,
}

/// Where requests come in, as their lines tell it: the same for all of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    json: Box<[u8]>,
}

/// Where requests go, as their lines tell it: the same for all to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    json: Box<[u8]>,
}

impl Origin {
    /// A listener that accepts, and the route that wins.
    pub fn new(listener: &str, route: &str) -> Self {
        let json = json::members(&[(br#","listener":""#, listener), (br#","route":""#, route)]);
        Self { json }
    }

    fn json(&self) -> &[u8] {
        &self.json
    }
}

impl Target {
    /// An upstream, and one of its endpoints in a zone, if that has one.
    pub fn new(upstream: &str, zone: &str, endpoint: &str) -> Self {
        let json = json::members(&[
            (br#","upstream":""#, upstream),
            (br#","zone":""#, zone),
            (br#","endpoint":""#, endpoint),
        ]);
        Self { json }
    }

    fn json(&self) -> &[u8] {
        &self.json
    }
}

/// What is known about a request when it has ended. An empty string stands for "none".
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When it began: with `total`, also when it ended.
    pub at: SystemTime,
    /// As in `X-Request-Id`.
    pub request_id: &'a [u8],
    /// Where it came in.
    pub origin: &'a Origin,
    /// Where it went: the last endpoint that was tried.
    pub target: Option<&'a Target>,
    /// The client, as found behind trusted proxies.
    pub client: SocketAddr,
    /// The proxy whose PROXY header told of the client, if one came.
    pub proxy: Option<IpAddr>,
    /// Method as sent; empty where HTTP is not spoken.
    pub method: &'a str,
    /// `http` or `https`; `tcp` where the bytes are not read.
    pub scheme: &'a str,
    /// Host as asked for.
    pub host: &'a [u8],
    /// Path as asked for, without the query.
    pub path: &'a [u8],
    /// Query as asked for; written only if the configuration says so.
    pub query: Option<&'a [u8]>,
    /// Status that was sent; none where HTTP is not spoken.
    pub status: Option<u16>,
    /// Status of gRPC that the client had; none where the request is no call.
    pub grpc: Option<u8>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Version of HTTP towards the client: `1.0`, `1.1`.
    pub version: &'static str,
    /// Version of TLS towards the client, if it is spoken: `1.2`, `1.3`.
    pub tls: Option<&'static str>,
    /// The subject of the client's certificate and its SHA-256 digest, if it showed one.
    pub client_certificate: Option<(&'a str, &'a str)>,
    /// `User-Agent` as sent.
    pub user_agent: &'a [u8],
    /// `Referer` as sent; only the combined format has it.
    pub referer: &'a [u8],
    /// Endpoints that were tried.
    pub attempts: u32,
    /// For how long it waited for an endpoint with room, if it did.
    pub queued: Option<Duration>,
    /// Until the connection to the endpoint stood, if one was made.
    pub connect: Option<Duration>,
    /// From the request's end to the first byte of the response, at the last endpoint
    /// that was tried.
    pub first_byte: Option<Duration>,
    /// From the first byte of the request to the last of the response.
    pub total: Duration,
    /// Of that, what was not waiting for the client or the endpoint, where that is told apart.
    pub overhead: Option<Duration>,
    /// How it ended.
    pub end: End,
    /// The cause of a failure, as a word of RFC 9209.
    pub error: Option<&'static str>,
    /// Generation of the configuration that served it.
    pub generation: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Answered wholly.
    Ok,
    /// The client went away.
    ClientAbort,
    /// The endpoint broke the connection, could not be reached, or there was none to ask.
    EndpointReset,
    /// A time limit passed.
    Timeout,
    /// Turned away to protect what is running.
    Shed,
    /// Refused by a rule.
    Denied,
}

impl AccessLog {
    fn new(sink: Sink) -> Self {
        Self {
            sink,
            page: RefCell::default(),
        }
    }

    /// Whether requests are logged now; if not, the caller need not gather an [`Entry`].
    #[inline]
    pub fn is_on(&self) -> bool {
        self.sink.form().is_on
    }

    /// Writes a line about one request. Never blocks, never fails.
    pub fn record(&self, entry: &Entry<'_>) {
        let form = self.sink.form();
        if !form.is_on {
            return;
        }
        let mut page = self.page.borrow_mut();
        let Page {
            bytes,
            lines,
            clock,
        } = &mut *page;
        if bytes.capacity() == 0 {
            bytes.reserve_exact(BLOCK + LINE);
        }
        let query = entry.query.filter(|_| form.has_query);
        match form.format {
            Format::Json => json::line(bytes, clock, entry, query),
            Format::Combined => combined::line(bytes, clock, entry, query),
        }
        *lines += 1;
        if bytes.len() >= BLOCK {
            page.hand_over(&self.sink);
        }
    }

    /// Hands over what has been written. The worker calls it every [`FLUSH_EVERY`].
    pub fn flush(&self) {
        self.page.borrow_mut().hand_over(&self.sink);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

impl Page {
    fn hand_over(&mut self, sink: &Sink) {
        if self.bytes.is_empty() {
            return;
        }
        // The next block is allocated by the next line: an idle worker holds none.
        let bytes = std::mem::take(&mut self.bytes);
        let lines = std::mem::take(&mut self.lines);
        sink.submit(Stream::Access, bytes, lines);
    }
}

impl End {
    /// The word for it in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientAbort => "client_abort",
            Self::EndpointReset => "endpoint_reset",
            Self::Timeout => "timeout",
            Self::Shed => "shed",
            Self::Denied => "denied",
        }
    }
}

/// The longest that a line waits in a worker's block: short enough to follow a log with the eye.
pub const FLUSH_EVERY: Duration = Duration::from_millis(200);

/// A block is handed over once it holds this much: some eighty lines, so that queue and writing
/// thread cost each line little, and little is lost with a block.
const BLOCK: usize = 30 * 1024;

/// Room for the line that fills a block, so that it seldom has to grow. With [`BLOCK`], 32 KiB.
const LINE: usize = 2 * 1024;

#[cfg(test)]
mod tests;
