//! The parts of a process, in the order in which they are made.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::watch;

use super::fallback::Plan;
use super::succeed::Heir;
use super::{BindError, Facts, Options};
use crate::config::{Admin as AdminSettings, Config, Readings};
use crate::control::admin::{Entrances, Gates};
use crate::control::fullness::Fullness;
use crate::control::health::Prober;
use crate::control::inherited::Inherited;
use crate::control::last_good::Copies;
use crate::control::privileges::confined::Confined;
use crate::control::privileges::{Privileges, Touched};
use crate::control::refusals::Refusals;
use crate::control::reload::{self, Log, Reloader};
use crate::control::renewal::Renewals;
use crate::control::state::{Beginning, Keeper};
use crate::control::upgrade::{self, LastWord, Program, Upgrader};
use crate::control::watching::Watching;
use crate::control::{
    Bound, Control, Gentle, Readiness, Requests, Signals, Workshop, cpus, files, log_output, reach,
};
use crate::drain::{self, Direction};
use crate::listener::{Balance, Inbox};
use crate::net::Bind;
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::access::{Settings, Writer};
use crate::telemetry::beats::Beats;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Registry, set_worker_shard};
use crate::telemetry::{self, panics, process};
use crate::upstream::World;
use crate::worker;

/// All parts of a process that is about to serve.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) control: Control,
    pub(super) reloader: Reloader,
    pub(super) requests: Requests,
    pub(super) renewals: Renewals,
    pub(super) watching: Watching,
    pub(super) fullness: Fullness,
    pub(super) refusals: Refusals,
    pub(super) registry: Registry,
    pub(super) entrances: Entrances,
    pub(super) keeper: Option<Keeper>,
    pub(super) copies: Copies,
    pub(super) shared: worker::Shared,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) upgrader: Upgrader,
    pub(super) upgrades: upgrade::Requests,
    pub(super) heir: Heir,
    pub(super) last_word: Option<LastWord>,
}

/// What everything else stands on.
#[derive(Debug)]
struct Ground {
    registry: Registry,
    log: Log,
    events: Events,
    workshop: Workshop,
}

/// What was decided while there was one thread, and the mistakes of the file.
type Decided = (Result<(Plan, Privileges), BindError>, Vec<String>);

/// Makes everything up to the listening sockets.
pub(super) async fn assemble(
    (decided, mistakes): Decided,
    options: Options,
    stop: watch::Receiver<bool>,
) -> Result<(Facts, Machine), BindError> {
    let mut heir = Heir::new(&options.inheritance).await?;
    let assembled = match decided {
        Ok(decided) => assemble_for(&mut heir, decided, options, stop).await,
        Err(error) => Err(error),
    };
    match assembled {
        Ok((facts, mut machine)) => {
            machine.heir = heir;
            Ok((facts, machine))
        }
        Err(error) => {
            heir.failed(mistakes, &error).await;
            Err(error)
        }
    }
}

async fn assemble_for(
    heir: &mut Heir,
    (mut plan, mut privileges): (Plan, Privileges),
    options: Options,
    stop: watch::Receiver<bool>,
) -> Result<(Facts, Machine), BindError> {
    plan.candidate.generation = heir.generation();
    files::raise_limit();
    let config = &plan.candidate.config;
    let touched = || Touched::at_start(config, &options.admin);
    reach(&privileges.confined, touched).await?;
    let mut ground = Ground::new(&plan.candidate.config, heir)?;
    ground.workshop.confined = privileges.confined.clone();
    // Before a listener can take a connection: where this fails, no client has noticed.
    let admin = &plan.candidate.config.admin;
    let mut entrances = open_entrances(admin, &options, &heir.inherited)?;
    ground.workshop.world.admin = entrances.http_bound();
    let refused = system("the signals cannot be taken over");
    let gentle = options.signals.then(Gentle::install).transpose();
    let gentle = gentle.map_err(&refused)?;
    let snapshot = match ground.workshop.prepare(plan.candidate.clone(), None).await {
        Ok(snapshot) => snapshot,
        Err(rejection) => {
            let before = plan.candidate.config.clone();
            let original = plan.or_last_good(rejection)?;
            if options.privileges {
                privileges = privileges.instead(&plan.outcome, &options.admin)?;
                ground.workshop.confined = privileges.confined.clone();
            }
            let config = &plan.candidate.config;
            if config.admin != before.admin {
                drop(entrances);
                entrances = open_entrances(&config.admin, &options, &heir.inherited)?;
            }
            let admin = entrances.http_bound();
            ground.follow(&before, config, admin).await;
            let prepared = ground.workshop.prepare(plan.candidate.clone(), None).await;
            prepared.map_err(|error| original.nor(&error))?
        }
    };
    let signals = gentle.map(Signals::install).transpose();
    let signals = signals.map_err(&refused)?;
    if options.privileges {
        // All is bound, read and open; nothing is served yet.
        privileges.give_up(entrances.socket_path())?;
    }
    let beginning = heir.beginning(&snapshot, &ground.workshop.world).await;
    ground.workshop.world.install(snapshot.upstreams.values());
    let addresses = addresses(&snapshot);
    heir.prepared(&plan.candidate.config, &snapshot, &entrances);
    let last_word = heir.last_word();
    let options = (options, heir.caretaker.take(), plan.read.clone());
    let begun = (snapshot, beginning, plan);
    let mut machine = ground.machine(options, begun, entrances, signals, stop);
    machine.last_word = last_word;
    let facts = Facts {
        addresses,
        admin: machine.entrances.http_address(),
        events: machine.shared.events.clone(),
        requests: machine.requests.clone(),
    };
    Ok((facts, machine))
}

impl Ground {
    fn new(config: &Config, heir: &mut Heir) -> Result<Self, BindError> {
        let workers = heir.workers(workers(config));
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
                inherited: heir.inherit(workers)?,
                confined: Confined::default(),
            },
            registry,
            log: Log { sink, level },
            events,
        })
    }

    /// Goes on with another configuration, before any is in force: the log where it says, if that
    /// is to be had.
    async fn follow(&mut self, before: &Config, config: &Config, admin: Option<Bind>) {
        let (before, settings) = (Settings::new(&before.log), Settings::new(&config.log));
        let opened = log_output::open(&settings, &before, &mut Vec::new()).await;
        match opened {
            Ok(output) => self.log.sink.apply(&settings, output),
            Err(error) => tracing::warn!(%error, "the log stays where it is"),
        }
        if let Some(level) = &self.log.level {
            level.set(settings.level);
        }
        self.workshop.world.admin = admin;
    }

    fn machine(
        self,
        (options, caretaker, read): (Options, Option<OwnedFd>, Readings),
        (snapshot, beginning, plan): (Snapshot, Beginning, Plan),
        entrances: Entrances,
        signals: Option<Signals>,
        stop: watch::Receiver<bool>,
    ) -> Machine {
        let handle = Handle::new(snapshot);
        handle.settle_before_scrapes(&self.registry);
        let readiness = Readiness::new();
        let copies = plan.in_force(&handle, &readiness, &self.events);
        let (trigger, drain) = drain::both();
        let (balance, inboxes) = Balance::new(self.workshop.workers);
        let sink = self.log.sink.clone();
        let idle_requests = self.workshop.world.live.idle_requests().clone();
        let prober = Prober::start(&self.workshop.world.live, fastrand::Rng::with_seed(seed()));
        let keeper = beginning.keeper(&handle, &prober, &self.workshop.world);
        let workers = self.workshop.workers;
        let at = (&handle, &readiness, drain.of(Direction::Inbound));
        let inherits = (options.program, caretaker);
        let parts = self.upgrade_parts(inherits, at, entrances.gates(), &prober);
        let one_change = Arc::clone(&parts.one_change);
        let (refusals, renewals, fullness) = self.lookouts(&handle, &readiness);
        let (driving, upgrades, handed_over) = Upgrader::new(parts);
        let (read, seen) = watch::channel(read);
        let (reloader, requests) = Reloader::new(reload::Parts {
            file: options.file,
            workshop: self.workshop,
            handle: handle.clone(),
            prober,
            log: self.log,
            readiness: readiness.clone(),
            copies: copies.clone(),
            one_change,
            read,
        });
        let watching = Watching::new(handle.clone(), readiness.clone(), requests.clone(), seen);
        Machine {
            shared: worker::Shared {
                handle: handle.clone(),
                drain,
                balance,
                idle_requests,
                sink: sink.clone(),
                events: self.events,
                registry: self.registry.clone(),
                beats: Beats::new(workers),
                seed: seed(),
            },
            control: Control {
                handle,
                trigger,
                readiness,
                requests: requests.clone(),
                sink,
                signals,
                upgrades: upgrades.clone(),
                handed_over,
                end: Arc::default(),
                stop,
            },
            reloader,
            requests,
            renewals,
            watching,
            fullness,
            refusals,
            registry: self.registry,
            entrances,
            keeper,
            copies,
            inboxes,
            upgrader: driving,
            upgrades,
            heir: Heir::default(),
            last_word: None,
        }
    }
}

impl Ground {
    /// What looks after a configuration in force.
    fn lookouts(&self, handle: &Handle, readiness: &Readiness) -> (Refusals, Renewals, Fullness) {
        let refusals = Refusals::new(&self.registry);
        let (events, ready) = (self.events.clone(), readiness.clone());
        let renewals = Renewals::new(handle.clone(), events, ready, refusals.clone());
        let fullness = Fullness::new(handle.clone(), self.events.clone(), self.registry.clone());
        (refusals, renewals, fullness)
    }

    /// What an upgrade acts on.
    fn upgrade_parts(
        &self,
        (program, caretaker): (Option<Program>, Option<OwnedFd>),
        (handle, readiness, drain): (&Handle, &Readiness, &drain::Watcher),
        gates: Gates,
        prober: &Prober,
    ) -> upgrade::Parts {
        upgrade::Parts {
            program,
            caretaker,
            handle: handle.clone(),
            readiness: readiness.clone(),
            drain: drain.clone(),
            gates,
            prober: prober.asking(),
            inherited: self.workshop.inherited.clone(),
            one_change: Arc::default(),
            events: self.events.clone(),
            registry: self.registry.clone(),
            workers: self.workshop.workers,
            confined: self.workshop.confined.clone(),
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
fn open_entrances(
    written: &AdminSettings,
    options: &Options,
    inherited: &Inherited,
) -> Result<Entrances, BindError> {
    let settings = AdminSettings {
        socket: options
            .admin
            .socket
            .clone()
            .or_else(|| written.socket.clone()),
        http: options.admin.http.clone().or_else(|| written.http.clone()),
        ..written.clone()
    };
    if let (None, Some(usual)) = (&settings.socket, &options.usual_socket) {
        let with_socket = AdminSettings {
            socket: Some(usual.clone()),
            ..settings.clone()
        };
        match Entrances::open(&with_socket, inherited) {
            Ok(entrances) => return Ok(entrances),
            Err(error) => tracing::info!(%error, "no admin socket at the usual place"),
        }
    }
    Ok(Entrances::open(&settings, inherited)?)
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

pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> BindError {
    move |source| BindError::System { what, source }
}
