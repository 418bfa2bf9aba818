//! Connections that leave HTTP: WebSockets and other upgrades after a 101, CONNECT after a 200.

use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use crate::pool::Tunnelled;
use crate::protocol::tunnel::{Passed, Prefix, Watch, tunnel};
use crate::upstream::Pick;

/// A tunnel that begins when its response head has been sent.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) upstream: Tunnelled,
    pub(super) idle: Duration,
    /// The request stays in flight until the tunnel ends.
    pub(super) pick: Pick,
}

impl Tunnel {
    /// Copies bytes until both sides have ended.
    pub(super) async fn run(self, client: Rc<Client>) {
        // Whatever shared the client has ended with the exchange.
        let client = Rc::into_inner(client).and_then(Client::into_connection);
        let Some((mut stream, received, facts)) = client else {
            return;
        };
        let Self {
            upstream:
                Tunnelled {
                    stream: mut endpoint,
                    received: early,
                    open,
                },
            idle,
            pick,
        } = self;
        let prefix = Prefix {
            sent: received,
            received: early.into_bytes(),
        };
        let passed = Passed::default();
        let watch = Watch {
            idle,
            passed: &passed,
            meters: None,
        };
        let outcome = tunnel(&mut stream, &mut endpoint, prefix, watch).await;
        drop((endpoint, open, pick)); // in this order: whoever counts must find what is still there
        tracing::debug!(peer = %facts.peer, ?outcome, "tunnel ended");
    }
}
