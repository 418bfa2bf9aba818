//! What algorithms ask of members.

use std::hint::select_unpredictable;

use fastrand::Rng;

/// The members of a balancer as they are at one pick.
pub trait Members {
    /// Whether one is left out. The same throughout one pick.
    fn skips(&self, member: usize) -> bool;

    /// Whether none may carry much more than its share, where that is looked at.
    fn are_bounded(&self) -> bool {
        true
    }

    /// What one carries.
    fn load(&self, member: usize) -> Load;

    /// Whether nothing but failures was heard of one lately. Asked only where others are new.
    fn only_fails(&self, member: usize) -> bool {
        let _ = member;
        false
    }

    /// How much of its weight counts, of [`WHOLE`]: a new one does not get its share at once.
    fn share(&self, member: usize) -> u32 {
        let _ = member;
        WHOLE
    }

    /// How long an answer of it may take, in any unit that is the same for all; `None` if it has
    /// not answered yet. Only [`Balance::PeakEwma`](crate::config::Balance::PeakEwma) asks.
    fn delay(&self, member: usize) -> Option<f32> {
        let _ = member;
        None
    }

    /// Requests in flight at all members, or a few more: only what is usual is told by it.
    fn in_flight(&self) -> u64 {
        0
    }

    /// What all members carry. Only balancers with bounded load ask. `has_failed`: it is for one
    /// that has a penalty, so that those of the others matter.
    fn together(&self, has_failed: bool) -> Together {
        let _ = has_failed;
        Together {
            in_flight: self.in_flight(),
            penalty: 0,
            share: 1.0,
        }
    }
}

/// What all members carry together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Together {
    /// Requests in flight.
    pub in_flight: u64,
    /// All their penalties.
    pub penalty: u64,
    /// How much of their weights counts: less than 1 where some are new.
    pub share: f32,
}

/// What a member carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in flight.
    pub in_flight: u32,
    /// What its failures count as, in parts of a request: [`REQUEST`] of them are one.
    pub penalty: u32,
}

/// What a member carries, and for which share of the traffic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighed {
    load: u64,
    weight: u64,
}

impl Load {
    /// Both together, in parts of a request.
    pub(super) fn sum(self) -> u64 {
        u64::from(self.in_flight) * REQUEST + u64::from(self.penalty)
    }

    /// The same, with what the penalty is beyond that counted by its logarithm.
    ///
    /// Failures come with requests, and what they count for with their rate, which has no bound.
    /// Where all fail now and then, the differences between them would be more than anything that
    /// is in flight: who failed a little less by chance would get everything. Whoever fails more
    /// stays the heavier one, and one that fails alone comes after all others, as long as these
    /// carry no more than `beyond` for such a weight.
    #[cold]
    pub(super) fn damped(self, beyond: u64) -> u64 {
        let penalty = u64::from(self.penalty);
        if penalty <= beyond {
            return self.sum();
        }
        let (penalty, beyond) = (lossy(penalty), lossy(beyond));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "less than the penalty"
        )]
        let damped = (beyond * (1.0 + (penalty / beyond).ln())) as u64;
        u64::from(self.in_flight) * REQUEST + damped
    }
}

impl From<u32> for Load {
    fn from(in_flight: u32) -> Self {
        Self {
            in_flight,
            penalty: 0,
        }
    }
}

impl Weighed {
    /// `load`: in parts of a request ([`Load::sum`]).
    pub(super) fn new(load: u64, weight: u64) -> Self {
        Self { load, weight }
    }

    pub(super) fn weight(self) -> u64 {
        self.weight
    }

    /// The other one if that is told, else this one.
    pub(super) fn or(self, other: Self, is_other: bool) -> Self {
        Self {
            load: select_unpredictable(is_other, other.load, self.load),
            weight: select_unpredictable(is_other, other.weight, self.weight),
        }
    }

    /// Whether this one carries less for its weight than the other.
    pub(super) fn is_lighter_than(self, other: Self) -> bool {
        // Weights up to 1,000 times 256, loads up to 2^41: far from an overflow.
        self.load * other.weight < other.load * self.weight
    }
}

/// A member's weight as far as it counts by now, in parts of [`WHOLE`].
pub(super) fn weight_now<M: Members>(members: &M, member: usize, weight: u32) -> u64 {
    u64::from(weight) * u64::from(members.share(member).clamp(1, WHOLE))
}

/// Whether a member that was drawn by its weight is taken: always, or with the probability of the
/// share that counts by now. So no order and no table has to be made anew while that grows.
pub(super) fn takes<M: Members>(members: &M, member: usize, random: &mut Rng) -> bool {
    let share = members.share(member);
    share >= WHOLE || random.u32(..WHOLE) < share
}

/// Whether a member may take the place of one that was drawn before it. One that is new may not
/// take that of one that is not: so all who are new get what their weights are drawn for and no
/// more, however light they are, and however much the others are asked. But for those of which
/// nothing but failures is heard: no client is served by sparing it that.
pub(super) fn may_replace<M: Members>(members: &M, member: usize, drawn: usize) -> bool {
    !is_new(members, member) || is_new(members, drawn) || members.only_fails(drawn)
}

/// Whether not all of its weight counts yet.
pub(super) fn is_new<M: Members>(members: &M, member: usize) -> bool {
    members.share(member) < WHOLE
}

#[expect(
    clippy::cast_precision_loss,
    reason = "loads are compared, not added up"
)]
pub(super) fn lossy(number: u64) -> f32 {
    number as f32
}

/// All of a weight counts.
pub const WHOLE: u32 = 256;

/// Parts of a request in which loads are compared.
pub const REQUEST: u64 = 256;
