//! What leaves HTTP: WebSockets and other upgrades after a 101, CONNECT after a 200; on a
//! connection of its own, or on a stream beside requests.

use std::rc::Rc;
use std::sync::Arc;

use super::bulkhead::Stay;
use super::client::{Client, Left};
use super::exchange::Exchange;
use super::record::{Last, Line};
use crate::context::ConnectionFacts;
use crate::http2::ErrorCode;
use crate::pool::Tunnelled;
use crate::protocol::tunnel::{End, Meters, Passed, Places, Prefix, Watch, tunnel};
use crate::snapshot::{Choice, Direction, RouteMetrics, SessionResult, TunnelTimeouts};
use crate::upstream::Pick;

/// A tunnel that begins when its response head has been sent.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) upstream: Tunnelled,
    pub(super) limits: TunnelTimeouts,
    /// What a stream is reset with when the tunnel is cut.
    pub(super) cut: ErrorCode,
    /// The request stays in flight until the tunnel ends, or the endpoint is gone.
    pub(super) pick: Pick,
    pub(super) counted: Counted,
    /// What the access log tells when it ends, if anything.
    pub(super) line: Option<Box<Line>>,
}

/// Where a tunnel is counted.
#[derive(Debug)]
pub(super) struct Counted {
    metrics: Arc<RouteMetrics>,
    upstream: Arc<str>,
    /// Within the limit of the route.
    _within: Option<Stay>,
}

/// Counts and logs a tunnel when it is dropped, so that one that is cut by a drain is seen as well.
#[derive(Debug)]
struct Begun<'a> {
    counted: Counted,
    result: SessionResult,
    error: Option<&'static str>,
    line: Option<Box<Line>>,
    client: &'a Left,
    facts: &'a ConnectionFacts,
    passed: &'a Passed,
}

impl Tunnel {
    /// Copies bytes until both sides have ended.
    pub(super) async fn run(self, client: Rc<Client>) {
        // Whatever shared the client has ended with the exchange.
        let Some(client) = Rc::into_inner(client) else {
            return;
        };
        let (client, received, facts) = client.leave();
        let Self {
            upstream:
                Tunnelled {
                    stream: endpoint,
                    received: early,
                    open,
                },
            limits,
            cut,
            pick,
            counted,
            line,
        } = self;
        let bytes = |direction| counted.metrics.tunnels.bytes(&counted.upstream, direction);
        let (sent, received_bytes) = (bytes(Direction::Sent), bytes(Direction::Received));
        let passed = Passed::default();
        let mut begun = Begun {
            counted,
            result: SessionResult::Cut,
            error: None,
            line,
            client: &client,
            facts: &facts,
            passed: &passed,
        };
        let prefix = Prefix {
            sent: received,
            received: early.into_bytes(),
        };
        let known = Arc::clone(pick.endpoint());
        let places = Places::of(open, pick);
        let watch = Watch {
            limits,
            endpoint: &known.live,
            places: &places,
            passed: &passed,
            meters: Some(Meters {
                sent: &sent,
                received: &received_bytes,
            }),
        };
        let end = match &client {
            Left::Connection(socket) => End::Socket(socket),
            Left::Stream(stream) => End::Stream(stream, cut),
        };
        let outcome = tunnel(end, End::Socket(&endpoint), prefix, watch).await;
        begun.result = outcome.end.result();
        begun.error = outcome.end.error();
        drop((endpoint, places)); // in this order: whoever counts must find what is still there
        tracing::debug!(peer = %facts.peer, ?outcome, "tunnel ended");
    }
}

impl Counted {
    /// Under the route of an exchange and the upstream that was chosen.
    pub(super) fn of(exchange: &Exchange<'_>, choice: &Choice) -> Self {
        Self {
            metrics: Arc::clone(&exchange.route.metrics),
            upstream: Arc::clone(&choice.upstream.name),
            _within: exchange.stay_within(),
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Counted {
            metrics, upstream, ..
        } = &self.counted;
        metrics.tunnels.count(upstream, self.result);
        if let Some(line) = &self.line {
            let last = Last {
                sent: self.passed.sent.get(),
                received: self.passed.received.get(),
                end: self.result.end(),
                error: self.error,
            };
            line.write(self.client.stream(), self.facts, last);
        }
    }
}
