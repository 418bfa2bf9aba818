//! The record of a second attempt beside the first.

use super::{Kept, Record};

impl Record {
    /// A second attempt is made, beside the one that goes there.
    pub(in crate::protocol::http) fn another_attempt(&self) {
        self.attempts.set(self.attempts.get() + 1);
    }

    /// A record of that attempt alone: it is neither counted nor logged.
    pub(in crate::protocol::http) fn beside(&self) -> Self {
        let record = Self::new(self.method.clone(), self.started);
        record.kept.set(Kept::Wholly);
        record.client.set(self.client.get());
        record.scheme.set(self.scheme.get());
        record
    }

    /// Takes over where the answer came from.
    pub(in crate::protocol::http) fn adopt(&self, beside: &Self) {
        self.connect.set(beside.connect.get());
        self.first_byte.set(beside.first_byte.get());
        *self.target.borrow_mut() = beside.target.take();
    }
}
