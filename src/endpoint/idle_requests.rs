//! Requests for idle connections, from the worker that lacks one to those in whose pools they rest.
//!
//! Problem: a worker may neither look into the pool of another one nor wait for it. So it sends the
//! endpoint's number to all and goes on; each takes it when it gets to it. The channel is bounded:
//! whoever was held up for so long that something was lost is told so, and looks at all of
//! its pool. Who really waits is known to the endpoint's live state, so that a late
//! request does no harm.

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// Where connections are asked for. Clones share it.
#[derive(Debug, Clone)]
pub struct IdleRequests {
    sender: Sender<u64>,
}

/// Where a worker takes what was asked for since this was made.
#[derive(Debug)]
pub struct IdleInbox {
    receiver: Receiver<u64>,
}

/// Of which endpoint an idle connection is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleRequest {
    /// The one with this number ([`super::Live::id`]).
    For(u64),
    /// Any: requests were lost.
    ForAny,
}

impl IdleRequests {
    /// What is asked for from now on.
    pub fn subscribe(&self) -> IdleInbox {
        IdleInbox {
            receiver: self.sender.subscribe(),
        }
    }

    pub(super) fn push(&self, id: u64) {
        // Fails if there is no worker: then there is no pool either.
        drop(self.sender.send(id));
    }
}

impl Default for IdleRequests {
    fn default() -> Self {
        Self {
            sender: Sender::new(BEHIND),
        }
    }
}

impl IdleInbox {
    /// The next request; `None` once nobody is left who could ask. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<IdleRequest> {
        match self.receiver.recv().await {
            Ok(id) => Some(IdleRequest::For(id)),
            Err(RecvError::Lagged(_)) => Some(IdleRequest::ForAny),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Requests that a worker may be behind. Beyond, to look at the whole pool once is no more work.
const BEHIND: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_worker_hears_every_request() {
        let requests = IdleRequests::default();
        requests.push(1); // nobody is there yet
        let mut inboxes = [requests.subscribe(), requests.subscribe()];
        requests.push(2);
        requests.push(3);
        for inbox in &mut inboxes {
            assert_eq!(inbox.next().await, Some(IdleRequest::For(2)));
            assert_eq!(inbox.next().await, Some(IdleRequest::For(3)));
        }
        drop(requests);
        assert_eq!(inboxes[0].next().await, None);
    }

    #[tokio::test]
    async fn who_has_missed_something_is_told_so() {
        let requests = IdleRequests::default();
        let mut inbox = requests.subscribe();
        for id in 0..=BEHIND as u64 {
            requests.push(id);
        }
        assert_eq!(inbox.next().await, Some(IdleRequest::ForAny));
        assert_eq!(inbox.next().await, Some(IdleRequest::For(1)));
    }
}
