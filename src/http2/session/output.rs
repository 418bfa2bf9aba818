//! What is to be sent, within bounds.

use super::entry::Wanted;
use super::{SendWindow, Session};
use crate::http2::frame::{HEADER, MAX_FRAME};
use crate::net::{Buffer, LARGE_BUFFER};

impl Session {
    /// Where frames go.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        self.output.get_or_insert_with(Buffer::take)
    }

    /// Bytes that have not left.
    pub(in crate::http2) fn output(&self) -> &[u8] {
        match &self.output {
            Some(output) => &output[self.left..],
            None => &[],
        }
    }

    /// So many bytes have left. Streams that waited for their room are woken.
    pub(in crate::http2) fn sent(&mut self, count: usize) {
        self.left += count;
        if self.output().is_empty() {
            self.output = None;
            self.left = 0;
        }
        if self.has_room() {
            self.wake_queued();
        }
    }

    /// Whether bodies may be added. What must be said may be added in any case.
    pub(super) fn has_room(&self) -> bool {
        self.output().len() < ENOUGH
    }

    /// Whether so much is to be sent that nothing more should be read: the other end does not take
    /// what it makes us say.
    pub(in crate::http2) fn is_flooded(&self) -> bool {
        self.output().len() >= FLOODED
    }

    /// Bytes of one DATA frame that may be added now.
    pub(super) fn room(&self, window: SendWindow) -> usize {
        let room = window.room().min(self.send.room()).min(self.peer.max_frame);
        if self.has_room() { room } else { 0 }
    }

    /// Makes room for a frame of a body without letting the buffer grow past what is recycled.
    pub(super) fn make_room(&mut self, payload: usize) {
        let wanted = HEADER + payload;
        let Some(output) = &mut self.output else {
            if wanted > MAX_FRAME {
                self.output = Some(Buffer::take_large());
            }
            return;
        };
        if output.len() + wanted <= output.capacity() {
            return;
        }
        output.drain(..self.left);
        self.left = 0;
        let there = output.len();
        if there + wanted > output.capacity() && there + wanted <= LARGE_BUFFER {
            let mut large = Buffer::take_large();
            large.extend_from_slice(output);
            *output = large;
        }
    }

    /// Has a stream woken when there is room in the connection.
    pub(super) fn queue(&mut self, id: u32) {
        if let Some(entry) = self.streams.get(id)
            && !entry.is_queued
        {
            entry.is_queued = true;
            self.queue.push_back(id);
        }
    }

    /// Wakes those that wait for room in the connection, as far as there is what they wait for.
    pub(super) fn wake_queued(&mut self) {
        let has_window = self.send.room() > 0;
        for _ in 0..self.queue.len() {
            let Some(id) = self.queue.pop_front() else {
                return;
            };
            let Some(entry) = self.streams.get(id) else {
                continue;
            };
            if !has_window && !entry.wants(Wanted::Turn) {
                self.queue.push_back(id);
                continue;
            }
            entry.is_queued = false;
            entry.wake(Wanted::Turn);
            entry.wake(Wanted::Room);
        }
    }
}

/// Bytes to be sent from which on bodies wait: a further frame still fits a large buffer.
const ENOUGH: usize = LARGE_BUFFER - MAX_FRAME - HEADER;

/// As [`ENOUGH`], of what the other end makes us say.
const FLOODED: usize = LARGE_BUFFER;
