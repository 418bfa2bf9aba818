//! Connections that leave HTTP: WebSockets and other upgrades after a 101, CONNECT after a 200.

use std::rc::Rc;
use std::time::Duration;

use super::client::Client;
use crate::context::ConnectionFacts;
use crate::pool::Tunnelled;
use crate::protocol::local::Local;
use crate::protocol::tunnel;
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
    pub(super) async fn run(self, client: Client, facts: ConnectionFacts, local: Rc<Local>) {
        todo!("l4")
    }
}
