//! The parts of a process at work, from the first connection to the last line of the log.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::BindError;
use super::assemble::{Machine, system};
use crate::control::admin::{self, Admin};
use crate::control::state::Keeper;
use crate::control::upgrade::Legacy;
use crate::control::watchdog::Watchdog;
use crate::control::{Drained, Ended, Over, notify};
use crate::drain::{Direction, Watcher, Watchers};
use crate::telemetry::process;
use crate::worker;

impl Machine {
    /// Serves until the end.
    pub(super) async fn run(mut self) -> Result<Ended, BindError> {
        let snapshot = self.shared.handle.load();
        let mut heir = std::mem::take(&mut self.heir);
        heir.take_over(&self.registry).await?;
        let workers = self.inboxes.len();
        let mut threads = Vec::with_capacity(workers);
        for (index, inbox) in self.inboxes.drain(..).enumerate() {
            let thread = worker::spawn(index, self.shared.clone(), inbox);
            threads.push(thread.map_err(system("the workers cannot be started"))?);
        }
        // Nothing can fail from here on: until then files of sockets are the other one's.
        let predecessor = heir.settle(&snapshot);
        self.entrances.settle();
        let generation = snapshot.generation;
        drop(snapshot);
        self.control.readiness.listening();
        self.control.readiness.configured();
        tracing::info!(
            version = process::BUILD.version,
            workers,
            generation,
            "serving"
        );
        let legacy = match predecessor {
            Some(predecessor) => Some(predecessor.serving(&self.registry).await),
            None => None,
        };
        notify::ready(&format!("configuration {generation}"));
        self.serve(threads, legacy).await
    }

    async fn serve(
        self,
        threads: Vec<JoinHandle<()>>,
        legacy: Option<Legacy>,
    ) -> Result<Ended, BindError> {
        let admin = Admin::new(admin::Parts {
            snapshot: self.shared.handle.clone(),
            registry: self.registry.clone(),
            events: self.shared.events.clone(),
            readiness: self.control.readiness.clone(),
            reload: self.requests,
            upgrades: self.upgrades,
            refusals: self.refusals,
            workers: threads.len(),
        });
        let (beats, events) = (self.shared.beats.clone(), self.shared.events.clone());
        let watchdog = Watchdog::new(|name| std::env::var_os(name), beats, events);
        let drain = self.shared.drain.clone();
        let left = drain.of(Direction::Inbound).clone();
        // The series of a snapshot go with it, and are counted once more at the end.
        let handle = self.shared.handle.clone();
        drop(self.shared); // the drain counts who still watches it
        let mut tasks = JoinSet::new();
        if let Some(legacy) = legacy {
            let end = Arc::clone(&self.control.end);
            tasks.spawn(legacy.add_to(self.registry.clone(), end));
        }
        tasks.spawn(self.reloader.run());
        tasks.spawn(self.upgrader.run());
        tasks.spawn(self.renewals.run());
        tasks.spawn(self.watching.run());
        let (fullness, entrances) = (self.fullness, self.entrances);
        tasks.spawn(async move { match fullness.run().await {} });
        tasks.spawn(async move { match admin.serve(entrances).await {} });
        if let Some(watchdog) = watchdog {
            let feeding = async move { match watchdog.run().await {} };
            tasks.spawn(until_left(feeding, left.clone()));
        }
        if let Some(keeper) = self.keeper.clone() {
            let directory = keeper.place().directory().to_owned();
            let copying = self.copies.run(directory, keeper.events().clone());
            tasks.spawn(until_left(copying, left.clone()));
            let keeping = async move { match keeper.run().await {} };
            tasks.spawn(until_left(keeping, left.clone()));
        }
        let sink = self.control.sink.clone();
        let (drained, over) = self.control.run(&mut tasks).await;
        // Where another instance serves, it is that one that keeps the state.
        let keeper = self.keeper.filter(|_| matches!(over, Over::Ended));
        end(keeper, tasks, threads).await;
        let mut ended = told(drained, &drain);
        match over {
            Over::Ended => {
                if let Some(last_word) = self.last_word {
                    last_word.say(0);
                }
            }
            Over::HandedOver {
                remainder,
                is_alone,
                stay,
            } => {
                ended.kept = is_alone.then_some(1);
                remainder.tell().await; // nobody counts any more
                drop((remainder, handle));
                if let Some(stay) = stay {
                    ended.kept = Some(stay.run().await);
                }
            }
        }
        sink.finish(LAST_LINES);
        Ok(ended)
    }
}

/// Ends what still runs, and keeps what is known.
async fn end(keeper: Option<Keeper>, tasks: JoinSet<()>, threads: Vec<JoinHandle<()>>) {
    // While the prober is there to tell.
    let state = match &keeper {
        Some(keeper) => Some(keeper.state().await),
        None => None,
    };
    drop(tasks);
    join(threads).await;
    if let (Some(keeper), Some(state)) = (keeper, state) {
        keeper.finish(state).await; // nobody counts any more
    }
}

fn told(drained: Drained, drain: &Watchers) -> Ended {
    let ended = drained.with_requests(drain.cut_requests());
    tracing::info!(
        cut = ended.drained.cut,
        cut_requests = ended.cut_requests,
        "{}",
        ended.summary()
    );
    ended
}

/// What only the instance does that accepts: any other one is not the service any more.
async fn until_left(what: impl Future<Output = ()>, mut drain: Watcher) {
    tokio::select! {
        () = what => {}
        () = drain.left() => {}
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

/// Time for workers to drop what was cut. It takes microseconds; a worker that needs longer hangs.
const LAST_STEPS: Duration = Duration::from_secs(2);

/// Time between two looks whether the workers have ended: nobody notices it at the
/// end of a process.
const JOIN_INTERVAL: Duration = Duration::from_millis(2);

/// Time for the log's last lines. A pipe that nobody reads must not hold the end up.
const LAST_LINES: Duration = Duration::from_secs(1);
