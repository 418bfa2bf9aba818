//! Which listeners of datagrams a worker relays: follows the snapshots.
//!
//! Unlike connections, datagrams have no place to be accepted from: those of running sessions come
//! by the same socket as those of new clients. So the loop of a listener that is gone goes on until
//! its sessions have ended, and takes it up again if the listener comes back meanwhile. If only its
//! address was written in another way (`0.0.0.0:53`, then `:53`), the kernel goes on giving it what
//! it gave it before: then it serves what has taken its place, as long as that is there.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

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
    /// What identifies the loop: a listener may change in everything else.
    sockets: Arc<Sockets>,
    current: Rc<Current>,
}

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
        self.running.retain(|running| !running.current.is_over());
        let wanted = || snapshot.listeners.iter().filter(|one| one.udp().is_some());
        for running in &self.running {
            let own = wanted().find(|listener| running.is_of(listener));
            let form = own.or_else(|| wanted().find(|one| one.sockets.covers(&running.sockets)));
            let Some(listener) = form else {
                running.current.close();
                continue;
            };
            let drain = &self.local.drain;
            running.current.replace(listener, snapshot, drain);
        }
        let told = std::mem::take(&mut self.lacks_some);
        for listener in wanted() {
            if self.running.iter().any(|running| running.is_of(listener)) {
                continue;
            }
            if let Err(error) = self.start(listener, snapshot) {
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

    /// Takes no new clients.
    pub(super) fn end(&mut self) {
        for running in &self.running {
            running.current.close();
        }
    }

    /// Whether a loop could not be started, or broke, and should be tried again.
    pub(super) fn lacks_some(&self) -> bool {
        self.lacks_some || self.running.iter().any(|one| one.current.is_over())
    }

    fn start(&mut self, listener: &Arc<Listener>, snapshot: &Snapshot) -> std::io::Result<()> {
        let socket = listener.sockets.take_datagrams(self.worker)?;
        let socket = socket.ok_or(std::io::ErrorKind::NotConnected)?;
        let current = Current::new(listener, snapshot, &self.local.drain);
        let batch = Rc::clone(self.batch.get_or_insert_default());
        udp::start(socket, &current, batch, Rc::clone(&self.local))?;
        self.running.push(Running {
            sockets: Arc::clone(&listener.sockets),
            current,
        });
        Ok(())
    }
}

impl Running {
    fn is_of(&self, listener: &Listener) -> bool {
        Arc::ptr_eq(&self.sockets, &listener.sockets)
    }
}
