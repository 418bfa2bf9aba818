//! The stack of idle connections of each endpoint.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::Groups;
use super::{Carrier, ConnectError, Connection, Progress, Shared, State, Wanted};
use crate::endpoint::{Endpoint, IdleRequest, OpenConnection, Protocol};
use crate::telemetry::tcp::TcpSampler;
use crate::tls::Purpose;

/// A worker's idle connections.
#[derive(Debug, Default)]
pub struct Pool {
    stacks: RefCell<Stacks>,
    /// Connections that requests share.
    pub(super) groups: Groups,
    /// Asks the kernel about the network to endpoints.
    pub(super) sampler: Rc<TcpSampler>,
}

/// Idle connections by the id of their endpoint's live state.
type Stacks = HashMap<u64, Vec<Idle>, BuildHasherDefault<IdHasher>>;

/// How long an idle connection is kept, and how many.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// The time to keep under, or under the endpoint's own if that is known to be shorter.
    pub idle: Duration,
    /// At most so many per endpoint and worker.
    pub count: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since: Instant,
    /// When it was last seen open: what can be learned from a close is not more than this.
    seen: Instant,
    keep: Duration,
}

/// Endpoint ids are small and dense: one multiplication spreads them well enough.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct IdHasher(u64);

impl Pool {
    /// Has no connections. Those that it opens are watched by a sampler.
    pub fn new(sampler: &Rc<TcpSampler>) -> Self {
        Self {
            sampler: Rc::clone(sampler),
            ..Self::default()
        }
    }

    /// Takes the connection that was used last, if it can still be used after the time it has been
    /// idle. With `fresh`, only one that has been idle for less than half its time: for
    /// requests that may not be repeated if it turns out that the endpoint closed the
    /// connection at this moment.
    pub fn checkout(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        now: Instant,
        fresh: bool,
    ) -> Option<Box<Connection>> {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.get_mut(&endpoint.live.id())?;
        let peer = endpoint.tls.as_ref();
        if wanted.client.is_some() || peer.is_some_and(|peer| peer.asks_by_request()) {
            return take_like(stack, endpoint, wanted, (now, fresh));
        }
        while let Some(mut idle) = stack.pop() {
            if !idle.connection.is_made_for(endpoint) {
                continue;
            }
            let limit = idle.limit();
            let rested = now.duration_since(idle.since);
            if rested >= limit {
                // The ones below have rested longer.
                stack.clear();
                return None;
            }
            match idle.connection.state() {
                State::Quiet if fresh && rested >= limit / 2 => {
                    stack.push(idle);
                    return None;
                }
                State::Quiet => return Some(idle.connection),
                State::Closed => idle.learn(),
                State::Dirty => {}
            }
        }
        None
    }

    /// Counts in a connection that may then be opened. At the endpoint's limit what rests here
    /// makes room for it, and else what rests with other workers, for which it waits; the caller
    /// sets the time limit. For requests in flight: see
    /// [`Live::wait_for_connection`](crate::endpoint::Live::wait_for_connection).
    pub async fn may_open(&self, endpoint: &Endpoint) -> OpenConnection {
        let (live, max) = (&endpoint.live, endpoint.limits.max_connections);
        match live.open_connection(max) {
            Some(open) => open,
            None => self.wait_to_open(endpoint).await,
        }
    }

    /// A connection with room for another request, if there is one, and not one of these. Only of
    /// endpoints that may speak HTTP/2; none of those that lately wanted HTTP/1.1.
    pub fn share(
        &self,
        endpoint: &Endpoint,
        wanted: Wanted<'_>,
        now: Instant,
        avoided: &[Weak<Shared>],
    ) -> Option<Carrier> {
        let shared = self.groups.with_room(endpoint, wanted, now, avoided);
        shared.map(Carrier::Shared)
    }

    /// Whether an endpoint that may choose lately wanted HTTP/1.1 for a request that came to it in
    /// HTTP/2: then it gets all in HTTP/1.1 for some minutes.
    pub fn requires_http1(&self, endpoint: &Endpoint, wanted: Wanted<'_>, now: Instant) -> bool {
        self.groups.requires_http1(endpoint, wanted, now)
    }

    /// Takes in that it wants that.
    pub fn wants_http1(&self, endpoint: &Endpoint, wanted: Wanted<'_>, now: Instant) {
        self.groups.wants_http1(endpoint, wanted, now);
    }

    /// Opens a connection as soon as it may be, and tells when that was: `now`, unless others stood
    /// in the way. Where requests share connections, it waits for room on one as well, and one that
    /// is opened is for all who wait; `connect` limits each opening. None of `avoided` is taken
    /// where there may be another. The caller limits the whole.
    pub async fn open(
        &self,
        endpoint: &Arc<Endpoint>,
        wanted: Wanted<'_>,
        purpose: Purpose,
        (now, connect, avoided): (Instant, Duration, &[Weak<Shared>]),
        progress: &Progress,
    ) -> Result<Carrier, ConnectError> {
        let may_share = purpose == Purpose::Http && endpoint.protocol != Protocol::Http1;
        if may_share
            && let Some(carrier) = self
                .join(endpoint, wanted, (connect, avoided), progress)
                .await?
        {
            return Ok(carrier);
        }
        let limit = endpoint.limits.max_connections;
        let open = if let Some(open) = endpoint.live.open_connection(limit) {
            progress.allowed.set(Some(now));
            open
        } else {
            let open = self.wait_to_open(endpoint).await;
            progress.allowed.set(Some(Instant::now()));
            open
        };
        let opening = (open, progress);
        let mut connection = Connection::open(endpoint, wanted, purpose, opening).await?;
        connection.watch(&self.sampler);
        endpoint.connected(progress.allowed.get().unwrap_or(now).elapsed());
        // What the endpoint chose last is not what it has to choose now.
        if may_share && connection.is_http2() {
            let shared = self.groups.group(endpoint, wanted).adopt(*connection);
            return Ok(Carrier::Shared(shared));
        }
        Ok(Carrier::Own(connection))
    }

    /// What [`Pool::may_open`] does at the limit.
    async fn wait_to_open(&self, endpoint: &Endpoint) -> OpenConnection {
        // It was not taken: too old for a request that may not be repeated, or for a tunnel.
        self.close_one(endpoint.live.id());
        let limit = endpoint.limits.max_connections;
        endpoint.live.wait_for_connection(limit).await
    }

    /// Keeps a connection for the next call, if there is room and nobody waits for one.
    pub(super) fn checkin(&self, mut connection: Box<Connection>, keep: Keep, now: Instant) {
        let live = &connection.endpoint().live;
        if !live.may_rest() || !connection.received.is_empty() {
            return;
        }
        let id = live.id();
        connection.reused = true;
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.entry(id).or_default();
        // Hosts that nobody asks for any more, and clients that have gone, must not keep out one
        // that is there now.
        let is_for_some = connection.host().is_some() || connection.client.is_some();
        if stack.len() >= keep.count && is_for_some && !stack.is_empty() {
            stack.remove(0);
        }
        if stack.len() < keep.count {
            stack.push(Idle {
                connection,
                since: now,
                seen: now,
                keep: keep.idle,
            });
        }
    }

    /// Closes idle connections for as long as somebody waits for one to the same endpoint.
    pub fn make_room(&self, request: IdleRequest) {
        let mut stacks = self.stacks.borrow_mut();
        match request {
            IdleRequest::For(id) => {
                if let Some(stack) = stacks.get_mut(&id) {
                    while stack.first().is_some_and(Idle::is_wanted) {
                        stack.remove(0);
                    }
                }
                self.groups.make_room(id);
            }
            IdleRequest::ForAny => {
                stacks
                    .values_mut()
                    .for_each(|stack| stack.retain(|idle| !idle.is_wanted()));
                self.groups.make_room_anywhere();
            }
        }
    }

    /// Looks at what has not been idle for long, so that a close is known to a fifth of a
    /// second where that matters: the time of the last look is what is learned from it. To be
    /// called that often.
    pub fn look(&self, now: Instant) {
        self.stacks.borrow_mut().values_mut().for_each(|stack| {
            let is_old = |idle: &Idle| now.duration_since(idle.since) >= YOUNG;
            let old = stack.partition_point(is_old);
            // Back to front, so that what is taken out moves nothing that is still to be looked at.
            for place in (old..stack.len()).rev() {
                if !stack[place].stays(now) {
                    stack.remove(place);
                }
            }
        });
    }

    /// Closes what has been idle for too long, what its endpoint has closed, and what leads to an
    /// endpoint that no configuration has any more. To be called about once a second.
    pub fn sweep(&self, now: Instant) {
        let mut stacks = self.stacks.borrow_mut();
        stacks.retain(|_, stack| {
            stack.retain_mut(|idle| idle.stays(now));
            !stack.is_empty()
        });
        drop(stacks);
        self.groups.sweep(now);
    }

    /// Closes the idle connection to an endpoint that has rested longest, if there is one.
    pub(super) fn close_one(&self, id: u64) {
        if let Some(stack) = self.stacks.borrow_mut().get_mut(&id)
            && !stack.is_empty()
        {
            stack.remove(0);
        } else {
            self.groups.close_one(id);
        }
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.stacks.borrow_mut().clear();
        self.groups.clear();
    }

    /// Connections in all: those that rest, and those that requests share.
    pub fn len(&self) -> usize {
        let resting: usize = self.stacks.borrow().values().map(Vec::len).sum();
        resting + self.groups.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where connections depend on the request or its client: the one like this that was used last, as
/// [`Pool::checkout`] takes it. The others stay in their order.
fn take_like(
    stack: &mut Vec<Idle>,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
    (now, fresh): (Instant, bool),
) -> Option<Box<Connection>> {
    for place in (0..stack.len()).rev() {
        let idle = &mut stack[place];
        if !wanted.fits(&idle.connection) {
            continue;
        }
        let (limit, rested) = (idle.limit(), now.duration_since(idle.since));
        if rested >= limit || !idle.connection.is_made_for(endpoint) {
            stack.remove(place);
            continue;
        }
        match idle.connection.state() {
            State::Quiet if fresh && rested >= limit / 2 => return None,
            State::Quiet => return Some(stack.remove(place).connection),
            State::Closed => idle.learn(),
            State::Dirty => {}
        }
        stack.remove(place);
    }
    None
}

impl Idle {
    /// The configured time, or what was learned of the endpoint. The latter can be the longer one
    /// only if a reload has shortened the former.
    fn limit(&self) -> Duration {
        let learned = self.connection.endpoint().live.idle_limit();
        learned.map_or(self.keep, |learned| learned.min(self.keep))
    }

    /// Whether it stands in the way of somebody.
    fn is_wanted(&self) -> bool {
        !self.connection.endpoint().live.may_rest()
    }

    fn stays(&mut self, now: Instant) -> bool {
        let endpoint = self.connection.endpoint();
        let (live, is_current) = (&endpoint.live, self.connection.is_made_for(endpoint));
        if !is_current || live.is_retired() || now.duration_since(self.since) >= self.limit() {
            return false;
        }
        match self.connection.state() {
            State::Quiet => {
                self.seen = now;
                true
            }
            State::Closed => {
                self.learn();
                false
            }
            State::Dirty => false,
        }
    }

    /// Tells the endpoint after how long it closed this connection. A close right after it
    /// was used, or by an endpoint that is failing, says nothing about its idle time: it
    /// restarts, or sheds load.
    fn learn(&self) {
        let endpoint = self.connection.endpoint();
        let idle = self.seen.duration_since(self.since);
        let live = &endpoint.live;
        let failing = live.health().is_out() || live.is_backing_off(Instant::now());
        if idle >= LEARN_FROM && !failing {
            endpoint.live.learn_idle_close(idle);
        }
    }
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(SPREAD);
    }
}

/// Shortest idle time that is taken for an endpoint's setting: no server is known to have a shorter
/// one, and looks are as far apart.
const LEARN_FROM: Duration = Duration::from_millis(200);

/// For how long a connection is looked at often. Beyond, a second more or less is a small part.
const YOUNG: Duration = Duration::from_secs(3);

/// 2⁶⁴ divided by the golden ratio (Knuth, The Art of Computer Programming, vol. 3, §6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
