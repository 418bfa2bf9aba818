//! The accept loop: one listener on one worker.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::balance::Balance;
use super::failure::{Failure, Shortage};
use super::guard::{Guard, Ledger};
use crate::drain::Watcher;
use crate::net;
use crate::snapshot::Listener;
use crate::telemetry::events::{Event, Events};

/// A connection that was let in. No runtime knows it yet, so it may be sent to another worker.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, non-blocking.
    pub stream: TcpStream,
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
    drain: Watcher,
    events: Events,
    random: RefCell<fastrand::Rng>,
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

/// One loop's socket and how it fares.
#[derive(Debug)]
struct Loop<'a> {
    acceptor: &'a Acceptor,
    current: &'a Current,
    socket: &'a AsyncFd<TcpListener>,
    shortage: Shortage,
}

/// Why a turn of accepting came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The queue is empty.
    Emptied,
    /// There may be more; others should have their turn first.
    More,
    /// Nothing can be accepted for this long.
    Short(Duration),
}

impl Acceptor {
    /// For the accept loops of one worker. `seed` makes the jitter of its waiting.
    pub fn new(
        worker: usize,
        balance: Arc<Balance>,
        drain: Watcher,
        events: Events,
        seed: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            worker,
            balance,
            drain,
            events,
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
        })
    }

    /// A listener's form, for [`Acceptor::start`] and [`Acceptor::replace`].
    fn form(&self, listener: &Arc<Listener>) -> Form {
        Form {
            listener: Arc::clone(listener),
            ledger: Ledger::new(listener, &self.balance, &self.drain),
        }
    }

    /// Puts a listener's new form in force for the connections that come from now on.
    pub fn replace(&self, current: &Current, listener: &Arc<Listener>) {
        if !Arc::ptr_eq(&current.form.borrow().listener, listener) {
            *current.form.borrow_mut() = self.form(listener);
        }
    }

    /// Starts the loop of a listener on this thread's `LocalSet`. Connections of this worker go to
    /// `serve`. The loop ends, and this worker's socket is closed, when the `Stop` is dropped.
    pub fn start<S>(
        self: &Rc<Self>,
        listener: &Arc<Listener>,
        serve: S,
    ) -> io::Result<(Rc<Current>, Stop)>
    where
        S: Fn(Accepted) + 'static,
    {
        let socket = listener.sockets.take(self.worker)?.ok_or(io::ErrorKind::NotConnected)?;
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        let form = RefCell::new(self.form(listener));
        let current = Rc::new(Current { form });
        let (sender, stop) = oneshot::channel();
        let (acceptor, kept) = (Rc::clone(self), Rc::clone(&current));
        // Holds the end of a drain up: what is in the queue counts as accepted.
        let blocker = self.drain.blocker();
        tokio::task::spawn_local(async move {
            let accepting = Loop {
                acceptor: &acceptor,
                current: &kept,
                socket: &socket,
                shortage: Shortage::new(),
            };
            accepting.run(stop, &serve).await;
            drop(socket);
            kept.form.borrow().listener.sockets.close(acceptor.worker);
            drop(blocker);
        });
        Ok((current, Stop { _sender: sender }))
    }
}

impl Loop<'_> {
    async fn run(mut self, mut stop: oneshot::Receiver<()>, serve: &impl Fn(Accepted)) {
        loop {
            let ready = tokio::select! {
                biased;
                _ = &mut stop => break,
                ready = self.socket.readable() => ready,
            };
            let Ok(mut ready) = ready else {
                break; // the runtime is ending
            };
            match self.turn(serve) {
                Turn::Emptied => ready.clear_ready(),
                Turn::More => tokio::task::yield_now().await,
                Turn::Short(delay) => tokio::select! {
                    biased;
                    _ = &mut stop => break,
                    () = tokio::time::sleep(delay) => {}
                },
            }
        }
        // Those in the queue were told that they are connected: serve them. A shortage now would
        // hold the drain up for nothing, so it ends the attempt.
        while self.turn(serve) == Turn::More {
            tokio::task::yield_now().await;
        }
    }

    /// Accepts until the queue is empty, but not more than others should wait for.
    fn turn(&mut self, serve: &impl Fn(Accepted)) -> Turn {
        for _ in 0..TURN {
            match net::accept(self.socket.get_ref()) {
                Ok((stream, peer)) => {
                    if self.shortage.passed() {
                        self.publish("accept_resumed", "connections are accepted again".to_owned());
                    }
                    self.let_in(stream, peer, serve);
                }
                Err(error) => match Failure::of(&error) {
                    Failure::Empty => return Turn::Emptied,
                    Failure::Lost => self.current.form.borrow().ledger.lost(),
                    Failure::Short => return Turn::Short(self.fall_short(&error)),
                },
            }
        }
        Turn::More
    }

    fn let_in(&self, stream: TcpStream, peer: SocketAddr, serve: &impl Fn(Accepted)) {
        let Form { listener, ledger } = self.current.form.borrow().clone();
        let Some(guard) = ledger.enter(self.acceptor.worker) else {
            return net::refuse(stream);
        };
        let accepted = Accepted {
            stream,
            peer,
            listener,
            guard,
        };
        let (mine, server) = (self.acceptor.worker, accepted.guard.worker());
        if server == mine {
            return serve(accepted);
        }
        if let Err(mut accepted) = self.acceptor.balance.hand_over(server, accepted) {
            accepted.guard.move_to(mine);
            serve(accepted);
        }
    }

    fn fall_short(&mut self, error: &io::Error) -> Duration {
        let (delay, first) = self.shortage.failed(&mut self.acceptor.random.borrow_mut());
        if first {
            self.publish("accept_stalled", format!("connections wait in the queue: {error}"));
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

/// Connections accepted in one turn: enough to spare most wake-ups in a burst, few enough that
/// running requests wait less than a millisecond.
const TURN: usize = 64;
