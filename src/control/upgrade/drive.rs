//! The side of the instance that is to be replaced.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, timeout_at};

use super::caretaker::{Caretaker, Line};
use super::channel::{Channel, ChannelError};
use super::commit::served;
use super::frame::{Frame, Hello, PROTOCOL, Ready};
use super::offer::Offers;
use super::program::Program;
use super::remainder::{Remainder, encoded};
use super::report::{Queue, Report, Request, Requests, Verdict};
use super::spawn::{Spawned, Successor};
use crate::control::admin::Gates;
use crate::control::health::Asking;
use crate::control::inherited::Inherited;
use crate::control::notify;
use crate::control::privileges::Touched;
use crate::control::privileges::confined::Confined;
use crate::control::ready::Readiness;
use crate::control::state::State;
use crate::drain::Watcher;
use crate::snapshot::Handle;
use crate::telemetry::events::{Event, Events};
use crate::telemetry::metrics::{Counter, Counts, Family, Kind, Registry};
use crate::telemetry::process::BUILD;

/// Carries upgrades out, one after another, until one has succeeded.
#[derive(Debug)]
pub struct Upgrader {
    parts: Parts,
    caretaker: Option<Line>,
    requests: Queue,
    handed_over: oneshot::Sender<Handover>,
    metrics: Metrics,
}

#[derive(Debug)]
struct Metrics {
    /// Counted by a new instance, of its own start.
    _succeeded: Counter,
    failed: Counter,
    late: Counter,
}

/// What an upgrade acts on.
#[derive(Debug)]
pub struct Parts {
    /// What is started; without it there is nothing to upgrade to.
    pub program: Option<Program>,
    /// The snapshot in force.
    pub handle: Handle,
    /// Knows how endpoints are.
    pub prober: Asking,
    /// What came from systemd.
    pub inherited: Inherited,
    /// The entrances of the admin API.
    pub gates: Gates,
    /// Held while a reload runs, or an upgrade.
    pub one_change: Arc<Mutex<()>>,
    /// No upgrade while the process ends.
    pub drain: Watcher,
    /// This instance is not ready any more once another serves.
    pub readiness: Readiness,
    /// Is told of each.
    pub events: Events,
    /// Counts them.
    pub registry: Registry,
    /// Data-plane threads.
    pub workers: usize,
    /// The line to the caretaker of this container, if this process inherited one.
    pub caretaker: Option<OwnedFd>,
    /// What this process is confined to, and so whatever it starts.
    pub confined: Confined,
}

/// Another instance serves in this one's place.
#[derive(Debug)]
pub struct Handover {
    /// Its process id.
    pub pid: u32,
    /// The process itself.
    pub successor: Successor,
    /// What this process still counts.
    pub remainder: Remainder,
    /// What this process has to be after its end.
    pub caretaker: Option<Caretaker>,
}

/// Why an upgrade came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("this instance does not know which program it is, so there is nothing to start")]
    NoProgram,
    #[error("this instance is about to end")]
    Draining,
    #[error("{path} cannot be started: {source}")]
    Start { path: String, source: io::Error },
    #[error(
        "{} lies where this instance cannot read since its start (Landlock): put it where the \
         program was then, or name its folder in security.allow_paths and restart the instance",
        .0.display()
    )]
    OutOfReach(PathBuf),
    #[error("what this instance listens on cannot be handed over: {0}")]
    Sockets(io::Error),
    #[error("the new instance refused: {0}")]
    Refused(String),
    #[error("the new instance ended before it was ready ({0}); its own words are in the log")]
    Ended(String),
    #[error("the new instance did not speak as one of ours does: {0}")]
    Nonsense(ChannelError),
    #[error("the new instance was not ready within {0:?} (upgrade.ready_within)")]
    Late(Duration),
}

/// A new instance that serves.
struct Serving {
    spawned: Spawned,
    channel: Channel,
    offers: Offers,
    ready: Ready,
    /// What it goes on counting from.
    counts: Counts,
}

impl Upgrader {
    /// An upgrader, the way to ask it, and what tells of a success.
    pub fn new(mut parts: Parts) -> (Self, Requests, oneshot::Receiver<Handover>) {
        let (requests, queue) = Requests::new();
        let (handed_over, told) = oneshot::channel();
        let result = |result| parts.registry.counter(&UPGRADES, &[("result", result)]);
        let caretaker = Line::new(parts.caretaker.take());
        let caretaker = caretaker.unwrap_or_else(|error| {
            tracing::warn!(%error, "after an upgrade this container ends with this process");
            None
        });
        let upgrader = Self {
            caretaker,
            metrics: Metrics {
                _succeeded: result("succeeded"),
                failed: result("failed"),
                late: result("late"),
            },
            parts,
            requests: queue,
            handed_over,
        };
        (upgrader, requests, told)
    }

    /// Serves requests until an upgrade has succeeded, or nobody can ask any more.
    pub async fn run(mut self) {
        while let Some((request, running)) = self.requests.next().await {
            let Request { by, answer } = request;
            self.publish("upgrade_started", format!("asked for by {by}"), Vec::new());
            let one_change = Arc::clone(&self.parts.one_change);
            let changing = one_change.lock().await;
            let tried = self.try_once().await;
            let (report, serving) = match tried {
                Ok(serving) => (self.succeeded(&serving), Some(serving)),
                Err(failure) => (self.failed(&failure), None),
            };
            if let Some(serving) = serving {
                // From its last look at whether this instance is to end until that is handed over,
                // nothing else happens on this thread: the end is either before it or after it.
                let handover = self.leave(serving);
                let remainder = handover.remainder.clone();
                // First: whoever has the answer finds that this instance takes its leave. The
                // control plane ends with this process at the latest.
                drop(self.handed_over.send(handover));
                remainder.done().await;
                drop(changing);
                if let Some(answer) = answer {
                    drop(answer.send(report));
                }
                return drop(running);
            }
            if let Some(answer) = answer {
                drop(answer.send(report));
            }
        }
    }

    /// Starts a new instance and has it serve. It is ended where that fails.
    async fn try_once(&self) -> Result<Serving, Failure> {
        let mut drain = self.parts.drain.clone();
        if drain.is_draining() {
            return Err(Failure::Draining);
        }
        let limit = ready_within(&self.parts.handle);
        let deadline = Instant::now() + limit;
        let program = self.parts.program.as_ref().ok_or(Failure::NoProgram)?;
        if let Some(doubt) = program.doubt() {
            tracing::warn!("{doubt}");
        }
        let confined = &self.parts.confined;
        if let Some(path) = confined.out_of_reach(&Touched::read(program.path.clone())) {
            return Err(Failure::OutOfReach(path));
        }
        let snapshot = self.parts.handle.load();
        let offers = Offers::of(&snapshot, &self.parts.inherited, &self.parts.gates);
        let offers = offers.map_err(Failure::Sockets)?;
        let caretaker = self.caretaker.as_ref().map(Line::end);
        let started = Spawned::start(program, caretaker, confined);
        let (mut spawned, channel) = started.map_err(|source| Failure::Start {
            path: program.path.display().to_string(),
            source,
        })?;
        let generation = snapshot.generation;
        drop(snapshot);
        let prepared = tokio::select! {
            prepared = timeout_at(deadline, self.prepare(&channel, &offers, generation)) => prepared,
            () = drain.started() => return Err(Failure::Draining),
        };
        let served = match prepared {
            Ok(Ok(prepared)) => served(&mut spawned, &channel, drain, deadline)
                .await
                .map(|()| prepared),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Late(limit)),
        };
        match served {
            Ok((ready, counts)) => Ok(Serving {
                spawned,
                channel,
                offers,
                ready,
                counts,
            }),
            Err(Failure::Ended(_)) => {
                let status = spawned.ended().await;
                let how = status.map(|status| status.to_string());
                let how = how.unwrap_or_else(|| "it let go of its line".to_owned());
                Err(Failure::Ended(how))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Hands everything over, and the word to serve. Until that is said, this may be dropped.
    async fn prepare(
        &self,
        channel: &Channel,
        offers: &Offers,
        generation: u64,
    ) -> Result<(Ready, Counts), Failure> {
        let hello = Hello {
            protocol: PROTOCOL,
            version: BUILD.version.to_owned(),
            pid: std::process::id(),
            generation,
            workers: self.parts.workers,
        };
        channel.say(&Frame::Hello(hello)).await?;
        match offers.hand_over(channel, &self.known().await).await {
            // One that fails early says why, and closes its end: what it said is there to be heard.
            Ok(()) | Err(ChannelError::Gone) => {}
            Err(error) => return Err(error.into()),
        }
        let Frame::Ready(ready) = heard(channel).await? else {
            return Err(ChannelError::OutOfTurn.into());
        };
        // As late as can be: from here on both count.
        let counts = self.parts.registry.counts();
        for piece in Frame::state(&encoded(counts.clone())) {
            channel.say(&piece).await?;
        }
        channel.say(&Frame::Commit).await?;
        Ok((ready, counts))
    }

    /// What is known of the endpoints.
    async fn known(&self) -> Vec<u8> {
        let Parts { handle, prober, .. } = &self.parts;
        State::now(handle, prober, PATIENCE).await.to_bytes()
    }

    /// The new instance serves: leaves everything to it.
    fn leave(&mut self, serving: Serving) -> Handover {
        let Serving {
            spawned,
            channel,
            offers,
            ready,
            counts,
        } = serving;
        self.parts.readiness.left();
        offers.pass_on(&ready.takes);
        self.parts.gates.leave();
        let pid = spawned.pid();
        // Only this process may say so, and before the new one says anything.
        notify::main_pid(pid);
        let successor = spawned.set_free();
        let registry = self.parts.registry.clone();
        Handover {
            pid,
            successor,
            remainder: Remainder::new(channel, counts, registry),
            caretaker: self.tell_caretaker(pid),
        }
    }

    fn tell_caretaker(&mut self, pid: u32) -> Option<Caretaker> {
        let told = self.caretaker.as_mut()?.tell(pid);
        told.unwrap_or_else(|error| {
            tracing::error!(%error, "the caretaker of this container cannot be told who serves");
            None
        })
    }

    fn succeeded(&self, serving: &Serving) -> Report {
        let pid = serving.spawned.pid();
        let version = serving.ready.version.clone();
        let why = format!("{version} serves now, as process {pid}");
        let fields = vec![("pid", pid.to_string()), ("version", version.clone())];
        self.publish("upgrade_done", why.clone(), fields);
        Report {
            result: Verdict::Succeeded,
            why,
            notes: serving.ready.notes.clone(),
            pid,
            version,
        }
    }

    fn failed(&self, failure: &Failure) -> Report {
        let result = match failure {
            Failure::Late(_) => Verdict::Late,
            Failure::NoProgram
            | Failure::Draining
            | Failure::Start { .. }
            | Failure::OutOfReach(_)
            | Failure::Sockets(_)
            | Failure::Refused(_)
            | Failure::Ended(_)
            | Failure::Nonsense(_) => Verdict::Failed,
        };
        match result {
            Verdict::Late => self.metrics.late.inc(),
            Verdict::Failed | Verdict::Succeeded => self.metrics.failed.inc(),
        }
        let why = failure.to_string();
        self.publish("upgrade_failed", why.clone(), Vec::new());
        Report::failed(result, why)
    }

    fn publish(&self, kind: &'static str, why: String, fields: Vec<(&'static str, String)>) {
        self.parts.events.publish(Event { kind, why, fields });
    }
}

impl From<ChannelError> for Failure {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Gone => Self::Ended(String::new()),
            ChannelError::System(error) => Self::Sockets(error),
            ChannelError::Nonsense(_) | ChannelError::OutOfTurn => Self::Nonsense(error),
        }
    }
}

/// What the new instance says, unless that is that it ends.
pub(super) async fn heard(channel: &Channel) -> Result<Frame, Failure> {
    match channel.hear().await?.0 {
        Frame::Failed(why) => Err(Failure::Refused(why)),
        frame => Ok(frame),
    }
}

fn ready_within(handle: &Handle) -> Duration {
    let written = handle.load().config.upgrade.ready_within;
    written.map_or(READY_WITHIN, |time| time.0)
}

/// How long the prober may take to tell: it asks nobody for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A start takes less than a second; the names of its endpoints may take eleven to be looked up.
const READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) static UPGRADES: Family = Family {
    name: "evenkeel_upgrades_total",
    help: "Upgrades of the program by their result; a success is counted by the new instance.",
    kind: Kind::Counter,
    buckets: None,
};
