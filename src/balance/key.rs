//! Hashes that stay: of names, of addresses and of what requests say.
//!
//! They have no seed, so that all instances agree on where a key belongs, today and after a
//! restart. So whoever knows the names of the members can make keys that all belong to one of them;
//! the bound on loads is what holds then.

use std::net::IpAddr;

/// What a member is known by, from its name: the same in every process.
pub fn identity(name: &str) -> u64 {
    name.bytes()
        .fold(0, |hash, byte| spread(hash ^ u64::from(byte)))
}

/// The key of a client, from its address: all that comes from there belongs together.
pub fn client_key(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [high, low] = [address.to_bits() >> 64, address.to_bits()];
            #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
            let (high, low) = (high as u64, low as u64);
            spread(high) ^ low
        }
    }
}

/// The key of a text: splitmix64 over it, eight bytes at a time in the order of little-endian
/// machines, and then over its length.
pub fn text_key(text: &[u8]) -> u64 {
    let mut hash = 0;
    for piece in text.chunks(8) {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        hash = spread(hash ^ u64::from_le_bytes(word));
    }
    hash ^ text.len() as u64
}

/// A hash of a number (splitmix64, S. Vigna): every bit of it counts in every bit of the result.
pub(super) fn spread(number: u64) -> u64 {
    let mut hash = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}
