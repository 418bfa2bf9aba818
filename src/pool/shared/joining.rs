//! Waiting for room on a shared connection, or for another one.

use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::group::{Group, Opening};
use super::queue::Outcome;
use super::{Shared, Task};
use crate::endpoint::{Endpoint, OpenConnection};
use crate::pool::wanted::Kept;
use crate::pool::{Carrier, ConnectError, Connection, Pool, Progress, Wanted};
use crate::telemetry::tcp::TcpSampler;
use crate::tls::Purpose;

/// A place in the queue of a group, left when it is dropped. When the last one leaves, nothing more
/// is begun; what is on its way already has cost its endpoint most of what it costs, and rests.
struct Place<'a> {
    group: &'a Group,
    number: Option<u64>,
}

impl Pool {
    /// Waits for a connection that has room, and opens one where none will have. `connect` limits
    /// one opening; the caller limits the whole, and learns when it was allowed to open. `None`:
    /// the endpoint speaks HTTP/1.1, and the caller has to open its own.
    pub(in crate::pool) async fn join(
        &self,
        endpoint: &Arc<Endpoint>,
        wanted: Wanted<'_>,
        (connect, avoided): (Duration, &[Weak<Shared>]),
        progress: &Progress,
    ) -> Result<Option<Carrier>, ConnectError> {
        let group = self.groups.group(endpoint, wanted);
        if group.speaks_http1.get() {
            return Ok(None);
        }
        let began = Instant::now();
        let mut place = Place {
            group: &group,
            number: None,
        };
        poll_fn(|cx| {
            if let Some(outcome) = place.poll_outcome(cx) {
                return Poll::Ready(match outcome {
                    Outcome::Own(connection) => Ok(Some(Carrier::Own(connection))),
                    Outcome::Failed(error) => Err(error),
                });
            }
            if let Some(shared) = group.with_room(endpoint, avoided) {
                return Poll::Ready(Ok(Some(Carrier::Shared(shared))));
            }
            if group.speaks_http1.get() {
                return Poll::Ready(Ok(None));
            }
            while group.lacks_openings(endpoint) && !group.waits_to_open() {
                self.begin(&group, endpoint, wanted, connect);
            }
            if progress.allowed.get().is_none() {
                let since = group.has_been_asked();
                progress.allowed.set(since.map(|since| since.max(began)));
            }
            progress.stands.set(group.waits_for_tls());
            Poll::Pending
        })
        .await
    }

    /// Begins to open a connection for those who wait.
    fn begin(
        &self,
        group: &Rc<Group>,
        endpoint: &Arc<Endpoint>,
        wanted: Wanted<'_>,
        connect: Duration,
    ) {
        let progress = Rc::new(Progress::default());
        let most = endpoint.limits.max_connections;
        let open = endpoint.live.open_connection(most);
        if open.is_some() {
            progress.allowed.set(Some(Instant::now()));
        } else {
            self.close_one(endpoint.live.id());
        }
        let number = group.next_opening();
        let opening = Begun {
            group: Rc::downgrade(group),
            number,
            endpoint: Arc::clone(endpoint),
            kept: wanted.keep(),
            connect,
            progress: Rc::clone(&progress),
            sampler: Rc::clone(&self.sampler),
        };
        let task = Task(spawn_local(opening.run(open)));
        group.openings.borrow_mut().push(Opening {
            number,
            progress,
            _task: task,
        });
    }
}

impl Place<'_> {
    fn poll_outcome(&mut self, cx: &mut Context<'_>) -> Option<Outcome> {
        let mut queue = self.group.queue.borrow_mut();
        if let Some(number) = self.number {
            return queue.take(number, cx.waker());
        }
        self.number = Some(queue.join(cx.waker()));
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        if self.group.queue.borrow_mut().leave(number) {
            let mut openings = self.group.openings.borrow_mut();
            let is_on_its_way = |opening: &mut Opening| opening.progress.allowed.get().is_some();
            let waiting: Vec<_> = openings
                .extract_if(.., |opening| !is_on_its_way(opening))
                .collect();
            drop(openings);
            drop(waiting);
        }
    }
}

/// What a task needs to open a connection.
struct Begun {
    group: Weak<Group>,
    number: u64,
    endpoint: Arc<Endpoint>,
    kept: Kept,
    connect: Duration,
    progress: Rc<Progress>,
    sampler: Rc<TcpSampler>,
}

impl Begun {
    /// Opens it. Where that fails and other connections bring answers, those who wait may get room
    /// on these (an endpoint that takes no more connections serves the ones it has): it is tried
    /// again for a moment, before all who wait are told.
    async fn run(self, open: Option<OpenConnection>) {
        let endpoint = &self.endpoint;
        let mut open = match open {
            Some(open) => open,
            None => self.counted_in().await,
        };
        let patience = PATIENCE.min(self.connect / 2);
        let (mut tried_since, mut pause) = (None, PAUSE);
        loop {
            let began = Instant::now();
            let wanted = self.kept.wanted();
            let opening = (open, &*self.progress);
            let opening = Connection::open(endpoint, wanted, Purpose::Http, opening);
            let opened = timeout(self.connect, opening).await;
            self.progress.stands.set(false);
            let Some(group) = self.group.upgrade() else {
                return;
            };
            let error = match opened {
                Ok(Ok(mut connection)) => {
                    connection.watch(&self.sampler);
                    group.opening_over(self.number);
                    endpoint.connected(began.elapsed());
                    if connection.is_http2() {
                        group.adopt(*connection);
                    } else {
                        group.hand_out(connection);
                    }
                    return;
                }
                Ok(Err(error)) => ConnectError::from(error),
                // Who has waited as long gives up by itself; the others try once more.
                Err(_) => {
                    group.opening_over(self.number);
                    return group.wake_all();
                }
            };
            let since = *tried_since.get_or_insert(began);
            let is_over = since.elapsed() + pause > patience || !group.is_waited_for();
            if is_over || !group.may_get_room() {
                group.opening_over(self.number);
                return group.fail(error);
            }
            // Who is told of the last failure tells the endpoint of it.
            if let Some(failure) = error.failure() {
                endpoint.count_failure(failure);
            }
            drop(group);
            sleep(pause).await;
            pause *= 2;
            open = self.counted_in().await;
        }
    }

    /// Waits until it may be opened.
    async fn counted_in(&self) -> OpenConnection {
        let (live, most) = (&self.endpoint.live, self.endpoint.limits.max_connections);
        let open = match live.open_connection(most) {
            Some(open) => open,
            None => live.wait_for_connection(most).await,
        };
        if self
            .progress
            .allowed
            .replace(Some(Instant::now()))
            .is_none()
            && let Some(group) = self.group.upgrade()
        {
            group.wake_all();
        }
        open
    }
}

/// How long it is tried to open another connection to an endpoint that answers on those it has:
/// most requests end within that, and make room.
const PATIENCE: Duration = Duration::from_secs(1);

/// Before the second try; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(50);
