//! The prober's task: starts probes when they are due, hears how they ended, and passes it on.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use fastrand::Rng;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::checks::{Checks, Job, News};
use super::outcome::Outcome;
use crate::control::outlier::Outliers;
use crate::endpoint::{ProbeRequests, Suspects};
use crate::upstream::{HealthChange, KeptMember, State, Upstream};

/// What the prober is told.
#[derive(Debug)]
pub(super) enum Command {
    /// These are the upstreams now.
    Apply(Vec<Arc<Upstream>>),
    /// Go on from these with the upstreams that are told next.
    Resume(BTreeMap<u64, State>),
    /// Say what is to be kept of all endpoints.
    TellKept(oneshot::Sender<BTreeMap<u64, KeptMember>>),
    /// Say when every endpoint has had its first verdict.
    TellWhenJudged(oneshot::Sender<()>),
}

/// The state of the prober's task. Ends its probes when it is dropped.
#[derive(Debug)]
pub(super) struct Run {
    checks: Checks,
    commands: mpsc::UnboundedReceiver<Command>,
    requests: Arc<ProbeRequests>,
    /// What becomes of requests; the other half of what an endpoint is held for.
    outliers: Outliers,
    suspects: Arc<Suspects>,
    probes: JoinSet<Outcome>,
    /// Which endpoint a probe is for. Kept apart, so that it is known of a probe that panicked.
    probed: HashMap<Id, u64>,
    waiting: Vec<oneshot::Sender<()>>,
}

/// A probe that has ended, or broke off.
type Ended = Result<(Id, Outcome), JoinError>;

/// What an upstream is told.
type Told = (Arc<Upstream>, Vec<HealthChange>);

impl Run {
    pub(super) fn new(
        commands: mpsc::UnboundedReceiver<Command>,
        (requests, suspects): (Arc<ProbeRequests>, Arc<Suspects>),
        mut random: Rng,
    ) -> Self {
        Self {
            outliers: Outliers::new(random.fork()),
            checks: Checks::new(random),
            commands,
            requests,
            suspects,
            probes: JoinSet::new(),
            probed: HashMap::new(),
            waiting: Vec::new(),
        }
    }

    /// Runs until the prober is dropped.
    pub(super) async fn until_dropped<F>(mut self, probe: impl Fn(Job) -> F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        loop {
            self.start_what_is_due(&probe);
            self.tell_who_waits();
            let next = if self.has_room() {
                self.checks.next_due()
            } else {
                None
            };
            let look = self.outliers.next_due();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Apply(upstreams)) => self.apply(&upstreams),
                    Some(Command::Resume(known)) => self.outliers.resume(known),
                    Some(Command::TellKept(kept)) => {
                        // Whoever has gone does not want to know any more.
                        drop(kept.send(self.outliers.kept(Instant::now())));
                    }
                    Some(Command::TellWhenJudged(judged)) => self.waiting.push(judged),
                    None => return,
                },
                ids = self.requests.take() => {
                    let now = Instant::now();
                    for id in ids {
                        self.checks.request(id, now);
                    }
                }
                ids = self.suspects.take() => self.outliers.suspect(&ids, Instant::now()),
                () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                    self.outliers.sweep(Instant::now());
                }
                Some(ended) = self.probes.join_next_with_id() => self.take_in(ended),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn has_room(&self) -> bool {
        let most = (self.checks.len() / 8).clamp(LEAST_AT_ONCE, MOST_AT_ONCE);
        self.probes.len() < most
    }

    fn start_what_is_due<F>(&mut self, probe: &impl Fn(Job) -> F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let now = Instant::now();
        while self.has_room()
            && let Some(job) = self.checks.take_due(now)
        {
            let id = job.id;
            let task = self.probes.spawn(probe(job));
            self.probed.insert(task.id(), id);
        }
    }

    fn tell_who_waits(&mut self) {
        if !self.waiting.is_empty() && !self.checks.waits_for_verdicts() {
            for judged in self.waiting.drain(..) {
                // Whoever has gone does not want to know any more.
                let _ = judged.send(());
            }
        }
    }

    fn apply(&mut self, upstreams: &[Arc<Upstream>]) {
        let now = Instant::now();
        self.checks.apply(upstreams, now);
        self.outliers.apply(upstreams, now);
        // Verdicts that were told to a build which is no longer the running one.
        for upstream in upstreams {
            upstream.refresh();
        }
    }

    /// Takes in what has ended by now. Changes are told together: every telling makes a new table.
    fn take_in(&mut self, first: Ended) {
        let mut told: BTreeMap<Arc<str>, Told> = BTreeMap::new();
        let mut ended = Some(first);
        while let Some(result) = ended {
            if let Some(News { upstream, change }) = self.news_of(result) {
                let change = self.outliers.probes_say(change, Instant::now());
                let entry = told.entry(Arc::clone(&upstream.name));
                entry
                    .or_insert_with(|| (upstream, Vec::new()))
                    .1
                    .push(change);
            }
            ended = self.probes.try_join_next_with_id();
        }
        for (upstream, changes) in told.into_values() {
            upstream.apply(changes);
        }
    }

    fn news_of(&mut self, ended: Ended) -> Option<News> {
        let now = Instant::now();
        match ended {
            Ok((task, outcome)) => {
                let id = self.probed.remove(&task)?;
                tracing::debug!(endpoint = id, %outcome, "probed");
                if self.checks.proves_the_way(id, &outcome) {
                    self.outliers.probe_passed(id, now);
                }
                self.checks.finished(id, &outcome, now)
            }
            Err(error) => {
                let id = self.probed.remove(&error.id())?;
                tracing::error!(%error, "a probe broke off");
                self.checks.broke_off(id, now);
                None
            }
        }
    }
}

/// Probes at once, however few the endpoints: hanging ones must not hold up the others for long.
const LEAST_AT_ONCE: usize = 64;
/// However many: each costs a descriptor and a connection.
const MOST_AT_ONCE: usize = 1_024;
