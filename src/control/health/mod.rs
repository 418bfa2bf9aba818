//! Active health checks: the prober asks every endpoint how it is, and tells the upstreams.
//!
//! Problem: a check per endpoint and timer is simple and falls over with many: all start together,
//! all at once time out on the day that a zone is lost, and each reload starts them anew. So one
//! task owns all checks. It probes at most so many at a time, the longest overdue first; spreads
//! the rest over the interval with jitter; probes sooner while a verdict is changing or when a
//! worker could not connect; and keeps what it knows of endpoints that stay when the
//! configuration changes.
//!
//! Use: [`Prober::start`] on the control plane's runtime, [`Prober::apply`] after every
//! change of the running upstreams. The data plane never waits for any of it: it reads
//! verdicts from the tables.

mod checks;
mod grpc;
mod h2;
mod outcome;
mod probe;
mod run;
mod udp;

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::endpoint::LiveStates;
use crate::upstream::{KeptMember, State, Upstream};

use h2::H2;
use run::{Command, Run};

/// Probes endpoints until it is dropped.
#[derive(Debug)]
pub struct Prober {
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

/// Asks the prober what it knows. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Asking {
    commands: mpsc::UnboundedSender<Command>,
}

impl Prober {
    /// Starts on the runtime that this is called on, with nothing to probe yet. In `live` workers
    /// ask for probes.
    /// It owns what endpoints are held for, so it also hears there which of them fail.
    pub fn start(live: &LiveStates, random: Rng) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        let asked = (
            Arc::clone(live.probe_requests()),
            Arc::clone(live.suspects()),
        );
        let run = Run::new(received, asked, random);
        let h2 = H2::default();
        let probing = run.until_dropped(move |job| probe::probe(job, h2.clone()));
        Self {
            commands,
            task: tokio::spawn(probing),
        }
    }

    /// Goes on from what the process before knew of endpoints, with the upstreams that are told
    /// next.
    pub fn resume(&self, known: BTreeMap<u64, State>) {
        drop(self.commands.send(Command::Resume(known)));
    }

    /// A way to ask what is to be kept of the endpoints.
    pub fn asking(&self) -> Asking {
        Asking {
            commands: self.commands.clone(),
        }
    }

    /// Probes the endpoints of these upstreams from now on, and no others. What is known of
    /// endpoints that stay is kept; new ones are probed at once.
    pub fn apply<'a>(&self, upstreams: impl IntoIterator<Item = &'a Arc<Upstream>>) {
        let upstreams = upstreams.into_iter().cloned().collect();
        // It fails only when the runtime shuts down: then nothing is to be probed.
        drop(self.commands.send(Command::Apply(upstreams)));
    }

    /// Returns when every endpoint of the last [`Prober::apply`] has had its first verdict. The
    /// caller sets the time limit.
    pub async fn first_verdicts(&self) {
        let (judged, all_judged) = oneshot::channel();
        if self.commands.send(Command::TellWhenJudged(judged)).is_ok() {
            // An error means that the prober has ended: there is nothing to wait for.
            drop(all_judged.await);
        }
    }
}

impl Asking {
    /// What is to be kept of all endpoints over the end of the process, by their numbers; nothing
    /// once the prober has ended. The caller sets the time limit.
    pub async fn kept(&self) -> BTreeMap<u64, KeptMember> {
        let (tell, told) = oneshot::channel();
        drop(self.commands.send(Command::TellKept(tell)));
        told.await.unwrap_or_default()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests;
