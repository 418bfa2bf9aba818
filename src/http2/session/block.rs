//! A head that comes in several frames.
//!
//! Compression makes it state of the connection: a head that is too large must be decompressed all
//! the same, or the connection cannot go on. So much more is kept of it than is ever served. Large
//! ones are few: what a worker keeps of all connections together is bounded, and who comes to that
//! bound ends. Clients and endpoints have bounds of their own: what the former keep begun must not
//! cost the latter their connections.

use std::cell::Cell;
use std::thread::LocalKey;

use super::Role;

/// A head that has not come wholly.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: u32,
    pub(super) ends: bool,
    /// Whether the stream depends on itself, for which it is reset (RFC 7540 §5.3.1).
    pub(super) is_own_parent: bool,
    pub(super) bytes: Vec<u8>,
    frames: usize,
    /// Which end we are: that of a client's head, or of an endpoint's.
    role: Role,
    /// Held as long as it is a large one.
    large: Option<Large>,
}

/// No more of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// One of the worker's large heads.
#[derive(Debug)]
struct Large(Role);

impl Block {
    /// A head whose first frame came.
    pub(super) fn begin(
        role: Role,
        id: u32,
        (ends, is_own_parent): (bool, bool),
        first: &[u8],
    ) -> Self {
        Self {
            role,
            id,
            ends,
            is_own_parent,
            bytes: first.to_vec(),
            frames: 1,
            large: None,
        }
    }

    /// Takes what a further frame carries.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<(), Full> {
        self.bytes.extend_from_slice(payload);
        self.frames += 1;
        let length = self.bytes.len();
        let filled = self.frames * LEAST_IN_FRAME;
        if length > LARGEST || filled > length + SHORT_FRAMES * LEAST_IN_FRAME {
            return Err(Full);
        }
        if length > LARGE && self.large.is_none() {
            self.large = Some(Large::take(self.role).ok_or(Full)?);
        }
        Ok(())
    }
}

impl Large {
    fn take(role: Role) -> Option<Self> {
        let taken = there(role).with(|there| {
            let is_room = there.get() < AT_MOST;
            there.set(there.get() + usize::from(is_room));
            is_room
        });
        taken.then(|| Self(role))
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        // An error is a thread that ends.
        let _ = there(self.0).try_with(|there| there.set(there.get() - 1));
    }
}

/// Where those are counted that come to this role.
fn there(role: Role) -> &'static LocalKey<Cell<usize>> {
    match role {
        Role::Server => &OF_CLIENTS,
        Role::Client => &OF_ENDPOINTS,
    }
}

thread_local! {
    static OF_CLIENTS: Cell<usize> = const { Cell::new(0) };
    static OF_ENDPOINTS: Cell<usize> = const { Cell::new(0) };
}

/// What the frames of a head carry on average, at the least, but for the first few. Honest ones are
/// full but for the last.
const LEAST_IN_FRAME: usize = 1024;

/// Frames of a head that may be shorter.
const SHORT_FRAMES: usize = 16;

/// Bytes from which on a head counts as a large one; four times what is served by default.
const LARGE: usize = 64 * 1024;

/// Bytes of a head at most, compressed: more than clients are known to send by mistake.
const LARGEST: usize = 256 * 1024;

/// Large heads that a worker keeps at once of clients, and of endpoints: 16 MiB of each.
const AT_MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Block {
        of(Role::Server)
    }

    fn of(role: Role) -> Block {
        Block::begin(role, 1, (true, false), &[0; 16 * 1024])
    }

    fn fill(block: &mut Block, bytes: usize) -> Result<(), Full> {
        (0..bytes.div_ceil(16 * 1024)).try_for_each(|_| block.add(&[0; 16 * 1024]))
    }

    #[test]
    fn a_head_of_many_small_frames_is_none() {
        let mut block = block();
        let frames = (0..1_000).take_while(|_| block.add(&[0; 10]).is_ok());
        assert!(frames.count() < 40);
    }

    #[test]
    fn a_large_head_is_taken_and_one_without_end_is_not() {
        let mut block = block();
        assert_eq!(fill(&mut block, 128 * 1024), Ok(()));
        assert_eq!(fill(&mut block, 256 * 1024), Err(Full));
    }

    #[test]
    fn large_heads_are_few() {
        let mut large: Vec<Block> = (0..AT_MOST).map(|_| block()).collect();
        for block in &mut large {
            assert_eq!(fill(block, LARGE), Ok(()));
        }
        let mut further = block();
        assert_eq!(fill(&mut further, LARGE), Err(Full));
        let mut response = of(Role::Client);
        assert_eq!(fill(&mut response, LARGE), Ok(()), "clients took theirs");
        large.pop();
        assert_eq!(further.add(&[0; 1024]), Ok(()), "one has gone");
    }
}
