//! Reloads that nobody asks for: the configuration is taken when its files have changed.
//!
//! Problem: a mounted `ConfigMap` changes a minute after somebody changed it, in every pod, and
//! nobody is there to say so. So the files are looked at, by their content ([`Readings`]). Who
//! writes them may not be done: what has changed has to be the same for a moment before it is read.
//! It is then taken or refused by a reload like any other; what was refused is not tried again
//! before it has changed, so that a mistake is told once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::aside::aside;
use super::ready::Readiness;
use super::reload::Requests;
use crate::config::{Readings, System};
use crate::snapshot::Handle;

/// Looks after the files of the configuration in force, where it says so.
#[derive(Debug)]
pub struct Watching {
    handle: Handle,
    readiness: Readiness,
    requests: Requests,
    /// What was read last, be it refused.
    read: watch::Receiver<Readings>,
    /// What a reload was asked for that read nothing, as from a disk that hangs.
    asked: Option<Readings>,
}

impl Watching {
    /// For the files in `read`, which reloads replace.
    pub fn new(
        handle: Handle,
        readiness: Readiness,
        requests: Requests,
        read: watch::Receiver<Readings>,
    ) -> Self {
        Self {
            handle,
            readiness,
            requests,
            read,
            asked: None,
        }
    }

    /// Looks until the process is about to end.
    pub async fn run(mut self) {
        loop {
            sleep(LOOK_EVERY).await;
            if self.readiness.is_draining() {
                return;
            }
            if self.handle.load().config.reload.watch == Some(true) {
                self.look().await;
            }
        }
    }

    /// Asks for a reload if there is something new.
    async fn look(&mut self) {
        if self.read.has_changed().unwrap_or_default() {
            self.asked = None;
        }
        let known = self.read.borrow_and_update().clone();
        let Some(mut now) = again(&known).await else {
            return;
        };
        if now == known || self.asked.as_ref() == Some(&now) {
            return;
        }
        while !self.readiness.is_draining() {
            sleep(SETTLED).await;
            let Some(next) = again(&now).await else {
                return;
            };
            if next == now {
                break;
            }
            now = next;
        }
        if now != known && !self.readiness.is_draining() {
            self.asked = Some(now);
            self.requests.reload("watch").await;
        }
    }
}

/// The files as they are now, if they can be read in time.
async fn again(known: &Readings) -> Option<Readings> {
    let readings = known.clone();
    let again = aside(known.files(), move || readings.again(&System)).await;
    again.ok()
}

/// Soon enough for who has changed a file and waits.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Whoever writes a file in several steps takes no longer between two of them.
const SETTLED: Duration = Duration::from_millis(250);
