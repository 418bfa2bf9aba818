//! Waiting for room on a shared connection, or for another one.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, timeout};

use super::group::{Group, Opening};
use super::queue::Outcome;
use super::{Shared, Task};
use crate::endpoint::{Endpoint, OpenConnection};
use crate::pool::wanted::Kept;
use crate::pool::{Carrier, ConnectError, Connection, Pool, Wanted};
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
        allowed: &Cell<Option<Instant>>,
    ) -> Result<Option<Carrier>, ConnectError> {
        let group = self.groups.group(endpoint, wanted);
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
            if allowed.get().is_none() {
                let openings = group.openings.borrow();
                let since = openings.iter().find_map(|opening| opening.allowed.get());
                allowed.set(since.map(|since| since.max(began)));
            }
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
        let allowed = Rc::new(Cell::new(None));
        let most = endpoint.limits.max_connections;
        let open = endpoint.live.open_connection(most);
        if open.is_some() {
            allowed.set(Some(Instant::now()));
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
            allowed: Rc::clone(&allowed),
        };
        let task = Task(spawn_local(opening.run(open)));
        group.openings.borrow_mut().push(Opening {
            number,
            allowed,
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
            let is_on_its_way = |opening: &mut Opening| opening.allowed.get().is_some();
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
    allowed: Rc<Cell<Option<Instant>>>,
}

impl Begun {
    async fn run(self, open: Option<OpenConnection>) {
        let endpoint = &self.endpoint;
        let open = if let Some(open) = open {
            open
        } else {
            let most = endpoint.limits.max_connections;
            let open = endpoint.live.wait_for_connection(most).await;
            self.allowed.set(Some(Instant::now()));
            if let Some(group) = self.group.upgrade() {
                group.wake_all();
            }
            open
        };
        let opening = Connection::open(endpoint, self.kept.wanted(), Purpose::Http, open);
        let opened = timeout(self.connect, opening).await;
        let Some(group) = self.group.upgrade() else {
            return;
        };
        group.opening_over(self.number);
        match opened {
            Ok(Ok(connection)) => {
                let since = self.allowed.get().map(|since| since.elapsed());
                endpoint.connected(since.unwrap_or_default());
                if connection.is_http2() {
                    group.adopt(*connection);
                } else {
                    group.hand_out(connection);
                }
            }
            Ok(Err(error)) => group.fail(error.into()),
            // Who has waited as long gives up by itself; the others try once more.
            Err(_) => group.wake_all(),
        }
    }
}
