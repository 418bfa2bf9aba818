//! The composition root: where the rooms are put together.
//!
//! [`App::bind`] does all that can fail: it checks, runs the `[[test]]`s, looks names up, binds
//! listeners and builds the first snapshot. What comes back knows the addresses that were really
//! bound, which is how a test on port 0 finds its proxy. [`Bound::run`] then serves until the end.
//!
//! ```no_run
//! use evenkeel::app::{App, Options};
//! use evenkeel::config::{self, Nothing};
//!
//! let text = "[listener.web]\nbind = \"127.0.0.1:0\"\nto = [\"127.0.0.1:3000\"]\n";
//! let outcome = config::load_text("example", text, &Nothing);
//! let bound = App::bind(outcome, Options::default())?;
//! let address = bound.addresses()["web"];
//! let running = bound.start();
//! // … send requests to `address` …
//! running.stop();
//! let ended = running.wait()?;
//! # Ok::<(), evenkeel::app::BindError>(())
//! ```
//!
//! The control plane has one thread with a runtime of its own (health checks, admin, reload,
//! signals), each worker another. They share the snapshot's handle and the endpoints' live states.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::config::{self, Outcome};
use crate::control::admin::EntranceError;
use crate::control::privileges::PrivilegeError;
use crate::control::upgrade::{Inheritance, Program, SuccessionError};
use crate::control::{Ended, Rejection, Requests, mistakes};
use crate::telemetry::events::Events;

mod assemble;
mod fallback;
mod serve;
mod succeed;
#[cfg(test)]
mod tests;

use fallback::Plan;

/// Puts the program together.
#[derive(Debug)]
pub struct App;

/// What the program that embeds the proxy decides. By default it is an embedded one: its host's
/// signals and the usual places of this machine are left alone.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The file that a reload reads. Without it there is nothing to reload.
    pub file: Option<PathBuf>,
    /// Whether the process's signals are obeyed: SIGHUP, SIGUSR1, SIGUSR2, SIGTERM and SIGINT.
    pub signals: bool,
    /// Whether the process is given up to the configuration: its user, its powers, its files. To be
    /// decided while there is one thread.
    pub privileges: bool,
    /// Where the admin API is served, whatever the configuration says.
    pub admin: config::Admin,
    /// Whether to start with the last good configuration where the one of the file cannot be put
    /// in force.
    pub last_good: bool,
    /// Where the admin socket is made if nobody names a place for it and the directory is there.
    pub usual_socket: Option<PathBuf>,
    /// What this process was started with beside its command line.
    pub inheritance: Inheritance,
    /// What an upgrade starts. Without it there is none.
    pub program: Option<Program>,
}

/// Everything that can fail has succeeded: listeners are bound, nothing is served yet.
#[derive(Debug)]
pub struct Bound {
    facts: Facts,
    thread: ControlThread,
}

/// A proxy that serves. Dropping it asks for the end, without waiting for it.
#[derive(Debug)]
pub struct Running {
    facts: Facts,
    thread: ControlThread,
}

/// Why the program cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The configuration cannot be put in force.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Neither can this one, nor the last good one.
    #[error("{rejection}; {why}")]
    NothingGood {
        /// Why this one cannot be put in force.
        rejection: Rejection,
        /// Why the last good one cannot be.
        why: String,
    },
    /// The admin API cannot be served.
    #[error(transparent)]
    Admin(#[from] EntranceError),
    /// The instance that this one takes over from does not hand over.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// It cannot become the user that it should.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The system refuses something that every start needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A fault of this program.
    #[error("the control thread ended before its time")]
    Fault,
}

/// What is known once everything is bound.
#[derive(Debug, Clone)]
struct Facts {
    addresses: BTreeMap<String, SocketAddr>,
    admin: Option<SocketAddr>,
    events: Events,
    requests: Requests,
}

/// The thread of the control plane, and the ways to talk to it.
#[derive(Debug)]
struct ControlThread {
    start: Option<oneshot::Sender<()>>,
    stop: watch::Sender<bool>,
    ended: mpsc::Receiver<Result<Ended, BindError>>,
}

impl App {
    /// Does all that can fail, up to the listening sockets. Blocks for as long as the endpoints'
    /// names take to be looked up.
    pub fn bind(outcome: Outcome, options: Options) -> Result<Bound, BindError> {
        let mut options = options;
        // At a start only: where the instance before serves, a file that cannot be put in force is
        // a reason to leave it at that.
        options.last_good &= !options.inheritance.is_succession();
        let mistakes = mistakes(&outcome);
        // What fails by now is told to the instance before, where there is one.
        let plan = Plan::new(outcome, &options).and_then(|plan| {
            let privileges = plan.privileges(&options)?;
            Ok((plan, privileges))
        });
        let (report, reported) = mpsc::channel();
        let (start, started) = oneshot::channel();
        let (stop, stopped) = watch::channel(false);
        let (finish, ended) = mpsc::channel();
        let system = |what| move |source| BindError::System { what, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system("the control plane's runtime"))?;
        let serve = async move {
            match assemble::assemble((plan, mistakes), options, stopped).await {
                Err(error) => {
                    drop(report.send(Err(error))); // the caller waits for it
                    None
                }
                Ok((facts, machine)) => {
                    drop(report.send(Ok(facts)));
                    started.await.ok()?;
                    Some(machine.run().await)
                }
            }
        };
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || {
                let ended = runtime.block_on(serve);
                // A look-up that hangs must not hold the end up.
                runtime.shutdown_background();
                if let Some(ended) = ended {
                    drop(finish.send(ended)); // nobody has to wait
                }
            })
            .map_err(system("the control plane's thread"))?;
        let facts = reported.recv().map_err(|_| BindError::Fault)??;
        let start = Some(start);
        Ok(Bound {
            facts,
            thread: ControlThread { start, stop, ended },
        })
    }
}

impl Bound {
    /// The address of each listener, by its name, with the port that was really bound. Those at
    /// Unix sockets have none.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.facts.addresses
    }

    /// The address of the admin API over TCP.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.facts.admin
    }

    /// Begins to serve.
    pub fn start(mut self) -> Running {
        if let Some(start) = self.thread.start.take() {
            // Where the thread is gone, `Running::wait` says so.
            let _ = start.send(());
        }
        Running {
            facts: self.facts,
            thread: self.thread,
        }
    }

    /// Serves until the end.
    pub fn run(self) -> Result<Ended, BindError> {
        self.start().wait()
    }
}

impl Running {
    /// The address of each listener, by its name.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.facts.addresses
    }

    /// The changes of state, each with its reason.
    pub fn events(&self) -> &Events {
        &self.facts.events
    }

    /// Asks for reloads of the file.
    pub fn requests(&self) -> &Requests {
        &self.facts.requests
    }

    /// Asks for the end: a drain, as by SIGTERM.
    pub fn stop(&self) {
        self.thread.stop.send_replace(true);
    }

    /// Waits for the end.
    pub fn wait(self) -> Result<Ended, BindError> {
        self.thread.ended.recv().map_err(|_| BindError::Fault)?
    }

    /// Waits for the end for some time; `None` if it goes on.
    pub fn wait_for(&self, limit: Duration) -> Option<Result<Ended, BindError>> {
        match self.thread.ended.recv_timeout(limit) {
            Ok(ended) => Some(ended),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(Err(BindError::Fault)),
        }
    }
}
