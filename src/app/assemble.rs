//! The parts of a process, in the order in which they are made.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{BindError, Facts, Options};
use crate::config::{self, Config, Outcome};
use crate::control::admin::{self, Doors};
use crate::control::{
    Candidate, Control, Ended, Log, Readiness, Reloader, Signals, Workshop, cpus, files,
};
use crate::drain;
use crate::snapshot::{Handle, Snapshot};
use crate::telemetry::access::{Settings, Sink, Writer};
use crate::telemetry::events::Events;
use crate::telemetry::metrics::Registry;
use crate::telemetry::{self, process};
use crate::upstream::World;

/// All parts of a process that is about to serve.
#[derive(Debug)]
pub(super) struct Machine {
    control: Control,
    reloader: Reloader,
    doors: Doors,
    drain: drain::Watcher,
    events: Events,
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
    files::raise_limit();
    let workers = workers(&config);
    let registry = Registry::new(workers + 1); // the control thread counts too
    process::observe(&registry);
    let settings = Settings::new(&config.log);
    let log = open_log(&settings, &registry)?;
    let events = Events::new(log.sink.clone(), settings.output.is_terminal());
    let workshop = Workshop {
        world: World::new(registry.clone(), events.clone()),
        workers,
    };
    let snapshot = workshop.prepare(candidate, None).await?;
    let doors = open_doors(&config.admin, &options)?;
    let signals = if options.signals { Some(Signals::install().map_err(system("signals"))?) } else { None };
    workshop.world.install(snapshot.upstreams.values());
    let addresses = addresses(&snapshot);
    let handle = Handle::new(snapshot);
    let readiness = Readiness::new();
    let sink = log.sink.clone();
    let (reloader, requests) =
        Reloader::new(options.file, workshop, handle.clone(), log, readiness.clone());
    let facts = Facts { addresses, admin: doors.http_address(), events: events.clone(), requests: requests.clone() };
    let (trigger, drain) = drain::channel();
    let control = Control { handle, trigger, readiness, requests, sink, signals, stop };
    Ok((facts, Machine { control, reloader, doors, drain, events, registry, workers }))
}
