//! How many endpoints of a group are out, and how many may be.

use crate::endpoint::Health;

/// Counted once a look, however many are to be ejected.
#[derive(Debug)]
pub(super) struct Room {
    healthy: usize,
    out: usize,
    /// Those that are tried.
    tried: usize,
    most: usize,
}

impl Room {
    /// Of endpoints with these healths, of which `most` may be out. With each: whether it counts as
    /// one that is tried. One that has been half-open for long does not: where nobody picks it, it
    /// would take up a place for ever.
    pub(super) fn of(healths: impl Iterator<Item = (Health, bool)>, most: usize) -> Self {
        let mut room = Self {
            healthy: 0,
            out: 0,
            tried: 0,
            most,
        };
        for (health, is_tried) in healths {
            match health {
                Health::Healthy => room.healthy += 1,
                Health::Unhealthy | Health::Ejected => room.out += 1,
                Health::HalfOpen => room.tried += usize::from(is_tried),
                Health::Unknown => {}
            }
        }
        room
    }

    /// How many more are out than may be.
    pub(super) fn too_many(&self) -> usize {
        self.out.saturating_sub(self.most)
    }

    /// Whether one more may be out; `is_again`: one that is tried, and so carries nothing yet.
    pub(super) fn takes(&self, is_again: bool) -> bool {
        if is_again {
            self.out < self.most && self.healthy > 0
        } else {
            self.out + self.tried < self.most && self.healthy > 1
        }
    }

    /// One more is out.
    pub(super) fn take(&mut self, is_again: bool) {
        self.out += 1;
        if is_again {
            self.tried = self.tried.saturating_sub(1);
        } else {
            self.healthy -= 1;
        }
    }
}
