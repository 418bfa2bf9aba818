//! What comes: the preface, then frame after frame.

use super::{Fault, Phase, Session};
use crate::http2::error::ErrorCode;
use crate::http2::frame::{
    CONTINUATION, HEADER, HEADERS, Header, MAX_FRAME, PREFACE, PRIORITY, SETTINGS,
};
use crate::time::Instant;

impl Session {
    /// Takes in what came, as far as it is whole frames and not too many, and says how many bytes
    /// that were: what is left may be looked at again once others had their turn. The error ends
    /// the session; the caller says so with [`Session::end`].
    pub(in crate::http2) fn receive(&mut self, input: &[u8], now: Instant) -> Result<usize, Fault> {
        let mut at = 0;
        if let Phase::Preface(seen) = self.phase {
            at = self.preface(seen, input)?;
        }
        let mut frames = 0;
        while frames < FRAMES && !matches!(self.phase, Phase::Preface(_) | Phase::Over) {
            frames += 1;
            let rest = &input[at..];
            let Some(header) = Header::read(rest) else {
                break;
            };
            self.check(header)?;
            let Some(payload) = rest.get(HEADER..HEADER + header.length) else {
                break;
            };
            self.frame(header, payload, now)?;
            at += HEADER + header.length;
        }
        Ok(at)
    }

    /// Whether these bytes begin with a whole frame.
    pub(in crate::http2) fn is_whole(rest: &[u8]) -> bool {
        Header::read(rest).is_some_and(|header| rest.len() >= HEADER + header.length)
    }

    /// Whether what came last and is not whole is the beginning of a head.
    pub(in crate::http2) fn is_head(rest: &[u8]) -> bool {
        Header::read(rest).is_some_and(|header| matches!(header.kind, HEADERS | CONTINUATION))
    }

    fn preface(&mut self, seen: usize, input: &[u8]) -> Result<usize, Fault> {
        let wanted = &PREFACE[seen..];
        let there = wanted.len().min(input.len());
        if wanted[..there] != input[..there] {
            return Err(Fault::protocol("no HTTP/2 preface"));
        }
        self.phase = if there == wanted.len() {
            Phase::Settings
        } else {
            Phase::Preface(seen + there)
        };
        Ok(there)
    }

    /// What can be told by the header alone.
    fn check(&self, header: Header) -> Result<(), Fault> {
        if self.phase == Phase::Settings && (header.kind != SETTINGS || header.flags & 1 != 0) {
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        if header.length > MAX_FRAME {
            let code = ErrorCode::FRAME_SIZE_ERROR;
            return Err(Fault::of(code, "a frame of more than 16 KiB"));
        }
        match &self.block {
            Some(block) if header.kind != CONTINUATION || header.id != block.id => {
                Err(Fault::protocol("a head is interrupted by another frame"))
            }
            None if header.kind == CONTINUATION => {
                Err(Fault::protocol("CONTINUATION without a head before it"))
            }
            Some(_) | None if header.kind == PRIORITY && header.id == 0 => {
                Err(Fault::protocol("PRIORITY on stream 0"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Frames that are taken in at once: a small one may be a request.
const FRAMES: usize = 256;
