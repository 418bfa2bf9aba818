//! First healthy: always the first member in the order of the file, for a primary with standbys.

use super::Members;

/// Picks the first member that is not skipped.
#[derive(Debug)]
pub(super) struct FirstHealthy {
    members: usize,
}

impl FirstHealthy {
    pub(super) fn new(members: usize) -> Self {
        Self { members }
    }

    pub(super) fn pick<M: Members>(&self, members: &M) -> Option<usize> {
        (0..self.members).find(|&member| !members.skips(member))
    }
}
