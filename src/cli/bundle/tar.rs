//! A tar archive of small texts, in the form that every tar reads (POSIX.1-1988 ustar).

/// An archive that is being made, in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    /// Adds a file. Its name has at most 100 bytes: what is longer is cut.
    pub(super) fn add(&mut self, name: &str, content: &[u8], seconds: u64) {
        let mut header = [0_u8; BLOCK];
        let name = &name.as_bytes()[..name.len().min(100)];
        header[..name.len()].copy_from_slice(name);
        octal(&mut header[100..108], 0o600); // what it tells of is nobody else's business
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        octal(&mut header[124..136], content.len() as u64);
        octal(&mut header[136..148], seconds);
        header[148..156].fill(b' ');
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut header[148..155], sum); // and a blank
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        let filled = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(filled, 0);
    }

    /// The archive, with its end.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let end = self.bytes.len() + 2 * BLOCK;
        self.bytes.resize(end, 0);
        self.bytes
    }
}

/// A number in octal digits, with a zero byte behind them. What does not fit is the most that does.
fn octal(field: &mut [u8], number: u64) {
    let digits = field.len() - 1;
    let most = 8_u64.checked_pow(u32::try_from(digits).unwrap_or(u32::MAX));
    let number = most.map_or(number, |most| number.min(most - 1));
    let text = format!("{number:0digits$o}");
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

const BLOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_as_the_standard_has_it() {
        let mut archive = Archive::default();
        archive.add("a/b.txt", b"hello", 1_700_000_000);
        let bytes = archive.finish();
        assert_eq!(bytes.len(), 512 * 4);
        assert_eq!(&bytes[..8], b"a/b.txt\0");
        assert_eq!(&bytes[124..136], b"00000000005\0");
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        let mut header = bytes[..512].to_vec();
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(&bytes[148..156], format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(&bytes[512..517], b"hello");
    }
}
