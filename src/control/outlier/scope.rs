//! Whether many upstreams fail together.
//!
//! Problem: what is shared is most likely ourselves, and then all fail; but two tools of one
//! endpoint each may be down for a night, and an upstream of a hundred that is well beside them
//! shows that it is not us. So of the upstreams half must fail, and of the endpoints that could be
//! ejected half must be theirs. Those of which none could be are no word for or against it: nothing
//! is kept from being ejected there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::upstream::Upstream;

/// What stands in for each other in an upstream: its primaries, or its backups.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Since when most of its endpoints fail, if they do.
    pub(super) fails_since: Option<Instant>,
    /// Whether it has requests.
    pub(super) is_active: bool,
    /// Its endpoints, if any of them may be ejected at all.
    pub(super) endpoints: usize,
}

/// In how many upstreams most endpoints fail.
#[derive(Debug, Default)]
pub(super) struct Scope {
    failing: Vec<Arc<str>>,
    /// Those that have requests.
    active: usize,
    /// Endpoints of those that fail, and of those that have requests.
    endpoints: (usize, usize),
}

impl Scope {
    /// What these amount to: the parts of an upstream stand side by side, and together are one.
    /// What has failed since long before `begun` is not part of it, and has reasons of its own.
    pub(super) fn of<'a>(
        parts: impl Iterator<Item = (&'a Arc<str>, Part)>,
        begun: Instant,
    ) -> Self {
        let mut scope = Self::default();
        let mut counted: Option<&Arc<str>> = None;
        for (name, part) in parts {
            let is_old = |since: Instant| since + TOGETHER < begun;
            if part.fails_since.is_some_and(is_old) {
                continue;
            }
            let fails = part.fails_since.is_some();
            if !fails && !part.is_active {
                continue;
            }
            scope.endpoints.1 += part.endpoints;
            if counted != Some(name) {
                counted = Some(name);
                scope.active += 1;
            }
            if fails {
                scope.endpoints.0 += part.endpoints;
                if scope.failing.last() != Some(name) {
                    scope.failing.push(Arc::clone(name));
                }
            }
        }
        scope
    }

    /// Whether it is something that upstreams share: several, and at least half of them.
    pub(super) fn is_everywhere(&self) -> bool {
        self.is_one_of(2)
    }

    /// Whether it is that still. That some more upstreams get a request is no end of it.
    pub(super) fn is_still_everywhere(&self) -> bool {
        self.is_one_of(3)
    }

    /// Whether several fail, and of so many that have requests at least one does, by their number
    /// and by that of their endpoints.
    fn is_one_of(&self, many: usize) -> bool {
        let (failing, (theirs, all)) = (self.failing.len(), self.endpoints);
        failing >= 2 && many * failing >= self.active && many * theirs >= all
    }

    /// Makes an event of its beginning or end, by way of any upstream.
    pub(super) fn tell(&self, by: &Upstream, begins: bool) {
        let (failing, active) = (self.failing.len(), self.active);
        let why = if begins {
            let more = failing.saturating_sub(NAMED);
            let named: Vec<&str> = self
                .failing
                .iter()
                .take(NAMED)
                .map(|name| &**name)
                .collect();
            let named = named.join(", ");
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!(
                "in {failing} of {active} upstreams most endpoints fail ({named}{more}): it is \
                 something that they share, perhaps this instance, and none is ejected anywhere"
            )
        } else {
            format!("in {failing} of {active} upstreams most endpoints fail: no longer in most")
        };
        by.tell_everywhere(begins, why, (failing, active));
    }
}

/// What begins within that time may have one cause: where little is asked for, it takes a while
/// until it is seen.
const TOGETHER: Duration = Duration::from_mins(1);

/// Names in an event: it is to be read.
const NAMED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(fails_since: Option<Instant>, endpoints: usize) -> Part {
        Part {
            fails_since,
            is_active: true,
            endpoints,
        }
    }

    fn scope(parts: &[(&str, Option<Instant>)], now: Instant) -> Scope {
        let parts: Vec<(Arc<str>, Part)> = parts
            .iter()
            .map(|(name, fails_since)| (Arc::from(*name), part(*fails_since, 3)))
            .collect();
        Scope::of(parts.iter().map(|(name, part)| (name, *part)), now)
    }

    #[test]
    fn small_ones_are_not_everywhere_where_large_ones_are_well() {
        let now = Instant::now();
        let (well, fails) = (None, Some(now));
        let is = |parts: &[(Option<Instant>, usize)]| {
            let names = (0..).map(|number: u32| Arc::from(number.to_string()));
            let parts = parts
                .iter()
                .map(|(fails, endpoints)| part(*fails, *endpoints));
            let parts: Vec<(Arc<str>, Part)> = names.zip(parts).collect();
            Scope::of(parts.iter().map(|(name, part)| (name, *part)), now).is_everywhere()
        };
        // Of one endpoint none may be ejected.
        assert!(!is(&[(fails, 0), (fails, 0), (well, 6), (well, 4)]));
        assert!(!is(&[(fails, 0), (fails, 0), (fails, 0), (well, 3)]));
        assert!(!is(&[(fails, 0), (fails, 3), (well, 6), (well, 0)]));
        assert!(is(&[(fails, 0), (fails, 6), (well, 4), (well, 0)]));
        assert!(is(&[(fails, 0), (fails, 0), (well, 0)]), "people are told");
        assert!(!is(&[
            (fails, 0),
            (fails, 6),
            (well, 0),
            (well, 0),
            (well, 0)
        ]));
    }

    #[test]
    fn several_upstreams_are_everywhere() {
        let now = Instant::now();
        let (well, fails) = (None, Some(now));
        let is = |parts: &[_]| scope(parts, now).is_everywhere();
        assert!(!is(&[]) && !is(&[("a", fails)]) && !is(&[("a", fails), ("b", well)]));
        assert!(is(&[("a", fails), ("b", fails)]));
        let mut all = vec![("a", fails), ("b", fails), ("c", well), ("d", well)];
        assert!(is(&all));
        all.push(("e", well));
        assert!(!is(&all) && scope(&all, now).is_still_everywhere());
        all.extend([("f", well), ("g", well)]);
        assert!(!scope(&all, now).is_still_everywhere());
    }

    #[test]
    fn primaries_and_backups_are_one_upstream() {
        let now = Instant::now();
        let (well, fails) = (None, Some(now));
        let both = scope(&[("a", fails), ("a", fails), ("b", well)], now);
        assert_eq!((both.failing.len(), both.active), (1, 2));
        assert!(!both.is_everywhere());
        let one = scope(&[("a", well), ("a", fails)], now);
        assert_eq!((one.failing.len(), one.active), (1, 1));
    }

    #[test]
    fn what_has_failed_for_long_is_no_part_of_it() {
        let now = Instant::now();
        let then = now + Duration::from_secs(100);
        let all = [("a", Some(now)), ("b", Some(then)), ("c", None)];
        let scope = scope(&all, then);
        assert_eq!((scope.failing.len(), scope.active), (1, 2));
    }
}
