//! The accept loop: one listener on one worker.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::balance::Balance;
use super::failure::{Failure, Shortage};
use super::guard::{Guard, Ledger};
use crate::drain::{Direction, Watchers};
use crate::net::{self, Incoming, Stream};
use crate::snapshot::Listener;
use crate::telemetry::events::{Event, Events};

/// A connection that was let in, on the worker that is to serve it.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: Stream,
    /// The other side.
    pub peer: SocketAddr,
    /// The listener as it was then.
    pub listener: Arc<Listener>,
    /// To be held for as long as the connection lives.
    pub guard: Guard,
}

/// What one worker's accept loops have in common.
#[derive(Debug)]
pub struct Acceptor {
    worker: usize,
    balance: Arc<Balance>,
    drain: Watchers,
    events: Events,
    random: RefCell<fastrand::Rng>,
    /// The listeners in force.
    forms: RefCell<Vec<Form>>,
}

/// A listener's present form, which reloads replace while its loop goes on.
#[derive(Debug)]
pub struct Current {
    form: RefCell<Form>,
}

/// Ends an accept loop when it is dropped, after the loop has emptied its queue.
#[derive(Debug)]
pub struct Stop {
    _sender: oneshot::Sender<()>,
}

#[derive(Debug, Clone)]
struct Form {
    listener: Arc<Listener>,
    ledger: Arc<Ledger>,
}

/// One loop and how it fares.
#[derive(Debug)]
struct Loop<'a> {
    acceptor: &'a Rc<Acceptor>,
    current: &'a Rc<Current>,
    shortage: Shortage,
}

impl Acceptor {
    /// For the accept loops of one worker. `seed` makes the jitter of their waiting.
    pub fn new(
        worker: usize,
        balance: Arc<Balance>,
        drain: impl Into<Watchers>,
        events: Events,
        seed: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            balance,
            drain: drain.into(),
            events,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            forms: RefCell::default(),
        })
    }

    /// Starts the loop of a listener on this thread. Connections of this worker go to
    /// `serve`. The loop ends, and this worker's socket is closed, when the `Stop` is dropped.
    pub fn start<S>(
        self: &Rc<Self>,
        listener: &Arc<Listener>,
        serve: S,
    ) -> io::Result<(Rc<Current>, Stop)>
    where
        S: Fn(Accepted) + 'static,
    {
        let serve = Rc::new(serve);
        let socket = listener.sockets.incoming(self.worker)?;
        let socket = socket.ok_or(io::ErrorKind::NotConnected)?;
        let form = RefCell::new(self.form(listener));
        let current = Rc::new(Current { form });
        let (sender, stop) = oneshot::channel();
        let (acceptor, kept) = (Rc::clone(self), Rc::clone(&current));
        // Holds the end of a drain up: what is in the queue counts as accepted.
        let hold = self.drain.of(listener.direction).hold();
        tokio::task::spawn_local(async move {
            let mut accepting = Loop {
                acceptor: &acceptor,
                current: &kept,
                shortage: Shortage::new(),
            };
            accepting.run(&socket, stop, &serve).await;
            let sockets = Arc::clone(&kept.form.borrow().listener.sockets);
            if !sockets.are_passed_on() {
                sockets.withdraw();
                accepting.empty(socket, &serve).await;
            }
            sockets.close(acceptor.worker);
            drop(hold);
        });
        Ok((current, Stop { _sender: sender }))
    }

    /// Puts a listener's new form in force for the connections that come from now on.
    pub fn replace(&self, current: &Current, listener: &Arc<Listener>) {
        if !Arc::ptr_eq(&current.form.borrow().listener, listener) {
            *current.form.borrow_mut() = self.form(listener);
        }
    }

    /// Puts the listeners of a reload in force for the connections of this worker that wait.
    ///
    /// They may have been accepted on a socket that is none of these listeners' any more, and then
    /// their loop has ended: so it is not by its form that they look for a place.
    pub fn follow<'a>(&self, listeners: impl Iterator<Item = &'a Arc<Listener>>) {
        let forms: Vec<Form> = listeners.map(|listener| self.form(listener)).collect();
        self.forms.replace(forms.clone());
        // There may be more places. Who is the first may be another worker's, and look by the form
        // before: then he is called again, once that worker has come here.
        for form in forms {
            form.listener.queue.call(&[()]);
        }
    }

    /// What holds now for who waits in the queue of this listener.
    fn present(&self, current: &Current) -> Form {
        let form = current.form.borrow();
        let is_same = |other: &&Form| Arc::ptr_eq(&other.listener.queue, &form.listener.queue);
        let forms = self.forms.borrow();
        forms.iter().find(is_same).unwrap_or(&form).clone()
    }

    fn form(&self, listener: &Arc<Listener>) -> Form {
        Form {
            listener: Arc::clone(listener),
            ledger: Ledger::new(listener, &self.balance, self.drain.of(listener.direction)),
        }
    }
}

impl Loop<'_> {
    /// Accepts until it is stopped.
    async fn run(
        &mut self,
        socket: &Incoming,
        mut stop: oneshot::Receiver<()>,
        serve: &Rc<impl Fn(Accepted) + 'static>,
    ) {
        let mut turn = 0;
        while let Some(accepted) = next(socket, &mut stop).await {
            match accepted {
                Ok((stream, peer)) => self.let_in(stream, peer, serve),
                Err(error) => match Failure::of(&error) {
                    Failure::Empty => {}
                    Failure::Lost => self.current.lost(),
                    Failure::Short => {
                        let delay = self.fall_short(&error);
                        if timeout(delay, &mut stop).await.is_ok() {
                            return;
                        }
                    }
                },
            }
            turn += 1;
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Accepts what is left in the queue. Those clients were told that they are connected: serve
    /// them. The kernel is asked until it says that there are none, for an event may still be on
    /// its way. A shortage ends it: it would hold a drain up for nothing.
    async fn empty(&mut self, socket: Incoming, serve: &Rc<impl Fn(Accepted) + 'static>) {
        let Ok(socket) = socket.into_queue() else {
            return; // the runtime is ending
        };
        let mut turn = 0;
        loop {
            match socket.accept() {
                Ok((stream, peer)) => self.let_in(stream, peer, serve),
                Err(error) => match Failure::of(&error) {
                    Failure::Lost => self.current.lost(),
                    Failure::Empty | Failure::Short => return,
                },
            }
            turn += 1;
            if turn % TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn let_in(
        &mut self,
        stream: Stream,
        peer: SocketAddr,
        serve: &Rc<impl Fn(Accepted) + 'static>,
    ) {
        if self.shortage.passed() {
            self.publish(
                "accept_resumed",
                "connections are accepted again".to_owned(),
            );
        }
        let Form { listener, ledger } = self.current.form.borrow().clone();
        let mine = self.acceptor.worker;
        let peer = net::canonical(peer);
        let believed = listener.proxy_headers.as_ref();
        let is_client = !believed.is_some_and(|headers| headers.trusts(peer.ip()));
        let Ok(place) = ledger.admit(is_client.then_some(peer)) else {
            // The fastest "no" that TCP has, and one that leaves nothing behind on this side.
            return stream.reset_on_close();
        };
        let balance = Arc::clone(&self.acceptor.balance);
        let pass_on = move |stream, guard, listener, serve: &Rc<_>| {
            let accepted = Accepted {
                stream,
                peer,
                listener,
                guard,
            };
            pass(accepted, (mine, &balance), &**serve);
        };
        let place = match ledger.enter(mine, place) {
            Ok(guard) => return pass_on(stream, guard, listener, serve),
            Err(place) => place,
        };
        // At once, not in its task: another may be accepted before that begins.
        let Ok(waiting) = ledger.join() else {
            return stream.reset_on_close();
        };
        let (serve, current) = (Rc::clone(serve), Rc::clone(self.current));
        let acceptor = Rc::clone(self.acceptor);
        // The task belongs to the worker's runtime, which ends it; it lasts as long as a
        // connection may wait.
        drop(tokio::task::spawn_local(async move {
            // Reloads may come before its turn does.
            let present = || acceptor.present(&current);
            let entered = waiting.enter((mine, place), &stream, || present().ledger);
            match entered.await {
                Some(guard) => pass_on(stream, guard, present().listener, &serve),
                None => stream.reset_on_close(),
            }
        }));
    }

    fn fall_short(&mut self, error: &io::Error) -> Duration {
        let (delay, first) = self.shortage.failed(&mut self.acceptor.random.borrow_mut());
        if first {
            self.publish(
                "accept_stalled",
                format!("connections wait to be accepted: {error}"),
            );
        }
        delay
    }

    fn publish(&self, kind: &'static str, why: String) {
        let listener = self.current.form.borrow().listener.name.to_string();
        let worker = self.acceptor.worker.to_string();
        self.acceptor.events.publish(Event {
            kind,
            why,
            fields: vec![("listener", listener), ("worker", worker)],
        });
    }
}

impl Current {
    /// Whose connections come.
    pub fn direction(&self) -> Direction {
        self.form.borrow().listener.direction
    }

    fn lost(&self) {
        self.form.borrow().ledger.lost();
    }
}

/// Gives a connection to the worker that is to serve it.
fn pass(accepted: Accepted, (mine, balance): (usize, &Balance), serve: &impl Fn(Accepted)) {
    if accepted.guard.worker() == mine {
        return serve(accepted);
    }
    if let Some(mut kept) = balance.hand_over(mine, accepted) {
        kept.guard.move_to(mine);
        serve(kept);
    }
}

/// The next connection, or `None` once the loop is to stop.
async fn next(
    socket: &Incoming,
    stop: &mut oneshot::Receiver<()>,
) -> Option<io::Result<(Stream, SocketAddr)>> {
    poll_fn(|cx| {
        if Pin::new(&mut *stop).poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        socket.poll_accept(cx).map(Some)
    })
    .await
}

/// Connections accepted in one turn: enough to spare most wake-ups in a burst, few enough that
/// running requests wait less than a millisecond.
const TURN: usize = 64;
