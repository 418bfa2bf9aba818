//! What is to be sent, within bounds.

use std::task::Context;

use super::entry::{Turn, Wanted};
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
        self.left_ever += count as u64;
        if self.output().is_empty() {
            self.output = None;
            self.left = 0;
        }
        if self.has_room() {
            self.wake_heads();
            self.call();
        }
    }

    /// Bytes that have left since the beginning.
    pub(in crate::http2) fn left_ever(&self) -> u64 {
        self.left_ever
    }

    /// Nobody takes what is there, nor what is said from now on: no stream is opened any more.
    pub(in crate::http2) fn lose_output(&mut self) {
        self.is_mute = true;
        self.output = None;
        self.left = 0;
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

    /// What makes a piece of a body worth those frames that tell of it: all that a client whose
    /// window is small lets us say at once, if that is not tiny.
    pub(super) fn worth(&self) -> usize {
        let window = self.peer.initial_window as usize;
        WORTH_A_FRAME.min(window.max(TINY_WINDOW))
    }

    /// Whether it is better to wait than to say so little of what there is: who is told of a few
    /// bytes gives back a few bytes, and so on for the rest of the body (RFC 9293 §3.8.6.2.1). Of
    /// either window so much is under way then that it will grow; if it does not, what little there
    /// is goes [in the end](Self::hurry).
    pub(super) fn is_sliver(&self, room: usize, wanted: usize) -> bool {
        let half = self.peer.initial_window as usize / 2;
        room == 0 || room < wanted.min(WORTH_A_FRAME).min(half)
    }

    /// Whether somebody waits, or has waited a moment ago, although there is a little room.
    pub(in crate::http2) fn has_slivers(&self) -> bool {
        self.waits.has_slivers
    }

    /// The windows have not grown: what there is room for goes.
    pub(in crate::http2) fn hurry(&mut self) {
        self.waits.has_slivers = false;
        let first = self.queue.pop_front();
        for (id, entry) in self.streams.each() {
            let starves = entry.turn == Turn::Starves && entry.send.room() > 0;
            if starves {
                self.waits.starving -= 1;
            }
            if starves || first == Some(id) {
                entry.turn = Turn::Hurries;
                entry.wake(Wanted::Room);
            }
        }
    }

    /// A stream waits for a window to grow.
    pub(super) fn starve(&mut self, id: u32, cx: &Context<'_>) {
        if let Some(entry) = self.streams.get(id) {
            entry.wait(cx, Wanted::Room);
            entry.turn = Turn::Starves;
            self.waits.starving += 1;
            self.waits.has_slivers |= entry.send.room() > 0;
        }
    }

    /// It does not, or no longer.
    pub(super) fn feed(&mut self, id: u32) {
        if let Some(entry) = self.streams.get(id)
            && entry.turn == Turn::Starves
        {
            entry.turn = Turn::None;
            self.waits.starving -= 1;
        }
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

    /// Has a stream called when its turn comes to add a frame of its body.
    pub(super) fn queue(&mut self, id: u32) {
        if let Some(entry) = self.streams.get(id)
            && entry.turn == Turn::None
        {
            entry.turn = Turn::Waits;
            self.queue.push_back(id);
        }
        self.call();
    }

    /// Calls streams in the order in which they came, as many as there is room for a frame of. So
    /// each says one frame, and stands behind the others for the next.
    pub(super) fn call(&mut self) {
        let left = ENOUGH.saturating_sub(self.output().len());
        let room = self.send.room();
        let is_sliver = self.is_sliver(room, usize::MAX);
        self.waits.has_slivers |= is_sliver && room > 0 && !self.queue.is_empty();
        let frames = if is_sliver {
            0
        } else {
            left.div_ceil(MAX_FRAME)
        };
        while self.called.len() < frames {
            let Some(id) = self.queue.pop_front() else {
                return;
            };
            if let Some(entry) = self.streams.get(id) {
                entry.turn = Turn::Called;
                entry.wake(Wanted::Room);
                self.called.add(id);
            }
        }
    }

    /// Whether a stream may add a frame now: it was called, or nobody stands before it, neither in
    /// the queue nor called out of it [in this round](Self::pass_turns). A turn that was called is
    /// over with it.
    pub(super) fn takes_turn(&mut self, id: u32) -> bool {
        let nobody_waits = self.queue.is_empty() && self.called.is_empty();
        let Some(entry) = self.streams.get(id) else {
            return false;
        };
        match entry.turn {
            Turn::Called => {
                entry.turn = Turn::None;
                self.called.remove(id);
                true
            }
            Turn::Hurries => {
                entry.turn = Turn::None;
                true
            }
            Turn::None => nobody_waits,
            Turn::Waits | Turn::Starves => false,
        }
    }

    /// A stream has nothing to say now: who was called after it has its turn.
    pub(super) fn leave_queue(&mut self, id: u32) {
        let Some(entry) = self.streams.get(id) else {
            return;
        };
        match std::mem::replace(&mut entry.turn, Turn::None) {
            Turn::None | Turn::Hurries => {}
            Turn::Starves => self.waits.starving -= 1,
            Turn::Waits => self.queue.retain(|waiting| *waiting != id),
            Turn::Called => {
                self.called.remove(id);
                self.call();
            }
        }
    }

    /// Wakes those that wait to say a head or an end, which need no window.
    fn wake_heads(&mut self) {
        for id in std::mem::take(&mut self.heads) {
            if let Some(entry) = self.streams.get(id) {
                entry.wake(Wanted::Turn);
            }
        }
    }
}

/// What makes a frame of a body worth those that tell of it.
pub(super) const WORTH_A_FRAME: usize = 1024;

/// A window that lets nothing through to speak of, whatever its owner says.
const TINY_WINDOW: usize = 512;

/// Bytes to be sent from which on bodies wait: a further frame still fits a large buffer.
const ENOUGH: usize = LARGE_BUFFER - MAX_FRAME - HEADER;

/// As [`ENOUGH`], of what the other end makes us say.
const FLOODED: usize = LARGE_BUFFER;
