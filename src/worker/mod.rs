//! One data-plane thread: its runtime, its accept loops, its connections, its pools.
//!
//! Workers share nothing on the path of a request but the snapshot and the live state of endpoints,
//! so a worker is a loop around a few things that happen seldom: a new snapshot, a connection from
//! an overloaded neighbour, an idle one that a neighbour wants, a step of the drain, a tick for
//! what must not wait for traffic. All else happens in the tasks of its connections, which belong
//! to the worker and end with it.
//!
//! Use: [`spawn`] puts a worker on a thread; [`run`] is the worker itself, for tests. Both end when
//! the drain is cut, so the trigger's owner always cuts, also when nothing was left to wait for.

mod accepting;
mod pulse;
mod relaying;
#[cfg(test)]
mod tests;

use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime;
use tokio::task::spawn_local;
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::accepting::Accepting;
use self::pulse::Pulse;
use self::relaying::Relaying;
use crate::context::ConnectionFacts;
use crate::drain::{Direction, Watchers};
use crate::endpoint::{IdleInbox, IdleRequests};
use crate::listener::{Accepted, Acceptor, Balance, Guard, Inbox};
use crate::net::Stream;
use crate::protocol::by_name::{self, Taker};
use crate::protocol::local::Local;
use crate::protocol::tcp::Beginning;
use crate::protocol::{http, proxied, tcp};
use crate::snapshot::{
    ByName, ConnectionGuard as _, ConnectionProtocol, Follower, Handle, Kind, Listener,
};
use crate::telemetry::access::{FLUSH_EVERY, Sink};
use crate::telemetry::beats::Beats;
use crate::telemetry::events::Events;
use crate::telemetry::metrics::{Registry, set_worker_shard};
use crate::telemetry::panics;

/// What every worker is given.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The snapshot in force.
    pub handle: Handle,
    /// How far the end of the process is.
    pub drain: Watchers,
    /// Connections of every worker.
    pub balance: Arc<Balance>,
    /// Idle connections that one worker wants of the others.
    pub idle_requests: IdleRequests,
    /// Where log lines go.
    pub sink: Sink,
    /// Where changes of state are told.
    pub events: Events,
    /// Where it is measured how workers fare.
    pub registry: Registry,
    /// The workers' heartbeats.
    pub beats: Beats,
    /// Makes the random choices of all workers; each derives its own.
    pub seed: u64,
}

/// What one worker holds.
#[derive(Debug)]
struct Worker {
    index: usize,
    local: Rc<Local>,
    accepting: Accepting,
    relaying: Relaying,
    inbox: Inbox,
    wanted: IdleInbox,
    pulse: Pulse,
    shared: Shared,
}

/// Starts a worker on a thread of its own. Fails only when the machine gives no thread or no epoll.
///
/// The thread ends when the drain is cut.
pub fn spawn(index: usize, shared: Shared, inbox: Inbox) -> io::Result<JoinHandle<()>> {
    // The runtime cannot leave its thread, but whether there is one must be known here.
    let (sender, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            set_worker_shard(index);
            panics::tell(&shared.events);
            let runtime = runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build_local(runtime::LocalOptions::default());
            let (runtime, result) = match runtime {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Received below, unless the caller has gone, who then does not care.
            drop(sender.send(result));
            if let Some(runtime) = runtime {
                // Dropping the runtime drops the connections that are left.
                runtime.block_on(run(index, shared, inbox));
            }
        })?;
    started
        .recv()
        .map_err(|_| io::Error::other("the worker's thread ended at once"))??;
    Ok(thread)
}

/// A worker: accepts and serves connections until the drain is cut. Must run where tasks may be
/// spawned that stay on their thread: a `LocalRuntime`, or a `LocalSet`.
pub async fn run(index: usize, shared: Shared, inbox: Inbox) {
    let mut random = fastrand::Rng::with_seed(shared.seed.wrapping_add(index as u64));
    let local = Local::new(
        shared.handle.cache(),
        shared.sink.access_log(),
        shared.drain.clone(),
        random.u64(..),
    );
    let acceptor = Acceptor::new(
        index,
        Arc::clone(&shared.balance),
        shared.drain.clone(),
        shared.events.clone(),
        random.u64(..),
    );
    let worker = Worker {
        index,
        accepting: Accepting::new(acceptor, shared.events.clone()),
        relaying: Relaying::new(index, &local, shared.events.clone()),
        local,
        inbox,
        wanted: shared.idle_requests.subscribe(),
        pulse: Pulse::new(index, &shared.registry, &shared.balance, FLUSH_EVERY),
        shared,
    };
    worker.run().await;
}

impl Worker {
    async fn run(mut self) {
        let mut follower = Some(self.shared.handle.follower());
        let outbound = self.shared.drain.of(Direction::Outbound);
        let [
            mut outbound_started,
            mut outbound_left,
            mut outbound_closed,
            mut cut,
        ] = [(); 4].map(|()| outbound.clone());
        let inbound = self.shared.drain.of(Direction::Inbound);
        let [mut started, mut left, mut closed] = [(); 3].map(|()| inbound.clone());
        let mut tick = interval(FLUSH_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut swept = Instant::now();
        let (mut is_open, mut is_closed, mut is_draining) = (true, false, false);
        let (mut is_outbound_open, mut is_outbound_closed, mut is_outbound_draining) =
            (true, false, false);
        self.follow();
        loop {
            tokio::select! {
                biased;
                () = cut.cut() => break,
                () = started.started(), if !is_draining => {
                    is_draining = true;
                    // Those that carry many requests say so at once.
                    self.local.resting.wake_all();
                }
                () = left.left(), if is_open => {
                    is_open = false;
                    follower = None; // no reload waits for who follows none any more
                    self.end(Direction::Inbound);
                }
                () = closed.closed(), if !is_closed => {
                    is_closed = true;
                    self.local.resting.wake_all();
                }
                () = outbound_started.started(), if !is_outbound_draining => {
                    is_outbound_draining = true;
                    self.local.resting.wake_all();
                }
                () = outbound_left.left(), if is_outbound_open => {
                    is_outbound_open = false;
                    self.end(Direction::Outbound);
                }
                () = outbound_closed.closed(), if !is_outbound_closed => {
                    is_outbound_closed = true;
                    self.local.resting.wake_all();
                }
                Some(generation) = next_of(&mut follower) => {
                    self.follow();
                    if let Some(follower) = &follower {
                        follower.done(generation);
                    }
                }
                Some(accepted) = self.inbox.next() => serve(&self.local, accepted),
                now = tick.tick() => {
                    self.beat(now);
                    if now - swept >= SWEEP_EVERY {
                        swept = now;
                        self.local.pool.sweep(now);
                        if is_open && (self.accepting.lacks_some() || self.relaying.lacks_some()) {
                            self.follow();
                        }
                    }
                }
                // Behind the tick, which it could otherwise hold up when there are very many.
                Some(request) = self.wanted.next() => self.local.pool.make_room(request),
            }
        }
    }

    /// What is due many times a second.
    fn beat(&mut self, now: Instant) {
        self.pulse.beat(now, FLUSH_EVERY);
        self.shared.beats.beat(self.index);
        self.local.access_log.flush();
        self.local.sampler.look(now);
        self.local.pool.look(now);
    }

    /// Takes nothing further at the listeners of a direction.
    fn end(&mut self, direction: Direction) {
        self.accepting.end(direction);
        self.relaying.end(direction);
        self.local.resting.wake_all();
    }

    /// Does what the snapshot in force says about listeners.
    fn follow(&mut self) {
        let snapshot = self.local.snapshot();
        let local = &self.local;
        self.accepting.follow(&snapshot, || {
            let local = Rc::clone(local);
            move |accepted| serve(&local, accepted)
        });
        self.relaying.follow(&snapshot);
        // Connections that wait for a request look whether their listener is still there.
        self.local.resting.wake_all();
    }
}

/// The next generation, for who still follows.
async fn next_of(follower: &mut Option<Follower>) -> Option<u64> {
    match follower {
        Some(follower) => follower.changed().await,
        None => None,
    }
}

/// Gives a connection a task. A panic in it ends that connection alone: the runtime catches it, the
/// connection's guard counts it, and it is an event by then.
fn serve(local: &Rc<Local>, accepted: Accepted) {
    let Accepted {
        mut stream,
        peer,
        listener,
        mut guard,
    } = accepted;
    let facts = ConnectionFacts {
        listener: Arc::clone(&listener.name),
        peer,
        sockets: Arc::clone(&listener.sockets),
        brought: listener.intercept.as_ref().map(|how| how.facts(&stream)),
        proxied: None,
    };
    if let Some(measures) = &listener.metrics.tcp {
        local.sampler.watch(&mut stream, Arc::clone(measures));
    }
    let local = Rc::clone(local);
    let Some(headers) = listener.proxy_headers.clone() else {
        return begin(stream, (facts, guard), listener, local);
    };
    // The task belongs to the worker's runtime, which ends it.
    drop(spawn_local(async move {
        if let Some(facts) = proxied::identify(&stream, facts, &headers).await {
            if guard.identify(facts.peer).is_err() {
                return stream.reset_on_close();
            }
            begin(stream, (facts, guard), listener, local);
        }
    }));
}

/// Gives a connection the task that serves it, once it is known for whom it is.
fn begin(
    stream: Stream,
    (facts, guard): (ConnectionFacts, Guard),
    listener: Arc<Listener>,
    local: Rc<Local>,
) {
    // The task belongs to the worker's runtime, which ends it.
    if let Some(by_name) = &listener.by_name {
        let by_name = Arc::clone(by_name);
        let told_apart = serve_by_name(by_name, stream, (facts, guard), listener, local);
        return drop(spawn_local(told_apart));
    }
    let task = match &listener.kind {
        Kind::Http(http) => {
            let http = Arc::clone(http);
            let Some(tls) = &listener.tls else {
                return drop(spawn_local(http::serve(stream, facts, http, local, guard)));
            };
            let tls = Arc::clone(tls);
            spawn_local(async move {
                if let Some(stream) = tls.accept(stream).await {
                    drop(tls);
                    http::serve(stream, facts, http, local, guard).await;
                }
            })
        }
        Kind::Tcp(tcp) => {
            let Some(beginning) = Beginning::at(tcp, Vec::new()) else {
                return;
            };
            let Some(tls) = &listener.tls else {
                let served = tcp::serve(stream, facts, beginning, local, guard);
                return drop(spawn_local(served));
            };
            let tls = Arc::clone(tls);
            spawn_local(async move {
                if let Some(stream) = tls.accept(stream).await {
                    drop(tls);
                    tcp::serve(stream, facts, beginning, local, guard).await;
                }
            })
        }
        Kind::Udp(_) => return, // nothing is accepted there
    };
    drop(task);
}

/// Serves a connection once it is known who gets it.
async fn serve_by_name(
    by_name: Arc<ByName>,
    stream: Stream,
    (facts, mut guard): (ConnectionFacts, Guard),
    listener: Arc<Listener>,
    local: Rc<Local>,
) {
    let Some(taker) = by_name::taker(&stream, &by_name).await else {
        return;
    };
    // What lives on must not keep the routes of its first day.
    drop(by_name);
    let (received, end) = match taker {
        Taker::Route(beginning) => {
            drop(listener);
            guard.speaks(ConnectionProtocol::Tcp);
            return tcp::serve(stream, facts, beginning, local, guard).await;
        }
        Taker::Listener(received, end) => (received, end),
    };
    let (tls, kind) = (listener.tls.clone(), listener.kind.clone());
    drop(listener);
    match kind {
        Kind::Http(http) => {
            let Some(tls) = tls else { return };
            if let Some(stream) = tls.accept_begun(stream, received, end).await {
                drop(tls);
                http::serve(stream, facts, http, local, guard).await;
            }
            return;
        }
        Kind::Udp(_) => {}
        Kind::Tcp(tcp) => {
            let terminated = match tls {
                Some(tls) => {
                    let begun = tls.accept_begun(stream, received, end).await;
                    begun.map(|stream| (stream, Vec::new()))
                }
                None => Some((stream, received)),
            };
            let begun = terminated.and_then(|(stream, received)| {
                let beginning = Beginning::at(&tcp, received)?;
                Some((stream, beginning))
            });
            drop(tcp);
            if let Some((stream, beginning)) = begun {
                return tcp::serve(stream, facts, beginning, local, guard).await;
            }
        }
    }
    drop(guard);
}

/// How often idle connections to endpoints are looked through: their limits are seconds.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
