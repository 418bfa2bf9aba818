//! Who may be picked, by health alone: a pure function of the healths and the panic threshold.

use crate::endpoint::Health;

/// How an upstream stands: which of its endpoints get the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The healthy ones.
    Healthy,
    /// Healthy backups: no other is healthy.
    Backup,
    /// Those that no probe has judged yet: none is healthy.
    Unproven,
    /// All, whatever their health: too few are healthy to carry the load.
    Panic,
    /// None: no endpoint is healthy, and health is never to be ignored.
    Down,
    /// None: there are no endpoints.
    Empty,
}

/// Who gets the traffic, as indices in ascending order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidates {
    pub(super) standing: Standing,
    pub(super) first: Vec<u32>,
    /// Healthy backups for the case that every one of the first fails at this moment.
    pub(super) reserve: Vec<u32>,
}

/// What counts about one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) health: Health,
    pub(super) backup: bool,
}

impl Standing {
    /// The word in the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Backup => "backup",
            Self::Unproven => "unproven",
            Self::Panic => "panic",
            Self::Down => "down",
            Self::Empty => "empty",
        }
    }
}

/// Chooses who may be picked. Below `panic_threshold` (a share of those that have been judged) the
/// health of the primaries is ignored; a new endpoint still waits for its first probe as long as
/// any is healthy. What is ejected is not healthy, and neither is what is half-open: that carries
/// no load yet, but must be picked to be tried.
pub(super) fn choose(members: &[Member], panic_threshold: f64) -> Candidates {
    let of = |backup: bool, health: Health| {
        select(members, |member| {
            member.backup == backup && member.health == health
        })
    };
    let usable = |backup: bool| {
        select(members, |member| {
            let is_usable = matches!(member.health, Health::Healthy | Health::HalfOpen);
            member.backup == backup && is_usable
        })
    };
    let healthy = of(false, Health::Healthy);
    if !healthy.is_empty() {
        let judged = select(members, |member| {
            !member.backup && member.health != Health::Unknown
        });
        let suffices = share(healthy.len(), judged.len()) >= panic_threshold;
        return Candidates {
            standing: if suffices {
                Standing::Healthy
            } else {
                Standing::Panic
            },
            first: if suffices { usable(false) } else { judged },
            reserve: usable(true),
        };
    }
    if !of(true, Health::Healthy).is_empty() {
        // Primaries that are half-open would never be tried otherwise.
        let first = select(members, |member| match member.health {
            Health::Healthy => true,
            Health::HalfOpen => !member.backup,
            Health::Unknown | Health::Unhealthy | Health::Ejected => false,
        });
        return Candidates::of(Standing::Backup, first);
    }
    let next_best = [
        (Standing::Unproven, of(false, Health::Unknown)),
        (Standing::Unproven, of(true, Health::Unknown)),
    ];
    for (standing, first) in next_best {
        if !first.is_empty() {
            return Candidates::of(standing, first);
        }
    }
    none_is_healthy(members, panic_threshold)
}

/// Every endpoint has been judged, and none is healthy.
fn none_is_healthy(members: &[Member], panic_threshold: f64) -> Candidates {
    if members.is_empty() {
        return Candidates::of(Standing::Empty, Vec::new());
    }
    if panic_threshold <= 0.0 {
        let tried = select(members, |member| member.health == Health::HalfOpen);
        return Candidates::of(Standing::Down, tried);
    }
    if members.iter().all(|member| member.backup) {
        return Candidates::of(Standing::Panic, select(members, |_| true));
    }
    // Backups that are half-open would never be tried otherwise, and may be the only ones that
    // work.
    let first = select(members, |member| {
        !member.backup || member.health == Health::HalfOpen
    });
    Candidates::of(Standing::Panic, first)
}

/// The places of those that are wanted.
fn select(members: &[Member], is_wanted: impl Fn(Member) -> bool) -> Vec<u32> {
    (0_u32..)
        .zip(members)
        .filter_map(|(place, &member)| is_wanted(member).then_some(place))
        .collect()
}

impl Candidates {
    fn of(standing: Standing, first: Vec<u32>) -> Self {
        Self {
            standing,
            first,
            reserve: Vec::new(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the share of a number of endpoints, far below 2^52"
)]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests;
