//! Room for handshakes: how many may be under way at once.
//!
//! Each holds memory and costs more than a thousand requests, so there is a limit. Beyond it others
//! wait for their turn, in order: after a restart all clients come at once, and to cut those that
//! have begun would only make them come again. But who has a place and does nothing with it must
//! not keep the others out, so one that has taken longer than honest ones do is ended when somebody
//! waits. A client that has said nothing takes no place.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, sleep};

/// The places of one listener.
#[derive(Debug)]
pub(super) struct Room {
    places: Semaphore,
    taken: Mutex<Taken>,
}

/// Who has a place, the oldest first.
#[derive(Debug, Default)]
struct Taken {
    last: u64,
    by_age: BTreeMap<u64, Holder>,
}

#[derive(Debug)]
struct Holder {
    since: Instant,
    /// Dropped to end it.
    _alive: oneshot::Sender<()>,
}

/// A place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    room: &'a Room,
    number: u64,
    ended: oneshot::Receiver<()>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Room {
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: Semaphore::new(places as usize),
            taken: Mutex::default(),
        }
    }

    /// Waits for a place. Whoever has had one for too long meanwhile, loses it.
    pub(super) async fn enter(&self) -> Place<'_> {
        if let Ok(permit) = self.places.try_acquire() {
            return self.place(Some(permit));
        }
        let mut turn = pin!(self.places.acquire());
        loop {
            self.end_oldest();
            tokio::select! {
                // Nobody closes it; if somebody did, there would be no limit.
                permit = &mut turn => return self.place(permit.ok()),
                () = sleep(PATIENCE) => {}
            }
        }
    }

    fn place<'a>(&'a self, permit: Option<SemaphorePermit<'a>>) -> Place<'a> {
        let (alive, ended) = oneshot::channel();
        let holder = Holder {
            since: Instant::now(),
            _alive: alive,
        };
        let mut taken = self.taken();
        taken.last += 1;
        let number = taken.last;
        taken.by_age.insert(number, holder);
        Place {
            room: self,
            number,
            ended,
            _permit: permit,
        }
    }

    fn end_oldest(&self) {
        let mut taken = self.taken();
        let oldest = taken.by_age.first_entry();
        if let Some(oldest) = oldest.filter(|oldest| oldest.get().since.elapsed() >= PATIENCE) {
            drop(oldest.remove());
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Returns once the place is to be left.
    pub(super) async fn ended(&mut self) {
        // The sender says nothing: it goes.
        drop((&mut self.ended).await);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.taken().by_age.remove(&self.number);
    }
}

/// Three round trips around the world: what takes longer is not on its way.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_stays_too_long_is_ended_when_somebody_waits() {
        let room = Room::new(1);
        let mut first = room.enter().await;
        // Nobody waits.
        assert!(timeout(10 * PATIENCE, first.ended()).await.is_err());
        let second = timeout(PATIENCE / 2, room.enter()).await;
        assert!(second.is_err(), "the first has not left yet");
        assert!(timeout(PATIENCE, first.ended()).await.is_ok());
        drop(first);
        let mut second = room.enter().await;
        let third = timeout(PATIENCE / 2, room.enter()).await;
        assert!(third.is_err(), "the second has its time");
        assert!(timeout(Duration::ZERO, second.ended()).await.is_err());
        drop(second);
        assert!(timeout(Duration::ZERO, room.enter()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn all_get_their_turn() {
        let room = Room::new(2);
        let stalled = (room.enter().await, room.enter().await);
        let wait = async || {
            let place = room.enter().await;
            sleep(PATIENCE / 10).await;
            drop(place);
        };
        // They are ended, but keep their places: as long as they do, nobody comes in.
        assert!(timeout(10 * PATIENCE, wait()).await.is_err());
        drop(stalled);
        let all = async { tokio::join!(wait(), wait(), wait(), wait(), wait()) };
        assert!(timeout(PATIENCE, all).await.is_ok());
    }
}
