//! Where a request may be tried again.
//!
//! An endpoint that answers 503 with `Retry-After` has said what it wants: nothing that need not
//! be. It still gets its share of first attempts, for the balancer to judge, and no retry and no
//! hedge until that time is over. Where every endpoint that might be asked has said so, the
//! upstream sheds load, and nothing is tried again.
//!
//! What is asked here is what a pick would say: so it is the table that answers.

use tokio::time::Instant;

use super::group::Group;
use super::table::{Backoff, Table};
use super::wish::{Takes, Wish};
use super::{Haste, Ties, Upstream};

/// Where a further attempt would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// To an endpoint that has not been tried, and is well as far as is known.
    Another,
    /// To one that was tried, or that lately failed; or to whoever is back by then, where there is
    /// none at all.
    Again,
    /// It would have to wait: those that would do are at their limit, or others wait already.
    Full,
    /// Nowhere: whoever might be asked sheds load.
    Nowhere,
}

impl Upstream {
    /// Where a request could go that these endpoints have been asked for. It has so many in flight
    /// itself, which end before.
    pub fn elsewhere(&self, tried: &[u64], now: Instant, own: u32) -> Elsewhere {
        let table = self.table.load();
        if self.is_full_beside(own) || self.has_waiting() {
            return Elsewhere::Full;
        }
        let wish = Ties::default().wish(tried, (now, Haste::MayWait), Takes::Request);
        table.elsewhere(wish)
    }

    /// Whether there is more than one endpoint, so that one of them may be better than another.
    pub fn has_several(&self) -> bool {
        self.table.load().endpoints().len() > 1
    }
}

impl Table {
    /// Where a pick for this wish would lead, as far as can be told beforehand.
    fn elsewhere(&self, wish: Wish<'_>) -> Elsewhere {
        let has = |group: &Group, wish, backoff| self.has_one(group, (wish, backoff));
        let again = Wish { tried: &[], ..wish };
        if has(&self.first, wish, Backoff::Heed)
            || self.is_any_failing(wish) && has(&self.reserve, wish, Backoff::Heed)
        {
            Elsewhere::Another
        } else if self.has_one_that_is_only_full(wish) {
            Elsewhere::Full
        } else if self.first.members.is_empty() || has(&self.first, again, Backoff::Ignore) {
            Elsewhere::Again
        } else {
            Elsewhere::Nowhere
        }
    }

    /// Whether somebody who asks for the first time would find a candidate with room.
    pub(super) fn takes_first_attempts(&self, wish: Wish<'_>) -> bool {
        let first = Wish {
            tried: &[],
            spares_shedding: false,
            ..wish
        };
        self.has_one(&self.first, (first, Backoff::Ignore))
    }
}
