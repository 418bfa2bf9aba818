//! The parts of a process, in the order in which they are made.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{BindError, Facts, Options};
use crate::config::{self, Config, Outcome};
use crate::control::admin::{self, Admin, Doors};
use crate::control::health;
use crate::control::{
    Candidate, Control, Ended, Log, Readiness, Reloader, Signals, Workshop, cpus, files,
};
use crate::drain;
use crate::listener::Balance;
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::access::{Settings, Writer};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Registry, set_worker_shard};
use crate::telemetry::{self, process};
use crate::upstream::World;
use crate::worker;

/// All parts of a process that is about to serve.
#[derive(Debug)]
pub(super) struct Machine {
    control: Control,
    reloader: Reloader,
    doors: Doors,
    shared: worker::Shared,
    registry: Registry,
    workers: usize,
}

/// Makes everything up to the listening sockets.
pub(super) async fn assemble(
    outcome: Outcome,
    options: Options,
    stop: watch::Receiver<bool>,
) -> Result<(Facts, Machine), BindError> {
    let candidate = Candidate::new(&outcome, FIRST)?;
    let config = Arc::clone(&candidate.config);
    let workers = workers(&config);
    files::raise_limit();
    let registry = Registry::new(workers + 1);
    set_worker_shard(workers); // the control thread counts too
    process::observe(&registry);
    let settings = Settings::new(&config.log);
    let log = open_log(&settings, &registry)?;
    let events = Events::new(log.sink.clone(), settings.output.is_terminal());
    let workshop = Workshop {
        world: World::new(registry.clone(), events.clone()),
        workers,
        seed: seed(),
    };
    let snapshot = workshop.prepare(candidate, None).await?;
    let doors = open_doors(config.admin.clone(), &options)?;
    let signals = options.signals.then(Signals::install).transpose();
    let signals = signals.map_err(system("the signals cannot be taken over"))?;
    workshop.world.install(snapshot.upstreams.values());
    let addresses = addresses(&snapshot);
    let handle = Handle::new(snapshot);
    let readiness = Readiness::new();
    let (trigger, drain) = drain::channel();
    let sink = log.sink.clone();
    let (reloader, requests) =
        Reloader::new(options.file, workshop, handle.clone(), log, readiness.clone());
    let facts = Facts {
        addresses,
        admin: doors.http_address(),
        events: events.clone(),
        requests: requests.clone(),
    };
    let machine = Machine {
        shared: worker::Shared {
            handle: handle.clone(),
            drain,
            balance: Arc::new(()),
            sink: sink.clone(),
            events,
            seed: seed(),
        },
        control: Control {
            handle,
            trigger,
            readiness,
            requests,
            sink,
            signals,
            stop,
        },
        reloader,
        doors,
        registry,
        workers,
    };
    Ok((facts, machine))
}
