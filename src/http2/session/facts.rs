//! What is known of a stream, for those who hold it.

use super::Session;
use crate::http2::error::StreamError;
use crate::http2::frame::HIGHEST_ID;

impl Session {
    /// Whether all that the other end says came and was taken.
    pub(in crate::http2) fn has_ended(&mut self, id: u32) -> bool {
        self.streams.get(id).is_none_or(|entry| {
            entry.has_received && entry.body.is_empty() && entry.trailers.is_none()
        })
    }

    /// What is still to come or to be taken of a body, if that is known.
    pub(in crate::http2) fn left(&mut self, id: u32) -> Option<u64> {
        let entry = self.streams.get(id)?;
        let there = entry.body.len() as u64;
        if entry.has_received {
            return Some(there);
        }
        Some(entry.left? + there)
    }

    /// Whether all of our side was said.
    pub(in crate::http2) fn has_sent(&mut self, id: u32) -> bool {
        self.streams.get(id).is_none_or(|entry| entry.has_sent)
    }

    /// Whether our side is whole, and the other end should be let say the rest of its own.
    pub(in crate::http2) fn may_say_rest(&mut self, id: u32) -> bool {
        let entry = self.streams.get(id);
        entry.is_some_and(|entry| entry.may_say_rest())
    }

    pub(in crate::http2) fn received(&mut self, id: u32) -> u64 {
        self.streams.get(id).map_or(0, |entry| entry.received)
    }

    pub(in crate::http2) fn broken(&mut self, id: u32) -> Option<StreamError> {
        self.streams
            .get(id)
            .map_or(Some(StreamError::Ended), |entry| entry.error)
    }

    /// Whether the other end has said which stream was its last, and others up to that are under
    /// way. Looks at each of them.
    pub(in crate::http2) fn has_taken_some(&mut self) -> bool {
        let last = self.left_after.filter(|last| *last < HIGHEST_ID);
        last.is_some_and(|last| self.is_one_under_way(last))
    }

    /// Whether the other end has refused a stream, and others before that are under way: those it
    /// took. Looks at each of them.
    pub(in crate::http2) fn keeps_some(&mut self) -> bool {
        self.refused_until > 0 && self.is_one_under_way(self.refused_until)
    }

    fn is_one_under_way(&mut self, last: u32) -> bool {
        let mut streams = self.streams.each();
        streams.any(|(id, entry)| id <= last && entry.error.is_none())
    }
}
