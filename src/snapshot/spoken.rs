//! What is spoken on a connection, as its metrics tell it.
//!
//! A listener may speak several protocols, and which of them a connection speaks shows only when it
//! has begun. So a connection is counted from its first moment on under what is usual there, and
//! moves when it turns out to be another.

use crate::telemetry::metrics::Gauge;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionProtocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Bytes, unread.
    Tcp,
    /// Datagrams: a session.
    Udp,
}

/// What is held for a connection while it lasts.
pub trait ConnectionGuard: 'static {
    /// It has turned out what is spoken on it.
    fn speaks(&mut self, protocol: ConnectionProtocol);
}

/// Open connections by what is spoken on them.
#[derive(Debug, Clone)]
pub struct OpenConnections {
    usual: ConnectionProtocol,
    /// By [`ConnectionProtocol`]; those that are not spoken there have none.
    gauges: [Option<Gauge>; 4],
}

impl ConnectionProtocol {
    /// The word for it in the metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Nothing is counted.
impl ConnectionGuard for () {
    fn speaks(&mut self, _: ConnectionProtocol) {}
}

impl OpenConnections {
    /// One for each of these, of which the first is the usual one.
    pub(super) fn new(
        spoken: &[ConnectionProtocol],
        gauge: impl Fn(ConnectionProtocol) -> Gauge,
    ) -> Self {
        let mut gauges = [None, None, None, None];
        for protocol in spoken {
            gauges[*protocol as usize] = Some(gauge(*protocol));
        }
        Self {
            usual: spoken.first().copied().unwrap_or(ConnectionProtocol::Tcp),
            gauges,
        }
    }

    /// What a connection is counted as until it is known.
    pub fn usual(&self) -> ConnectionProtocol {
        self.usual
    }

    /// Counts a connection.
    pub fn inc(&self, protocol: ConnectionProtocol) {
        if let Some(gauge) = &self.gauges[protocol as usize] {
            gauge.inc();
        }
    }

    /// Counts a connection as what it has turned out to be, and tells what it is counted as now. A
    /// reload may have added what is spoken, of which the connection's listener knew nothing.
    pub fn moved(&self, from: ConnectionProtocol, to: ConnectionProtocol) -> ConnectionProtocol {
        if from == to || self.gauges[to as usize].is_none() {
            return from;
        }
        self.inc(to);
        self.dec(from);
        to
    }

    /// Counts it out again, under what it was counted as last.
    pub fn dec(&self, protocol: ConnectionProtocol) {
        if let Some(gauge) = &self.gauges[protocol as usize] {
            gauge.dec();
        }
    }
}
