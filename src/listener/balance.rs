//! Which worker serves a new connection.
//!
//! Problem: the kernel spreads connections by a hash of their addresses. Over a few hundred
//! long-lived ones that leaves workers a quarter apart, and after a burst that hit one of them the
//! difference stays for as long as they live. So connections are counted per worker, and one that
//! has clearly more than another hands a new connection over. In balance nothing is handed over,
//! for that costs the new connection a thread switch.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::accept::Accepted;
use super::guard::Guard;
use crate::net::{Loose, Stream};
use crate::snapshot::Listener;

/// Connections of every worker, and the way to hand one over.
#[derive(Debug)]
pub struct Balance {
    seats: Box<[Seat]>,
}

/// Where a worker receives connections from others.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Moving>,
}

/// A connection between two workers: known to neither's runtime.
#[derive(Debug)]
struct Moving {
    stream: Loose,
    peer: SocketAddr,
    listener: Arc<Listener>,
    guard: Guard,
}

/// Apart from its neighbours: each worker writes its own at every connection.
#[derive(Debug)]
#[repr(align(128))]
struct Seat {
    connections: AtomicUsize,
    /// Connections that it gave to others, and that were not told yet.
    handed_over: AtomicUsize,
    inbox: mpsc::Sender<Moving>,
}

impl Balance {
    /// For so many workers, with the inbox of each.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Inbox>) {
        let (seats, inboxes): (Vec<_>, Vec<_>) = (0..workers)
            .map(|_| {
                let (sender, receiver) = mpsc::channel(INBOX);
                let seat = Seat {
                    connections: AtomicUsize::new(0),
                    handed_over: AtomicUsize::new(0),
                    inbox: sender,
                };
                (seat, Inbox { receiver })
            })
            .unzip();
        let seats = seats.into_boxed_slice();
        (Arc::new(Self { seats }), inboxes)
    }

    /// Connections of one worker, those on their way to it included.
    pub fn connections(&self, worker: usize) -> usize {
        self.seats[worker].connections.load(Ordering::Relaxed)
    }

    /// Connections of all workers.
    pub fn total(&self) -> usize {
        (0..self.seats.len())
            .map(|worker| self.connections(worker))
            .sum()
    }

    /// Connections on their way to a worker.
    pub fn waiting(&self, worker: usize) -> usize {
        let inbox = &self.seats[worker].inbox;
        inbox.max_capacity() - inbox.capacity()
    }

    /// Connections that a worker has given to others since this was asked last.
    pub fn handed_over(&self, worker: usize) -> usize {
        self.seats[worker].handed_over.swap(0, Ordering::Relaxed)
    }

    /// The worker that should serve the next connection that this one accepts, where this
    /// difference is not worth a switch of threads.
    pub(super) fn server(&self, mine: usize, spared: usize) -> usize {
        let counts = self
            .seats
            .iter()
            .map(|seat| seat.connections.load(Ordering::Relaxed));
        let (least, count) = counts
            .enumerate()
            .min_by_key(|(_, count)| *count)
            .unwrap_or((mine, 0));
        if is_overloaded(self.connections(mine), count, spared) {
            least
        } else {
            mine
        }
    }

    pub(super) fn add(&self, worker: usize) {
        self.seats[worker]
            .connections
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, worker: usize) {
        self.seats[worker]
            .connections
            .fetch_sub(1, Ordering::Relaxed);
    }

    /// Sends a connection from a worker to the one that its guard names; gives it back if that
    /// worker's inbox is full or gone.
    pub(super) fn hand_over(&self, from: usize, accepted: Accepted) -> Option<Accepted> {
        let inbox = &self.seats[accepted.guard.worker()].inbox;
        let Ok(place) = inbox.try_reserve() else {
            return Some(accepted);
        };
        // Fails only while this worker's runtime ends, which ends the connection as well.
        if let Ok(stream) = accepted.stream.into_accepted() {
            self.seats[from].handed_over.fetch_add(1, Ordering::Relaxed);
            place.send(Moving {
                stream,
                peer: accepted.peer,
                listener: accepted.listener,
                guard: accepted.guard,
            });
        }
        None
    }
}

impl Inbox {
    /// The next connection that another worker hands over, now known to this worker's runtime.
    pub async fn next(&mut self) -> Option<Accepted> {
        loop {
            let moving = self.receiver.recv().await?;
            match Stream::accepted(moving.stream) {
                Ok(stream) => {
                    return Some(Accepted {
                        stream,
                        peer: moving.peer,
                        listener: moving.listener,
                        guard: moving.guard,
                    });
                }
                Err(_) => moving.guard.lost(),
            }
        }
    }
}

/// Whether a worker has so many connections more than the least loaded one that the switch of
/// threads is worth it: a sixteenth more, so that workers stay within a tenth of each other also
/// while connections end, and in small numbers what is spared.
fn is_overloaded(mine: usize, least: usize, spared: usize) -> bool {
    mine > least + (least / 16).max(spared)
}

/// Of connections that may last for a request: what a switch costs is much beside what they do.
pub(super) const SPARED: usize = 8;

/// Of those that are dear to begin with or stay: ten of them may be all that a service has.
pub(super) const SPARED_OF_LASTING: usize = 1;

/// Connections on their way to a worker. One that does not come to emptying its inbox is loaded
/// indeed, whatever its count says, and gets no more.
const INBOX: usize = 256;

#[cfg(test)]
mod tests {
    use super::{Balance, SPARED, SPARED_OF_LASTING, is_overloaded};

    #[test]
    fn small_differences_stay() {
        assert!(!is_overloaded(8, 0, SPARED));
        assert!(is_overloaded(9, 0, SPARED));
        assert!(!is_overloaded(1, 0, SPARED_OF_LASTING));
        assert!(is_overloaded(2, 0, SPARED_OF_LASTING));
        for spared in [SPARED, SPARED_OF_LASTING] {
            assert!(!is_overloaded(1062, 1000, spared));
            assert!(is_overloaded(1063, 1000, spared));
        }
    }

    #[test]
    fn the_least_loaded_worker_gets_what_the_overloaded_one_accepts() {
        let (balance, _inboxes) = Balance::new(3);
        for _ in 0..20 {
            balance.add(0);
        }
        balance.add(1);
        assert_eq!(balance.server(0, SPARED), 2);
        assert_eq!(balance.server(1, SPARED), 1, "it is not overloaded itself");
        balance.remove(0);
        assert_eq!(balance.total(), 20);
    }

    #[test]
    fn any_skew_evens_out_within_the_bound() {
        let (balance, _inboxes) = Balance::new(4);
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..10_000 {
            // Nine of ten connections reach the first worker.
            let accepting = if random.u8(..10) > 0 {
                0
            } else {
                random.usize(1..4)
            };
            balance.add(balance.server(accepting, SPARED));
        }
        let counts: Vec<_> = (0..4).map(|worker| balance.connections(worker)).collect();
        let least = counts.iter().min().copied().unwrap_or(0);
        for count in &counts {
            assert!(*count <= least + least / 16 + 1, "{counts:?}");
        }
    }
}
