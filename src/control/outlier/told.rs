//! What people are told of an upstream whose endpoints fail together.
//!
//! Problem: where twenty upstreams fail with this instance's network, the first ones are seen to
//! before there are enough of them to conclude that it is everywhere; each would be told of, and
//! then all of them once more. So it is told of one upstream only once that has stood for a while
//! without having become something greater.

use std::time::Duration;

use tokio::time::Instant;

use super::Outliers;
use crate::upstream::Notice;

/// How far people have been told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Told {
    /// Nothing: there is nothing, or it is part of what is told of all.
    #[default]
    Nothing,
    /// Nothing yet, and this then.
    Soon(Instant, Notice),
    /// That nothing is ejected since then. So its end is news, too.
    Suspended(Instant),
}

impl Told {
    /// Takes in what has begun or ended, and says what is to be told at once.
    pub(super) fn notices(&mut self, notice: Notice, now: Instant) -> Option<Notice> {
        match notice {
            Notice::Suspended { .. } => {
                *self = Self::Soon(now + PATIENCE, notice);
                None
            }
            Notice::Resumed { .. } => {
                matches!(std::mem::take(self), Self::Suspended(_)).then_some(notice)
            }
        }
    }

    /// What it is time to tell.
    pub(super) fn due(&mut self, now: Instant) -> Option<Notice> {
        match self {
            Self::Soon(at, notice) if *at <= now => {
                let notice = notice.clone();
                *self = Self::Suspended(now);
                Some(notice)
            }
            _ => None,
        }
    }

    /// When there will be something to tell.
    pub(super) fn next(&self) -> Option<Instant> {
        match self {
            Self::Soon(at, _) => Some(*at),
            Self::Nothing | Self::Suspended(_) => None,
        }
    }

    /// What would have been told is part of something greater.
    pub(super) fn drop_what_is_due(&mut self) {
        if self.next().is_some() {
            *self = Self::Nothing;
        }
    }
}

impl Outliers {
    /// It is everywhere no more, and upstreams that fail still do so by themselves.
    pub(super) fn tell_of_those_left(&mut self, now: Instant) {
        for watched in self.watched.values_mut() {
            if let Some(notice) = watched.group.suspended(now)
                && watched.told == Told::Nothing
            {
                watched.told.notices(notice, now);
            }
        }
    }

    /// Nothing is ejected anywhere, and what the last seconds have ejected comes back.
    pub(super) fn pardon(&mut self, now: Instant) {
        for watched in self.watched.values_mut() {
            let why = "it is not alone: endpoints of other upstreams fail as well";
            let changes = watched.group.pardon(why, now);
            watched.carry_out(changes);
        }
    }
}

/// Upstreams that fail together are seen to within that time: an interval for each to be looked
/// at, and one for those that have few requests.
const PATIENCE: Duration = Duration::from_secs(2);
