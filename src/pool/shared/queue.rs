//! Who waits for room on a shared connection.

use std::collections::VecDeque;
use std::task::Waker;

use crate::pool::{ConnectError, Connection};

/// Who waits, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    number: u64,
    waker: Waker,
    pub(super) outcome: Option<Outcome>,
}

/// What somebody has waited for, other than room.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The endpoint chose HTTP/1.1: a connection for this one alone.
    Own(Box<Connection>),
    /// None could be opened.
    Failed(ConnectError),
}

impl Queue {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn join(&mut self, waker: &Waker) -> u64 {
        let number = self.number();
        self.waiting.push_back(Waiting {
            number,
            waker: waker.clone(),
            outcome: None,
        });
        number
    }

    /// What this one has waited for, if it is there; else its task is woken when it is.
    pub(super) fn take(&mut self, number: u64, waker: &Waker) -> Option<Outcome> {
        let waiting = self.waiting.iter_mut().find(|it| it.number == number)?;
        waiting.waker.clone_from(waker);
        waiting.outcome.take()
    }

    /// Whether nobody is left.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        self.waiting.retain(|waiting| waiting.number != number);
        self.waiting.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn undecided(&mut self) -> impl Iterator<Item = &mut Waiting> {
        let waiting = self.waiting.iter_mut();
        waiting.filter(|waiting| waiting.outcome.is_none())
    }

    pub(super) fn wake(&self, count: usize) {
        for waiting in self.waiting.iter().take(count) {
            waiting.waker.wake_by_ref();
        }
    }
}
