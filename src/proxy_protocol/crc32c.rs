//! The checksum of a header (§2.2.3; RFC 4960 appendix B).

/// The checksum of these bytes, one part after the other.
pub(super) fn checksum(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    let rest = bytes.fold(u32::MAX, |rest, byte| {
        let place = (rest ^ u32::from(*byte)) & 0xff;
        TABLE[place as usize] ^ (rest >> 8)
    });
    !rest
}

/// The remainder of each byte.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 {
                POLYNOMIAL ^ (rest >> 1)
            } else {
                rest >> 1
            };
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
};

/// Castagnoli's, its bits in reverse.
const POLYNOMIAL: u32 = 0x82f6_3b78;

#[cfg(test)]
mod tests {
    use super::checksum;

    /// RFC 3720 appendix B.4, and the value that every list of checksums gives.
    #[test]
    fn it_is_the_one_of_castagnoli() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, sum) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
            (b"", 0),
        ] {
            assert_eq!(checksum(&[bytes]), sum);
            let (one, other) = bytes.split_at(bytes.len() / 2);
            assert_eq!(checksum(&[one, other]), sum);
        }
    }
}
