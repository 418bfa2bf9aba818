//! Two drains, one for each direction of listeners.
//!
//! A process beside an application has two sides: what comes for the application may have to end
//! before what comes from it.

use super::{Trigger, Watcher, channel};
use crate::config;

/// Whose requests come: those of others for the application, or those of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Direction {
    /// Those of others.
    #[default]
    Inbound,
    /// Those of the application beside this process.
    Outbound,
}

/// The triggers of both directions.
#[derive(Debug)]
pub struct Triggers {
    /// What comes for the application.
    pub inbound: Trigger,
    /// What comes from it.
    pub outbound: Trigger,
}

/// The watchers of both directions.
#[derive(Debug, Clone)]
pub struct Watchers {
    inbound: Watcher,
    outbound: Watcher,
}

/// Two drains that have not started.
pub fn both() -> (Triggers, Watchers) {
    let ((inbound, of_inbound), (outbound, of_outbound)) = (channel(), channel());
    (
        Triggers { inbound, outbound },
        Watchers {
            inbound: of_inbound,
            outbound: of_outbound,
        },
    )
}

impl Triggers {
    /// Starts the drain of both directions.
    pub fn start(&self) {
        self.inbound.start();
        self.outbound.start();
    }

    /// Leaves accepting to a successor, in both.
    pub fn leave(&self) {
        self.inbound.leave();
        self.outbound.leave();
    }

    /// Ends accepting in both directions.
    pub fn close(&self) {
        self.inbound.close();
        self.outbound.close();
    }

    /// Ends the waiting in both.
    pub fn cut(&self) {
        self.inbound.cut();
        self.outbound.cut();
    }

    /// The connections that still run, of both.
    pub fn blockers(&self) -> usize {
        self.inbound.blockers() + self.outbound.blockers()
    }

    /// Returns when nothing is left of either. The caller sets the time limit.
    pub async fn wait(&self) {
        self.inbound.wait().await;
        self.outbound.wait().await;
    }
}

impl Watchers {
    /// The watcher of one direction.
    pub fn of(&self, direction: Direction) -> &Watcher {
        match direction {
            Direction::Inbound => &self.inbound,
            Direction::Outbound => &self.outbound,
        }
    }

    /// Requests that were cut, of both; all of them once the workers have ended.
    pub fn cut_requests(&self) -> usize {
        self.inbound.cut_requests() + self.outbound.cut_requests()
    }
}

/// One drain for both directions.
impl From<Watcher> for Watchers {
    fn from(watcher: Watcher) -> Self {
        Self {
            inbound: watcher.clone(),
            outbound: watcher,
        }
    }
}

impl From<Option<config::Direction>> for Direction {
    fn from(written: Option<config::Direction>) -> Self {
        match written {
            None | Some(config::Direction::Inbound) => Self::Inbound,
            Some(config::Direction::Outbound) => Self::Outbound,
        }
    }
}
