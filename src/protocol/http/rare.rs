//! What few exchanges have: in a box, so that the others do not carry the room for it.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::exchange::Exchange;
use super::unprocessed::Unprocessed;
use crate::pool::Shared;
use crate::time::Deadline;
use crate::upstream::{Mark, Pick, Upstream};

/// What an exchange has besides, once it has any of it.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Who took no notice of the request.
    unprocessed: Unprocessed,
    /// The endpoint that the client is tied to, if it said so.
    tie: Cell<Option<Mark>>,
    /// Endpoints that told its client to ask later, by the ids of their live states.
    asked_later: RefCell<Vec<u64>>,
    /// Whether a second endpoint has been asked beside the first.
    is_hedged: Cell<bool>,
    /// What its waits end by, where it is a second attempt beside another.
    deadline: Option<Deadline>,
}

impl Rare {
    /// That of a second attempt.
    pub(super) fn beside(tie: Option<Mark>) -> Self {
        Self {
            tie: Cell::new(tie),
            deadline: Some(Deadline::default()),
            ..Self::default()
        }
    }

    /// What the waits of a second attempt end by.
    pub(super) fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }
}

impl Exchange<'_> {
    /// The endpoint that the client is tied to, if it said so.
    pub(super) fn tie(&self) -> Option<Mark> {
        self.rare.get()?.tie.get()
    }

    /// Takes in which endpoint the client is tied to.
    pub(super) fn set_tie(&self, tie: Mark) {
        self.rare.get_or_init(Box::default).tie.set(Some(tie));
    }

    /// This endpoint told the client to ask later: it is not asked again for the same request.
    pub(super) fn asks_later(&self, endpoint: u64) {
        let rare = self.rare.get_or_init(Box::default);
        rare.asked_later.borrow_mut().push(endpoint);
    }

    /// These endpoints, and those that told the client to ask later; whether there are such.
    pub(super) fn and_asked_later<'a>(&self, tried: &'a [u64]) -> (Cow<'a, [u64]>, bool) {
        let asked = self.rare.get().map(|rare| rare.asked_later.borrow());
        match asked.filter(|asked| !asked.is_empty()) {
            Some(asked) => ([tried, asked.as_slice()].concat().into(), true),
            None => (tried.into(), false),
        }
    }

    /// A second endpoint is asked beside the first.
    pub(super) fn set_hedged(&self) {
        self.rare.get_or_init(Box::default).is_hedged.set(true);
    }

    /// Whether any of its attempts came after one that failed.
    pub(super) fn was_retried(&self) -> bool {
        let is_hedged = self.rare.get().is_some_and(|rare| rare.is_hedged.get());
        self.record.attempts.get() > 1 + u32::from(is_hedged)
    }

    /// Shared connections that took no notice of the request.
    pub(super) fn avoided(&self) -> Vec<Weak<Shared>> {
        let rare = self.rare.get();
        rare.map_or_else(Vec::new, |rare| rare.unprocessed.avoided())
    }

    /// Keeps the request, of which an endpoint has surely taken no notice, from the connection that
    /// it was on, and tells whether it is sent to the same endpoint on another one, if it may be.
    pub(super) fn avoids(
        &self,
        shared: &Rc<Shared>,
        (upstream, pick): (&Upstream, &Pick),
        may_go_on: bool,
    ) -> bool {
        let rare = self.rare.get_or_init(Box::default);
        let retries = &self.route.metrics.retries;
        rare.unprocessed
            .goes_on(shared, (upstream, retries, pick), may_go_on)
    }
}
