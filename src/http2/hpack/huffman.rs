//! The Huffman code (RFC 7541 §5.2, Appendix B).
//!
//! The code is canonical: codes of one length follow one another in the order of their symbols, and
//! shorter ones come before longer ones. So the lengths say everything, and whatever begins a code
//! is told from them when this is compiled. Nearly all symbols of fields have at most nine bits and
//! are found in one step; the others by their length.

use super::decoder::HpackError;

/// Bits that are read, the next one highest.
struct Bits<'coded> {
    window: u64,
    /// Bits in the window that are there.
    count: u32,
    rest: &'coded [u8],
}

/// What begins with nine bits.
#[derive(Clone, Copy)]
struct Quick {
    symbol: u8,
    /// 0 if the code is longer.
    length: u32,
}

/// The codes of one length.
#[derive(Clone, Copy)]
pub(super) struct Codes {
    /// The first one.
    pub(super) first: usize,
    /// How many there are.
    pub(super) count: usize,
    /// How many are shorter.
    pub(super) before: usize,
}

impl<'coded> Bits<'coded> {
    fn new(coded: &'coded [u8]) -> Self {
        Self {
            window: 0,
            count: 0,
            rest: coded,
        }
    }

    /// Has more bits in the window than the longest code, unless there are no more.
    #[inline]
    fn fill(&mut self) {
        if self.count > LONGEST {
            return;
        }
        if let Some(bytes) = self.rest.first_chunk() {
            // Of the last byte there may be a part, which is there again with the next bytes.
            self.window |= u64::from_be_bytes(*bytes) >> self.count;
            let bytes = (u64::BITS - 1 - self.count) / u8::BITS;
            self.count += bytes * u8::BITS;
            self.rest = self.rest.get(bytes as usize..).unwrap_or_default();
            return;
        }
        while let Some((&byte, rest)) = self.rest.split_first()
            && self.count <= u64::BITS - u8::BITS
        {
            self.count += u8::BITS;
            self.window |= u64::from(byte) << (u64::BITS - self.count);
            self.rest = rest;
        }
    }

    /// The first bits as a number; behind the last one there are zeros.
    #[inline]
    fn first(&self, bits: u32) -> usize {
        usize::try_from(self.window >> (u64::BITS - bits)).unwrap_or(usize::MAX)
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.window <<= bits;
        self.count -= bits;
    }

    /// What is left must be less than a byte, and the beginning of EOS: ones.
    fn check_padding(&self) -> Result<(), HpackError> {
        let ones = self.window.leading_ones();
        if self.count < u8::BITS && ones == self.count {
            Ok(())
        } else {
            Err(HpackError::Huffman)
        }
    }
}

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), HpackError> {
    out.reserve(coded.len() * 8 / SHORTEST);
    let mut bits = Bits::new(coded);
    loop {
        bits.fill();
        let quick = QUICK[bits.first(QUICK_BITS)];
        let (symbol, length) = match quick.length {
            0 => long(bits.first(LONGEST))?,
            length => (quick.symbol, length),
        };
        if length > bits.count {
            return bits.check_padding();
        }
        out.push(symbol);
        bits.skip(length);
    }
}

/// The symbol that begins `window`, which has as many bits as the longest code; and its length.
#[cold]
fn long(window: usize) -> Result<(u8, u32), HpackError> {
    let lengths = QUICK_BITS + 1..=LONGEST;
    for (length, codes) in lengths.zip(&CODES[QUICK_BITS as usize + 1..]) {
        let code = window >> (LONGEST - length);
        let Some(place) = code.checked_sub(codes.first) else {
            break;
        };
        if place < codes.count {
            // The last of all is EOS, which stands for nothing (RFC 7541 §5.2).
            let symbol = SYMBOLS.get(codes.before + place);
            return symbol
                .map(|symbol| (*symbol, length))
                .ok_or(HpackError::Huffman);
        }
    }
    Err(HpackError::Huffman)
}

/// By length.
pub(super) const CODES: [Codes; LONGEST as usize + 1] = {
    let mut all = [Codes {
        first: 0,
        count: 0,
        before: 0,
    }; LONGEST as usize + 1];
    let mut symbol = 0;
    while symbol < LENGTHS.len() {
        all[LENGTHS[symbol] as usize].count += 1;
        symbol += 1;
    }
    let mut length = 1;
    while length < all.len() {
        let shorter = all[length - 1];
        all[length].first = (shorter.first + shorter.count) << 1;
        all[length].before = shorter.before + shorter.count;
        length += 1;
    }
    all
};

/// Symbols in the order of their codes, but for EOS, which is the last one.
pub(super) const SYMBOLS: [u8; 256] = {
    let mut symbols = [0; 256];
    let mut next = [0; LONGEST as usize + 1];
    let mut symbol = 0_u8;
    loop {
        let length = LENGTHS[symbol as usize] as usize;
        symbols[CODES[length].before + next[length]] = symbol;
        next[length] += 1;
        if symbol == u8::MAX {
            break;
        }
        symbol += 1;
    }
    symbols
};

static QUICK: [Quick; 1 << QUICK_BITS] = {
    let mut all = [Quick {
        symbol: 0,
        length: 0,
    }; 1 << QUICK_BITS];
    let mut length = 1;
    while length <= QUICK_BITS {
        let codes = CODES[length as usize];
        let mut place = 0;
        while place < codes.count {
            let begins = 1 << (QUICK_BITS - length);
            let mut at = (codes.first + place) * begins;
            let end = at + begins;
            while at < end {
                all[at] = Quick {
                    symbol: SYMBOLS[codes.before + place],
                    length,
                };
                at += 1;
            }
            place += 1;
        }
        length += 1;
    }
    all
};

/// Bits that are looked up at once.
const QUICK_BITS: u32 = 9;

/// Bits of the shortest code.
const SHORTEST: usize = 5;

/// Bits of the longest code.
pub(super) const LONGEST: u32 = 30;

/// Bits of each symbol's code; the last one is EOS.
#[rustfmt::skip]
pub(super) const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
