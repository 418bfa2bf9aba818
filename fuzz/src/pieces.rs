//! How bytes are split on their way: at points and with pauses that one byte of the input chooses.
//!
//! A space sends all at once and a dot byte by byte, so that seeds can be read; any other byte is
//! the seed of a generator, so that the same input is always split alike.

use tokio::task::yield_now;

/// The pieces that some bytes are sent in.
#[derive(Debug)]
pub struct Pieces<'a> {
    bytes: &'a [u8],
    state: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Single,
    Random,
}

impl<'a> Pieces<'a> {
    /// The pieces of `bytes` that the control byte `how` chooses.
    pub fn new(how: u8, bytes: &'a [u8]) -> Self {
        let kind = match how {
            b' ' => Kind::Whole,
            b'.' if bytes.len() <= SINGLE => Kind::Single,
            _ => Kind::Random,
        };
        Self {
            bytes,
            state: u32::from(how).wrapping_mul(SPREAD) | 1,
            kind,
        }
    }

    /// The next piece, once the others have had their turns.
    pub async fn next(&mut self) -> Option<&'a [u8]> {
        if self.bytes.is_empty() {
            return None;
        }
        let (length, turns) = match self.kind {
            Kind::Whole => (self.bytes.len(), 0),
            Kind::Single => (1, 2),
            Kind::Random => {
                let most = if self.random().is_multiple_of(2) {
                    8
                } else {
                    256
                };
                (self.random() as usize % most + 1, self.random() % TURNS)
            }
        };
        let (piece, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        for _ in 0..turns {
            yield_now().await;
        }
        Some(piece)
    }

    /// Xorshift (Marsaglia 2003): enough to choose places.
    fn random(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state >> 8
    }
}

/// What is worth sending byte by byte; more would take long and find nothing else.
const SINGLE: usize = 512;

/// Turns between two pieces, at most: none joins them, and within a few everybody has seen one.
const TURNS: u32 = 6;

/// 2³² divided by the golden ratio: spreads neighbouring seeds.
const SPREAD: u32 = 0x9e37_79b9;
