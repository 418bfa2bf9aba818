//! The control plane: everything that changes what the data plane does, and nothing that serves.
//!
//! It has a thread and a runtime of its own and reaches the data plane through four doors only: it
//! swaps the snapshot, replaces an upstream's endpoints, sets an endpoint's health, and renews a
//! listener's certificates. If it stands still, traffic flows on with what is known.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

pub mod admin;
pub mod aside;
pub mod certificates;
mod changes;
pub mod client_authorities;
pub mod core_dumps;
pub mod coverage;
pub mod cpus;
pub mod files;
pub mod fullness;
pub mod health;
pub mod inherited;
pub mod last_good;
mod leaving;
mod local_ports;
pub mod log_output;
pub mod materials;
pub mod notify;
mod outlier;
mod prepare;
pub mod privileges;
mod reading;
mod ready;
pub mod refusals;
pub mod reload;
pub mod renewal;
pub mod resolve;
mod shutdown;
mod signal;
mod sockets;
pub mod state;
pub mod upgrade;
pub mod watchdog;
pub mod watching;

pub use prepare::{Candidate, Rejection, Workshop, reach};
pub use ready::{Check, Instead, Readiness};
pub use reload::{Report, Requests, Verdict, mistakes};
pub use shutdown::{Drained, Ended, Shutdown};
pub use signal::{Gentle, Signals};
pub use sockets::{Bound, settle};

use crate::drain::Triggers;
use crate::snapshot::Handle;
use crate::telemetry::access::Sink;
use leaving::{Leaving, Stops};
use signal::Request;

/// What the control plane acts on until the end of the process.
#[derive(Debug)]
pub struct Control {
    /// The snapshot in force: its `[shutdown]` decides how the end goes.
    pub handle: Handle,
    /// Starts the drain.
    pub trigger: Triggers,
    /// Is told of the drain.
    pub readiness: Readiness,
    /// Asks for reloads.
    pub requests: Requests,
    /// The log, whose file is opened again on SIGUSR1.
    pub sink: Sink,
    /// The process's signals, if they are ours.
    pub signals: Option<Signals>,
    /// Asks for upgrades.
    pub upgrades: upgrade::Requests,
    /// Tells that another instance serves in this one's place.
    pub handed_over: oneshot::Receiver<upgrade::Handover>,
    /// Tells of an end that the instance before was asked for.
    pub end: Arc<Notify>,
    /// Turns true, or goes, when the embedding program wants the end.
    pub stop: watch::Receiver<bool>,
}

/// Why the process ends.
#[derive(Debug)]
enum End {
    /// Somebody wants it to.
    Asked(&'static str),
    /// Another instance serves. Who asked for this before knowing of it means that one.
    HandedOver(upgrade::Handover, Option<Request>),
}

impl Control {
    /// Obeys signals until somebody wants the end, then drains. `tasks` (health checks, admin,
    /// reload) go on meanwhile; their owner cuts them.
    pub async fn run(self, tasks: &mut JoinSet<()>) -> (Drained, Over) {
        let Self {
            handle,
            trigger,
            readiness,
            requests,
            sink,
            mut signals,
            upgrades,
            mut handed_over,
            end,
            mut stop,
        } = self;
        let mut can_hand_over = true;
        let mut is_twice = false;
        let end = loop {
            tokio::select! {
                biased; // an end that was asked for before a handover is not that of this one alone
                request = next(&mut signals) => match request {
                    Request::Reload => requests.request("SIGHUP"),
                    Request::ReopenLogs => sink.reopen(),
                    Request::Upgrade => upgrades.request("SIGUSR2"),
                    Request::Stop(stop) => break match handed_over.try_recv() {
                        Ok(handover) => End::HandedOver(handover, Some(request)),
                        Err(_) => End::Asked(stop.name()),
                    },
                },
                handover = &mut handed_over, if can_hand_over => match handover {
                    Ok(handover) => break End::HandedOver(handover, None),
                    Err(_) => can_hand_over = false,
                },
                () = end.notified() => {
                    // Whoever signals a whole group of processes has signalled this one as well.
                    is_twice = true;
                    break End::Asked("the instance before");
                }
                _ = stop.wait_for(|stop| *stop) => break End::Asked("the embedding program"),
                Some(task) = tasks.join_next() => mourn(task),
            }
        };
        let mut asked = Asked {
            early: None,
            is_twice,
            requests,
            signals,
            sink,
            successor: None,
            is_alone: false,
            stay: None,
        };
        let by = match end {
            End::Asked(by) => by,
            End::HandedOver(handover, early) => {
                let leaving = Leaving::from(&*handle.load().config);
                tracing::info!(successor = handover.pid, ?leaving, "leaving");
                asked.early = early;
                let remainder = handover.remainder.clone();
                tasks.spawn(async move { match remainder.run().await {} });
                return asked.leave(handover, leaving, (&trigger, &readiness)).await;
            }
        };
        let shutdown = Shutdown::from(&handle.load().config.shutdown);
        let Shutdown { grace, drain, .. } = shutdown;
        tracing::info!(by, ?grace, ?drain, "draining");
        let drained = shutdown.run(&trigger, &readiness, asked.next()).await;
        (drained, Over::Ended)
    }
}

/// Who asks for the end, while it is under way.
#[derive(Debug)]
struct Asked {
    /// What was asked for at the moment of the handover.
    early: Option<Request>,
    /// Whether the next signal may be the one that the end was asked for by.
    is_twice: bool,
    requests: Requests,
    signals: Option<Signals>,
    sink: Sink,
    /// Who serves instead, where nobody else sees its end.
    successor: Option<upgrade::Successor>,
    /// Whether that one has died.
    is_alone: bool,
    stay: Option<Stay>,
}

/// What the end of an instance is.
#[derive(Debug)]
pub enum Over {
    /// That of the service.
    Ended,
    /// Another instance serves.
    HandedOver {
        /// What this process still counts.
        remainder: upgrade::Remainder,
        /// Whether that one has died, so that nobody serves.
        is_alone: bool,
        /// What it has to be, if it must not end.
        stay: Option<Stay>,
    },
}

/// What an instance is after its end, where its process must not end.
#[derive(Debug)]
pub struct Stay {
    caretaker: upgrade::Caretaker,
    signals: Option<Signals>,
    /// What the service has ended with.
    code: Option<u8>,
}

impl Asked {
    /// Ends as one that another instance has taken over from.
    async fn leave(
        mut self,
        handover: upgrade::Handover,
        leaving: Leaving,
        (trigger, readiness): (&Triggers, &Readiness),
    ) -> (Drained, Over) {
        if self.early.is_some() && handover.caretaker.is_none() {
            handover.remainder.end().await;
        }
        // A caretaker takes leave of all that end, and ends with the service anyway.
        self.successor = handover.caretaker.is_none().then_some(handover.successor);
        self.stay = handover.caretaker.map(Stay::new);
        let drained = leaving.run(trigger, readiness, &mut self).await;
        let over = Over::HandedOver {
            remainder: handover.remainder,
            is_alone: self.is_alone,
            stay: self.kept(),
        };
        (drained, over)
    }

    /// What is left to do.
    fn kept(self) -> Option<Stay> {
        let mut stay = self.stay?;
        stay.signals = self.signals;
        Some(stay)
    }
}

impl Stops for Asked {
    async fn next(&mut self) {
        loop {
            if self.is_alone {
                return;
            }
            let request = match self.early.take() {
                Some(request) => request,
                None => match self.request().await {
                    Some(request) => request,
                    None => return,
                },
            };
            if request == Request::ReopenLogs {
                self.sink.reopen();
            }
            if let Some(stay) = &self.stay {
                stay.pass_on(request);
            }
            match request {
                Request::Stop(_) if std::mem::take(&mut self.is_twice) => {}
                Request::Stop(stop) => {
                    tracing::info!(by = stop.name(), "the wait is ended");
                    return;
                }
                Request::ReopenLogs => {}
                Request::Reload | Request::Upgrade if self.stay.is_some() => {}
                Request::Reload if let Some(successor) = &self.successor => {
                    successor.pass_on(request.signal());
                }
                Request::Reload => tracing::warn!("no reload while draining"),
                Request::Upgrade => tracing::warn!("no upgrade while draining"),
            }
        }
    }
}

impl Asked {
    /// What is asked for next; `None` where nobody serves any more.
    async fn request(&mut self) -> Option<Request> {
        let died = async {
            match &mut self.successor {
                Some(successor) => successor.has_died().await,
                None => std::future::pending().await,
            }
        };
        let service = async {
            match &mut self.stay {
                Some(stay) => stay.service_ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = next(&mut self.signals) => Some(request),
            () = self.requests.passed_on() => Some(Request::Reload),
            () = service => None,
            status = died => {
                tracing::error!(
                    %status,
                    "the instance that took over has died, and nobody serves: this one ends too, \
                     so that whoever started it starts it anew"
                );
                self.is_alone = true;
                None
            }
        }
    }
}

impl Stay {
    fn new(caretaker: upgrade::Caretaker) -> Self {
        Self {
            caretaker,
            signals: None,
            code: None,
        }
    }

    /// Stays until the service ends, and says what that ended with.
    pub async fn run(mut self) -> u8 {
        let mut signals = self.signals.take();
        while self.code.is_none() {
            tokio::select! {
                request = next(&mut signals) => self.pass_on(request),
                () = self.service_ended() => {}
            }
        }
        self.code.unwrap_or_default()
    }

    /// Completes when the service ends, once.
    async fn service_ended(&mut self) {
        if self.code.is_some() {
            return std::future::pending().await;
        }
        self.code = Some(self.caretaker.ended().await);
    }

    fn pass_on(&self, request: Request) {
        self.caretaker.pass_on(request.signal());
    }
}

/// The next signal, or never.
async fn next(signals: &mut Option<Signals>) -> Request {
    match signals {
        Some(signals) => signals.next().await,
        None => std::future::pending().await,
    }
}

/// A part of the control plane is gone; traffic flows on with what is known.
fn mourn(task: Result<(), JoinError>) {
    if let Err(error) = task {
        tracing::error!(%error, "a part of the control plane failed; traffic goes on without it");
    }
}
