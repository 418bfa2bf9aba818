//! The parts of a process, in the order in which they are made.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{BindError, Facts, Options};
use crate::config::{Admin as AdminSettings, Config, Outcome};
use crate::control::admin::{self, Admin, Entrances};
use crate::control::health::Prober;
use crate::control::refusals::Refusals;
use crate::control::reload::{self, Log, Reloader};
use crate::control::renewal::Renewals;
use crate::control::{
    Bound, Candidate, Control, Ended, Gentle, Readiness, Requests, Signals, Workshop, cpus, files,
    notify,
};
use crate::drain;
use crate::listener::{Balance, Inbox};
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::access::{Settings, Writer};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Registry, set_worker_shard};
use crate::telemetry::{self, panics, process};
use crate::upstream::World;
use crate::worker;

/// All parts of a process that is about to serve.
#[derive(Debug)]
pub(super) struct Machine {
    control: Control,
    reloader: Reloader,
    requests: Requests,
    renewals: Renewals,
    refusals: Refusals,
    registry: Registry,
    entrances: Entrances,
    shared: worker::Shared,
    inboxes: Vec<Inbox>,
}

/// What everything else stands on.
#[derive(Debug)]
struct Ground {
    registry: Registry,
    log: Log,
    events: Events,
    workshop: Workshop,
}

/// Makes everything up to the listening sockets.
pub(super) async fn assemble(
    outcome: Outcome,
    options: Options,
    stop: watch::Receiver<bool>,
) -> Result<(Facts, Machine), BindError> {
    let candidate = Candidate::new(&outcome, FIRST)?;
    let config = Arc::clone(&candidate.config);
    files::raise_limit();
    let mut ground = Ground::new(&config)?;
    // Before a listener can take a connection: where this fails, no client has noticed.
    let entrances = open_entrances(&config.admin, &options)?;
    ground.workshop.world.admin = entrances.http_bound();
    let refused = system("the signals cannot be taken over");
    let gentle = options.signals.then(Gentle::install).transpose();
    let gentle = gentle.map_err(&refused)?;
    let snapshot = ground.workshop.prepare(candidate, None).await?;
    let signals = gentle.map(Signals::install).transpose();
    let signals = signals.map_err(&refused)?;
    ground.workshop.world.install(snapshot.upstreams.values());
    let addresses = addresses(&snapshot);
    let machine = ground.machine(options, snapshot, entrances, signals, stop);
    let facts = Facts {
        addresses,
        admin: machine.entrances.http_address(),
        events: machine.shared.events.clone(),
        requests: machine.requests.clone(),
    };
    Ok((facts, machine))
}

impl Ground {
    fn new(config: &Config) -> Result<Self, BindError> {
        let workers = workers(config);
        let registry = Registry::new(workers + 1);
        set_worker_shard(workers); // the control thread counts too
        process::observe(&registry);
        let settings = Settings::new(&config.log);
        let sink = Writer::spawn(&settings, &registry);
        let sink = sink.map_err(system("the log cannot be written to"))?;
        let human = settings.output.is_terminal();
        // An embedding program with a subscriber of its own keeps it.
        let level = telemetry::init_tracing(settings.level, !human, &sink).ok();
        let events = Events::new(sink.clone(), human);
        panics::tell(&events);
        Ok(Self {
            workshop: Workshop {
                world: World::new(registry.clone(), events.clone()),
                workers,
                seed: seed(),
                datagrams: Bound::default(),
            },
            registry,
            log: Log { sink, level },
            events,
        })
    }

    fn machine(
        self,
        options: Options,
        snapshot: Snapshot,
        entrances: Entrances,
        signals: Option<Signals>,
        stop: watch::Receiver<bool>,
    ) -> Machine {
        let handle = Handle::new(snapshot);
        handle.settle_before_scrapes(&self.registry);
        let readiness = Readiness::new();
        let (trigger, drain) = drain::channel();
        let (balance, inboxes) = Balance::new(self.workshop.workers);
        let sink = self.log.sink.clone();
        let random = fastrand::Rng::with_seed(seed());
        let idle_requests = self.workshop.world.live.idle_requests().clone();
        let prober = Prober::start(self.workshop.world.live.probe_requests(), random);
        let (reloader, requests) = Reloader::new(reload::Parts {
            file: options.file,
            workshop: self.workshop,
            handle: handle.clone(),
            prober,
            log: self.log,
            readiness: readiness.clone(),
        });
        let refusals = Refusals::new(&self.registry);
        let renewals = Renewals::new(
            handle.clone(),
            self.events.clone(),
            readiness.clone(),
            refusals.clone(),
        );
        Machine {
            shared: worker::Shared {
                handle: handle.clone(),
                drain,
                balance,
                idle_requests,
                sink: sink.clone(),
                events: self.events,
                registry: self.registry.clone(),
                seed: seed(),
            },
            control: Control {
                handle,
                trigger,
                readiness,
                requests: requests.clone(),
                sink,
                signals,
                stop,
            },
            reloader,
            requests,
            renewals,
            refusals,
            registry: self.registry,
            entrances,
            inboxes,
        }
    }
}

impl Machine {
    /// Serves until the end.
    pub(super) async fn run(self) -> io::Result<Ended> {
        let workers = self.inboxes.len();
        let admin = Admin::new(admin::Parts {
            snapshot: self.shared.handle.clone(),
            registry: self.registry,
            events: self.shared.events.clone(),
            readiness: self.control.readiness.clone(),
            reload: self.requests,
            refusals: self.refusals,
            workers,
        });
        let mut threads = Vec::with_capacity(workers);
        for (index, inbox) in self.inboxes.into_iter().enumerate() {
            threads.push(worker::spawn(index, self.shared.clone(), inbox)?);
        }
        let generation = self.shared.handle.load().generation;
        let drain = self.shared.drain.clone();
        drop(self.shared); // the drain counts who still watches it
        let readiness = &self.control.readiness;
        readiness.listening();
        readiness.configured();
        tracing::info!(
            version = process::BUILD.version,
            workers,
            generation,
            "serving"
        );
        notify::ready(&format!("configuration {generation}"));
        let mut tasks = JoinSet::new();
        tasks.spawn(self.reloader.run());
        tasks.spawn(self.renewals.run());
        let entrances = self.entrances;
        tasks.spawn(async move { match admin.serve(entrances).await {} });
        let sink = self.control.sink.clone();
        let drained = self.control.run(tasks).await;
        join(threads).await;
        let ended = drained.with_requests(drain.cut_requests());
        tracing::info!(
            cut = ended.drained.cut,
            cut_requests = ended.cut_requests,
            "{}",
            ended.summary()
        );
        sink.finish(LAST_LINES);
        Ok(ended)
    }
}

/// Waits for the workers, which end once the drain is cut; but not for one that hangs.
async fn join(threads: Vec<JoinHandle<()>>) {
    let deadline = Instant::now() + LAST_STEPS;
    while !threads.iter().all(JoinHandle::is_finished) && Instant::now() < deadline {
        sleep(JOIN_INTERVAL).await;
    }
    for thread in threads.into_iter().filter(JoinHandle::is_finished) {
        if thread.join().is_err() {
            tracing::error!("a worker had failed");
        }
    }
}

/// The number of workers: as written, else as tokio's own variable says, else what the machine has.
fn workers(config: &Config) -> usize {
    let variable = || std::env::var("TOKIO_WORKER_THREADS").ok()?.parse().ok();
    config
        .workers
        .map(usize::from)
        .or_else(variable)
        .filter(|workers| *workers > 0)
        .unwrap_or_else(cpus::available)
}

/// The admin API where the options or the configuration say. Where neither names a socket,
/// the usual place is tried, since that is where the command line looks; it is no fault if it
/// is not to be had.
fn open_entrances(written: &AdminSettings, options: &Options) -> Result<Entrances, BindError> {
    let settings = AdminSettings {
        socket: options
            .admin
            .socket
            .clone()
            .or_else(|| written.socket.clone()),
        http: options.admin.http.clone().or_else(|| written.http.clone()),
    };
    if let (None, Some(usual)) = (&settings.socket, &options.usual_socket) {
        let with_socket = AdminSettings {
            socket: Some(usual.clone()),
            ..settings.clone()
        };
        match Entrances::bind(&with_socket) {
            Ok(entrances) => return Ok(entrances),
            Err(error) => tracing::info!(%error, "no admin socket at the usual place"),
        }
    }
    Ok(Entrances::bind(&settings)?)
}

fn addresses(snapshot: &Snapshot) -> BTreeMap<String, SocketAddr> {
    let listeners = snapshot.listeners.iter();
    listeners
        .filter(|listener| listener.sockets.path.is_none())
        .map(|listener| (listener.name.to_string(), listener.sockets.local))
        .collect()
}

/// A seed from the system's randomness, which the standard library takes for its hash maps.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn system(what: &'static str) -> impl Fn(io::Error) -> BindError {
    move |source| BindError::System { what, source }
}

/// The generation of the configuration that a process starts with.
const FIRST: u64 = 1;

/// Time for workers to drop what was cut. It takes microseconds; a worker that needs longer hangs.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// Time between two looks whether the workers have ended: nobody notices it at the
/// end of a process.
const JOIN_INTERVAL: Duration = Duration::from_millis(2);

/// Time for the log's last lines. A pipe that nobody reads must not hold the end up.
const LAST_LINES: Duration = Duration::from_secs(1);
