//! The control plane: everything that changes what the data plane does, and nothing that serves.
//!
//! It has a thread and a runtime of its own and reaches the data plane through four doors only: it
//! swaps the snapshot, replaces an upstream's endpoints, sets an endpoint's health, and renews a
//! listener's certificates. If it stands still, traffic flows on with what is known.

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

pub mod admin;
mod aside;
pub mod certificates;
mod changes;
pub mod client_authorities;
pub mod core_dumps;
pub mod coverage;
pub mod cpus;
pub mod files;
pub mod health;
mod local_ports;
pub mod materials;
pub mod notify;
mod prepare;
mod ready;
pub mod refusals;
pub mod reload;
pub mod renewal;
pub mod resolve;
mod shutdown;
mod signal;
mod sockets;

pub use prepare::{Candidate, Rejection, Workshop};
pub use ready::{Check, Readiness};
pub use reload::{Report, Requests, Verdict};
pub use shutdown::{Drained, Ended, Shutdown};
pub use signal::{Gentle, Signals};
pub use sockets::Bound;

use crate::drain::Trigger;
use crate::snapshot::Handle;
use crate::telemetry::access::Sink;
use signal::Request;

/// What the control plane acts on until the end of the process.
#[derive(Debug)]
pub struct Control {
    /// The snapshot in force: its `[shutdown]` decides how the end goes.
    pub handle: Handle,
    /// Starts the drain.
    pub trigger: Trigger,
    /// Is told of the drain.
    pub readiness: Readiness,
    /// Asks for reloads.
    pub requests: Requests,
    /// The log, whose file is opened again on SIGUSR1.
    pub sink: Sink,
    /// The process's signals, if they are ours.
    pub signals: Option<Signals>,
    /// Turns true, or goes, when the embedding program wants the end.
    pub stop: watch::Receiver<bool>,
}

impl Control {
    /// Obeys signals until somebody wants the end, then drains. `tasks` (health checks, admin,
    /// reload) go on until the drain is over, and are cut with it.
    pub async fn run(self, mut tasks: JoinSet<()>) -> Drained {
        let Self {
            handle,
            trigger,
            readiness,
            requests,
            sink,
            mut signals,
            mut stop,
        } = self;
        let by = loop {
            tokio::select! {
                request = next(&mut signals) => match request {
                    Request::Reload => requests.request("SIGHUP"),
                    Request::ReopenLogs => sink.reopen(),
                    Request::Stop(stop) => break stop.name(),
                },
                _ = stop.wait_for(|stop| *stop) => break "the embedding program",
                Some(task) = tasks.join_next() => mourn(task),
            }
        };
        let shutdown = Shutdown::from(&handle.load().config.shutdown);
        let Shutdown { grace, drain } = shutdown;
        tracing::info!(by, ?grace, ?drain, "draining");
        let hurry = second_stop(&mut signals, &sink);
        shutdown.run(&trigger, &readiness, hurry).await
    }
}

/// The next signal, or never.
async fn next(signals: &mut Option<Signals>) -> Request {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// Completes when somebody asks for the end once more.
async fn second_stop(signals: &mut Option<Signals>, sink: &Sink) {
    loop {
        match next(signals).await {
            Request::Stop(stop) => {
                tracing::info!(by = stop.name(), "the wait is ended");
                return;
            }
            Request::ReopenLogs => sink.reopen(),
            Request::Reload => tracing::warn!("no reload while draining"),
        }
    }
}

/// A part of the control plane is gone; traffic flows on with what is known.
fn mourn(task: Result<(), JoinError>) {
    if let Err(error) = task {
        tracing::error!(%error, "a part of the control plane failed; traffic goes on without it");
    }
}
