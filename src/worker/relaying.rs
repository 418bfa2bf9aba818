//! Which listeners of datagrams a worker relays: follows the snapshots.
//!
//! Unlike connections, datagrams have no place to be accepted from: those of running sessions come
//! by the same socket as those of new clients. So the loop of a listener that is gone goes on until
//! its sessions have ended, and takes it up again if the listener comes back meanwhile.
//!
//! If it comes back under a wider address (`127.0.0.1:53`, then `:53`), the kernel goes on giving
//! the sockets of before what it gave them before, as long as any worker has them. So each worker
//! then reads its own of them, also if it has no session there, and what comes is for the listener
//! that has taken their place, as long as that is there. The snapshot names them without holding
//! them: no worker has to know which others do. Once the last has let go, they are closed for all.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use crate::drain::Direction;
use crate::net::{Batch, Sockets};
use crate::protocol::local::Local;
use crate::protocol::udp::{self, Current};
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::events::{Event, Events};

/// The loops of one worker, and the room for datagrams that they share.
#[derive(Debug)]
pub(super) struct Relaying {
    worker: usize,
    local: Rc<Local>,
    events: Events,
    batch: Option<Rc<RefCell<Batch>>>,
    running: Vec<Running>,
    /// Whether a listener could not be started; that is told once.
    lacks_some: bool,
}

#[derive(Debug)]
struct Running {
    /// What identifies the loop: a listener may change in everything else. While it has them, they
    /// are open for every worker.
    sockets: Arc<Sockets>,
    current: Rc<Current>,
}

/// Sockets that are to be read, and who that is for.
type Wanted<'a> = (Arc<Sockets>, &'a Arc<Listener>);

impl Relaying {
    pub(super) fn new(worker: usize, local: &Rc<Local>, events: Events) -> Self {
        Self {
            worker,
            local: Rc::clone(local),
            events,
            batch: None,
            running: Vec::new(),
            lacks_some: false,
        }
    }

    /// Starts loops for new listeners, gives those that stay their new form, closes the others.
    pub(super) fn follow(&mut self, snapshot: &Snapshot) {
        // Before it is asked who else has their sockets.
        self.running.retain(|running| !running.current.is_over());
        let wanted = wanted(snapshot);
        for running in &self.running {
            let mut forms = wanted.iter().filter(|(sockets, _)| running.is_at(sockets));
            match forms.next() {
                Some((_, listener)) => {
                    let drain = &self.local.drain;
                    running.current.replace(listener, snapshot, drain);
                }
                None => running.current.close(),
            }
        }
        let told = std::mem::take(&mut self.lacks_some);
        for (sockets, listener) in wanted {
            // systemd may have passed one that no other worker can share.
            if self.worker >= sockets.workers() {
                continue;
            }
            if self.running.iter().any(|running| running.is_at(&sockets)) {
                continue;
            }
            if let Err(error) = self.start(sockets, listener, snapshot) {
                self.lacks_some = true;
                if !told {
                    self.events.publish(Event {
                        kind: "accept_stalled",
                        why: format!("a worker cannot use its socket: {error}"),
                        fields: vec![("listener", listener.name.to_string())],
                    });
                }
            }
        }
    }

    /// Takes no new clients of a direction.
    pub(super) fn end(&mut self, direction: Direction) {
        for running in &self.running {
            if running.current.direction() != direction {
                continue;
            }
            if running.sockets.are_passed_on() {
                running.current.leave();
            } else {
                running.current.close();
            }
        }
    }

    /// Whether a loop could not be started, or broke, and should be tried again.
    pub(super) fn lacks_some(&self) -> bool {
        self.lacks_some || self.running.iter().any(|one| one.current.is_over())
    }

    fn start(
        &mut self,
        sockets: Arc<Sockets>,
        listener: &Arc<Listener>,
        snapshot: &Snapshot,
    ) -> std::io::Result<()> {
        let socket = sockets.take_datagrams(self.worker)?;
        let socket = socket.ok_or(std::io::ErrorKind::NotConnected)?;
        let current = Current::new(sockets.local, listener, snapshot, &self.local.drain);
        let batch = Rc::clone(self.batch.get_or_insert_default());
        udp::start(socket, &current, batch, Rc::clone(&self.local))?;
        self.running.push(Running { sockets, current });
        Ok(())
    }
}

impl Running {
    fn is_at(&self, sockets: &Arc<Sockets>) -> bool {
        Arc::ptr_eq(&self.sockets, sockets)
    }
}

/// What has to be read, and who it is for: each listener's own sockets, and those of before that
/// the kernel gives what is meant for it.
fn wanted(snapshot: &Snapshot) -> Vec<Wanted<'_>> {
    let listeners = || snapshot.listeners.iter().filter(|one| one.udp().is_some());
    let own = listeners().map(|listener| (Arc::clone(&listener.sockets), listener));
    let lingering = snapshot.lingering.iter().filter_map(Weak::upgrade);
    let covered = lingering.filter_map(|sockets| {
        let is_own = |listener: &Arc<Listener>| Arc::ptr_eq(&listener.sockets, &sockets);
        if listeners().any(is_own) {
            return None;
        }
        let heir = listeners().find(|listener| listener.sockets.covers(&sockets))?;
        Some((sockets, heir))
    });
    own.chain(covered).collect()
}
