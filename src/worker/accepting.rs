//! Which listeners a worker accepts on: follows the snapshots.

use std::rc::Rc;
use std::sync::Arc;

use crate::drain::Direction;
use crate::listener::{Accepted, Acceptor, Current, Stop};
use crate::net::Sockets;
use crate::snapshot::{Listener, Snapshot};
use crate::telemetry::events::{Event, Events};

/// The accept loops of one worker.
#[derive(Debug)]
pub(super) struct Accepting {
    acceptor: Rc<Acceptor>,
    events: Events,
    running: Vec<Running>,
    /// Names of listeners that could not be started; a failure is told once.
    lacking: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Running {
    /// What identifies the loop: a listener may change in everything else.
    sockets: Arc<Sockets>,
    current: Rc<Current>,
    _stop: Stop,
}

impl Accepting {
    pub(super) fn new(acceptor: Rc<Acceptor>, events: Events) -> Self {
        Self {
            acceptor,
            events,
            running: Vec::new(),
            lacking: Vec::new(),
        }
    }

    /// Starts loops for new listeners, gives those that stay their new form, stops the others.
    pub(super) fn follow<S>(&mut self, snapshot: &Snapshot, serve: impl Fn() -> S)
    where
        S: Fn(Accepted) + 'static,
    {
        let wanted = &snapshot.listeners;
        self.running
            .retain(|running| wanted.iter().any(|listener| running.is_of(listener)));
        self.lacking
            .retain(|name| wanted.iter().any(|listener| listener.name == *name));
        for listener in wanted.iter().filter(|one| one.udp().is_none()) {
            match self.running.iter().find(|running| running.is_of(listener)) {
                Some(running) => self.acceptor.replace(&running.current, listener),
                None => self.start(listener, serve()),
            }
        }
        let accepting = wanted.iter().filter(|one| one.udp().is_none());
        self.acceptor.follow(accepting);
    }

    /// Stops the loops of a direction.
    pub(super) fn end(&mut self, direction: Direction) {
        self.running
            .retain(|running| running.current.direction() != direction);
    }

    /// Whether a listener could not be started and should be tried again.
    pub(super) fn lacks_some(&self) -> bool {
        !self.lacking.is_empty()
    }

    fn start(&mut self, listener: &Arc<Listener>, serve: impl Fn(Accepted) + 'static) {
        let known = self.lacking.iter().position(|name| *name == listener.name);
        match self.acceptor.start(listener, serve) {
            Ok((current, stop)) => {
                known.map(|position| self.lacking.swap_remove(position));
                self.running.push(Running {
                    sockets: Arc::clone(&listener.sockets),
                    current,
                    _stop: stop,
                });
            }
            Err(error) if known.is_none() => {
                self.lacking.push(Arc::clone(&listener.name));
                self.events.publish(Event {
                    kind: "accept_stalled",
                    why: format!("a worker cannot use its socket: {error}"),
                    fields: vec![("listener", listener.name.to_string())],
                });
            }
            Err(_) => {}
        }
    }
}

impl Running {
    fn is_of(&self, listener: &Listener) -> bool {
        Arc::ptr_eq(&self.sockets, &listener.sockets)
    }
}
