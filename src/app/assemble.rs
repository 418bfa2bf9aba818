//! The parts, in the order in which they are made.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{BindError, Facts, Options};
use crate::config::{self, Config, Outcome};
use crate::control::admin::{DoorError, Doors};
use crate::control::{
    Candidate, Control, Ended, Log, Readiness, Rejection, Reloader, Signals, Workshop, cpus, files,
};
use crate::drain;
use crate::snapshot::Handle;
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
    let registry = Registry::new(workers + 1); // the control thread counts too
    let log = open_log(&config.log, &registry)?;
    let human = Settings::new(&config.log).output.is_terminal();
    let events = Events::new(log.sink.clone(), human);
    let world = World::new(registry, events.clone());
    let workshop = Workshop { world, workers };
    let snapshot = workshop.prepare(candidate, None).await?;
    let doors = open_doors(&config, &options)?;
    let signals = options.signals.then(Signals::install).transpose();
    todo!()
}
