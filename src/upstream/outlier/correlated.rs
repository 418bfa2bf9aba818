//! When many endpoints fail at once.
//!
//! Problem: an ejection moves load to the others. Where one endpoint is ill that is the cure; where
//! something is ill that all depend on (a database, the network, this machine) it takes capacity
//! away and helps nobody. One cannot see the cause from here, but one can see how many it hits: so
//! where at least half of those that have requests fail within a few seconds, and more than may be
//! ejected, nothing is ejected, and what these seconds have ejected comes back. Until it is over.

use std::time::Duration;

use tokio::time::Instant;

/// Whether endpoints fail each for itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Course {
    #[default]
    Usual,
    /// Not since then; and for how many intervals it has looked as if that were over.
    Shared { since: Instant, calm: u32 },
}

/// How many fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Endpoints that fail, or were ejected just now.
    pub(super) failing: usize,
    /// Endpoints that have requests.
    pub(super) active: usize,
    /// Endpoints that may be out.
    pub(super) most: usize,
    /// Endpoints that probes have found unhealthy since shortly before it began: of those nobody
    /// hears any more whether their requests would fail.
    pub(super) lost: usize,
}

/// What is to be told to people: one event for a whole burst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Nothing is ejected any more.
    Suspended {
        /// Endpoints that fail.
        failing: usize,
        /// Of so many that have requests.
        active: usize,
        /// Endpoints that came back.
        pardoned: usize,
    },
    /// It is over.
    Resumed {
        /// How long it lasted.
        lasted: Duration,
        /// Endpoints that fail still.
        failing: usize,
        /// Of so many that have requests.
        active: usize,
    },
}

impl Notice {
    /// Whether something is over.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Resumed { .. })
    }
}

impl Extent {
    /// Whether it is more than endpoints of their own accord would do. Where none may be out, as of
    /// one or two, it is all of them.
    pub(super) fn is_shared(self) -> bool {
        match self.most {
            0 => self.failing > 0 && self.failing == self.active,
            most => self.failing > most && 2 * self.failing >= self.active,
        }
    }

    /// What there is to tell of many that fail together.
    pub(super) fn suspended(self, pardoned: usize) -> Notice {
        Notice::Suspended {
            failing: self.failing,
            active: self.active,
            pardoned,
        }
    }

    /// What there is to tell once nothing is suspended any more.
    pub(super) fn resumed(self, lasted: Duration) -> Notice {
        Notice::Resumed {
            lasted,
            failing: self.failing,
            active: self.active,
        }
    }

    /// Whether it is that still. What probes have found meanwhile is no sign that it is over.
    fn is_still_shared(self) -> bool {
        let with_lost = Self {
            failing: self.failing + self.lost,
            active: self.active + self.lost,
            ..self
        };
        with_lost.is_shared()
    }
}

impl Course {
    /// Since when they fail together, if they do.
    pub(super) fn shared_since(self) -> Option<Instant> {
        match self {
            Self::Usual => None,
            Self::Shared { since, .. } => Some(since),
        }
    }

    /// Takes in how many fail. `turns`: an interval is over.
    pub(super) fn observe(&mut self, extent: Extent, turns: bool, now: Instant) -> Option<Notice> {
        match self {
            Self::Usual if extent.is_shared() => {
                *self = Self::Shared {
                    since: now,
                    calm: 0,
                };
                Some(extent.suspended(0)) // the group knows how many come back
            }
            Self::Shared { calm, .. } if extent.is_still_shared() => {
                *calm = 0;
                None
            }
            Self::Shared { since, calm } if turns => {
                *calm += 1;
                if *calm < CALM {
                    return None;
                }
                let lasted = now.saturating_duration_since(*since);
                *self = Self::Usual;
                Some(extent.resumed(lasted))
            }
            Self::Usual | Self::Shared { .. } => None,
        }
    }
}

/// What happens within that time happens at once.
pub(super) const BURST: Duration = Duration::from_secs(5);

/// Intervals in a row after which it is over.
const CALM: u32 = 3;
