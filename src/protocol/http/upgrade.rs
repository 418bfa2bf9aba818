//! What leaves HTTP: WebSockets and other upgrades after a 101, CONNECT after a 200; on a
//! connection of its own, or on a stream beside requests.

use std::rc::Rc;

use super::client::{Client, Left};
use crate::http2::ErrorCode;
use crate::pool::Tunnelled;
use crate::protocol::tunnel::{End, Passed, Prefix, Watch, tunnel};
use crate::snapshot::TunnelTimeouts;
use crate::upstream::Pick;

/// A tunnel that begins when its response head has been sent.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) upstream: Tunnelled,
    pub(super) limits: TunnelTimeouts,
    /// What a stream is reset with when the tunnel is cut.
    pub(super) cut: ErrorCode,
    /// The request stays in flight until the tunnel ends.
    pub(super) pick: Pick,
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
        } = self;
        let prefix = Prefix {
            sent: received,
            received: early.into_bytes(),
        };
        let passed = Passed::default();
        let watch = Watch {
            limits,
            endpoint: &pick.endpoint.live,
            passed: &passed,
            meters: None,
        };
        let end = match &client {
            Left::Connection(socket) => End::Socket(socket),
            Left::Stream(stream) => End::Stream(stream, cut),
        };
        let outcome = tunnel(end, End::Socket(&endpoint), prefix, watch).await;
        drop((endpoint, open, pick)); // in this order: whoever counts must find what is still there
        tracing::debug!(peer = %facts.peer, ?outcome, "tunnel ended");
    }
}
