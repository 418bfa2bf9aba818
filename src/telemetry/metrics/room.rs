//! How many series there may be, and what becomes of the rest.
//!
//! Problem: a limit for all of them together is used up by whoever asks first. With a thousand
//! routes those were counters of things that never happened, and what alerts are built on came too
//! late. So each family has a limit of its own: none can displace another, and no order matters.
//! What the instance, its workers and its listeners are measured by has no limit but their number.
//!
//! Beyond the limit, what is added up goes into one series whose label says [`OTHER`], so that sums
//! over all stay true. What is set cannot be added up: it is hidden.

use super::{Asked, Family, Kind, Label, Values};

/// Whom a series is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// For its labels alone.
    Own,
    /// For all that found no room.
    Shared,
    /// For all that nobody is to see.
    Hidden,
}

/// The limit of each family.
#[derive(Debug, Default)]
pub(super) struct Room {
    limit: usize,
}

impl Room {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Series of their own that a family may have, with labels of these names.
    pub(super) fn own<'a>(&self, family: &Family, names: impl Iterator<Item = &'a str>) -> usize {
        let names: Vec<&str> = names.collect();
        let is_of = |label: &str| names.contains(&label);
        let is_of_listener = is_of(LISTENER) && !is_of(ROUTE);
        let is_numerous = NUMEROUS.iter().any(|label| is_of(label));
        match family.kind {
            _ if is_of_listener || !is_numerous => usize::MAX,
            Kind::Histogram => self.limit / 4,
            Kind::Counter | Kind::Gauge if is_of(DETAIL) => self.limit / 2,
            Kind::Counter | Kind::Gauge => self.limit,
        }
    }

    /// Series that those without room share: few, unless endpoints answer with every
    /// status there is.
    pub(super) fn shared(&self) -> usize {
        self.limit / 4
    }
}

/// The labels of what stands for a series without room; `None` if it cannot be added
/// up with others.
pub(super) fn fold<'a>(asked: Asked<'a>) -> Option<Vec<Label<'a>>> {
    let is_sum = match asked.values {
        Values::Whole | Values::Level | Values::Buckets => true,
        Values::Float => false,
    };
    let fold = |&(name, value): &Label<'a>| {
        let value = if NUMEROUS.contains(&name) {
            OTHER
        } else {
            value
        };
        (name, value)
    };
    is_sum.then(|| asked.labels.iter().map(fold).collect())
}

/// Series in one family, each a set of labels: a thousand upstreams and a few, with as many states
/// each as an endpoint can be shown in. With every family at its limit a scrape is roughly 25 MB,
/// and the series take 40 MB of memory.
pub(super) const SERIES: usize = 6_200;

/// Labels whose values grow with the configuration and the fleet.
const NUMEROUS: [&str; 6] = [ROUTE, "upstream", "zone", "from_zone", "to_zone", DETAIL];

const ROUTE: &str = "route";

/// A listener costs the process a socket for every worker, so its own series are few.
const LISTENER: &str = "listener";

/// What has this label grows with the fleet and is for a closer look: half the series.
const DETAIL: &str = "endpoint";

/// What these labels say in a series that is shared. No name in a configuration begins so.
const OTHER: &str = "_other";
