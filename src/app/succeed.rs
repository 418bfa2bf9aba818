//! What a process inherits: from systemd, and from the instance that it takes over from.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::BindError;
use crate::config::Config;
use crate::control::admin::Entrances;
use crate::control::inherited::{Activation, Inherited};
use crate::control::settle;
use crate::control::state::{Beginning, State};
use crate::control::upgrade::{Inheritance, LastWord, Succession};
use crate::net::Sockets;
use crate::snapshot::Snapshot;
use crate::telemetry::metrics::Registry;
use crate::upstream::World;

/// What this process was handed, and by whom.
#[derive(Debug, Default)]
pub(super) struct Heir {
    /// The instance that this one takes over from.
    succession: Option<Succession>,
    activation: Activation,
    /// The sockets among it.
    pub(super) inherited: Inherited,
    /// The line to the caretaker of this container.
    pub(super) caretaker: Option<OwnedFd>,
    /// What this instance listens on, once it is bound.
    sockets: Vec<Arc<Sockets>>,
    notes: Vec<String>,
}

impl Heir {
    /// Hears what is handed over.
    pub(super) async fn new(inheritance: &Inheritance) -> Result<Self, BindError> {
        let inherits = inheritance.take_all();
        let succession = match inherits.predecessor {
            Some(line) => Some(Succession::begin(line).await?),
            None => None,
        };
        Ok(Self {
            succession,
            activation: inherits.activation,
            caretaker: inherits.caretaker,
            ..Self::default()
        })
    }

    /// The number of the configuration that this instance starts with.
    pub(super) fn generation(&self) -> u64 {
        let before = self.succession.as_ref();
        before.map_or(FIRST, |before| before.hello.generation + 1)
    }

    /// How many workers there have to be: each socket of the instance before may have connections
    /// in its queue, which only a worker of ours can take.
    pub(super) fn workers(&mut self, wanted: usize) -> usize {
        let before = self.succession.as_ref();
        let before = before.map_or(0, |before| before.hello.workers);
        if before > wanted {
            self.notes.push(format!(
                "{before} workers go on, not {wanted}: fewer are taken at the next start"
            ));
        }
        wanted.max(before)
    }

    /// Makes what was handed over sockets of this process.
    pub(super) fn inherit(&mut self, workers: usize) -> Result<Inherited, BindError> {
        let activation = std::mem::take(&mut self.activation);
        for doubt in self.inherited.activate(activation, workers) {
            tracing::warn!("{doubt}");
        }
        if let Some(succession) = &mut self.succession {
            succession.adopt(&self.inherited, workers)?;
        }
        Ok(self.inherited.clone())
    }

    /// Everything is bound.
    pub(super) fn prepared(&mut self, config: &Config, snapshot: &Snapshot, entrances: &Entrances) {
        for unused in self.inherited.unused() {
            tracing::warn!("{unused}");
        }
        let listeners = snapshot.listeners.iter();
        self.sockets = listeners.map(|one| Arc::clone(&one.sockets)).collect();
        self.sockets.extend(entrances.sockets());
        if self.succession.is_some() && config.listener.is_empty() {
            self.notes
                .push("the configuration has no listener".to_owned());
        }
    }

    /// What the instance before knew, or what was kept of an earlier one.
    pub(super) async fn beginning(&self, snapshot: &Snapshot, world: &World) -> Beginning {
        match &self.succession {
            Some(succession) => Beginning::handed(succession.state(), snapshot, world),
            None => Beginning::of(snapshot, world).await,
        }
    }

    /// How the caretaker of this container is told of the end.
    pub(super) fn last_word(&self) -> Option<LastWord> {
        LastWord::new(self.caretaker.as_ref()?).ok()
    }

    /// Says why this instance does not come about.
    pub(super) async fn failed(&self, mistakes: Vec<String>, error: &BindError) {
        if let Some(succession) = &self.succession {
            let why = [vec![error.to_string()], mistakes].concat();
            succession.failed(why.join("; ")).await;
        }
    }

    /// Waits for the word to serve.
    pub(super) async fn take_over(&mut self, registry: &Registry) -> Result<(), BindError> {
        if let Some(succession) = &self.succession {
            for note in &self.notes {
                tracing::warn!("{note}");
            }
            let taken = self.inherited.taken(&self.sockets);
            let notes = std::mem::take(&mut self.notes);
            let counted = succession.ready(taken, notes).await?;
            // What cannot be read was counted in vain, and is told.
            match State::from_bytes(&counted) {
                Ok(mut state) => registry.resume(&state.take_counts()),
                Err(error) => tracing::warn!(%error, "what was counted before is not gone on from"),
            }
        }
        Ok(())
    }

    /// Makes everything this instance's own, once it serves. The instance before is to be told.
    pub(super) fn settle(self, snapshot: &Snapshot) -> Option<Succession> {
        for sockets in &self.sockets {
            sockets.take_file();
        }
        self.inherited.settle();
        settle(snapshot);
        self.succession
    }
}

/// The generation of the configuration that a process starts with.
pub(super) const FIRST: u64 = 1;
