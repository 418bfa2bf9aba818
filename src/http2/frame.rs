//! Frames (RFC 9113 §4, §6): their header, read and written, and those that are the same on every
//! connection.

use super::error::ErrorCode;

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// The stream; 0 for the connection.
    pub(super) id: u32,
}

impl Header {
    /// Reads the header that these bytes begin with, if all of it is there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let [length @ .., kind, flags, _, _, _, _] = header;
        let [.., id_1, id_2, id_3, id_4] = *header;
        let &[high, middle, low] = length;
        Some(Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind: *kind,
            flags: *flags,
            id: u32::from_be_bytes([id_1, id_2, id_3, id_4]) & HIGHEST_ID,
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the header of a frame whose payload is appended next.
pub(super) fn write_header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) {
    out.extend_from_slice(&header(length, kind, flags, id));
}

fn header(length: usize, kind: u8, flags: u8, id: u32) -> [u8; HEADER] {
    debug_assert!(length < 1 << 24, "the length of a frame has 24 bits");
    let length = u32::try_from(length).unwrap_or(0).to_be_bytes();
    let id = id.to_be_bytes();
    [
        length[1], length[2], length[3], kind, flags, id[0], id[1], id[2], id[3],
    ]
}

/// Writes SETTINGS.
pub(super) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_header(out, settings.len() * SETTING, SETTINGS, 0, 0);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes that the other end's SETTINGS are in force.
pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write_header(out, 0, SETTINGS, ACK, 0);
}

/// Writes PING, or the answer to one.
pub(super) fn write_ping(out: &mut Vec<u8>, is_ack: bool, payload: [u8; PING_LENGTH]) {
    write_header(out, PING_LENGTH, PING, if is_ack { ACK } else { 0 }, 0);
    out.extend_from_slice(&payload);
}

/// Writes `RST_STREAM`.
pub(super) fn write_reset(out: &mut Vec<u8>, id: u32, code: ErrorCode) {
    write_header(out, 4, RST_STREAM, 0, id);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Writes `WINDOW_UPDATE`.
pub(super) fn write_window_update(out: &mut Vec<u8>, id: u32, increment: u32) {
    write_header(out, 4, WINDOW_UPDATE, 0, id);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// Writes GOAWAY.
pub(super) fn write_goaway(out: &mut Vec<u8>, last: u32, code: ErrorCode, why: &str) {
    write_header(out, 8 + why.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(why.as_bytes());
}

/// Makes of a header block, which stands in `out` from `start` on behind room for one frame header,
/// HEADERS and as many CONTINUATION as it takes.
pub(super) fn close_block(out: &mut Vec<u8>, start: usize, id: u32, ends: bool, most: usize) {
    let block = out.len() - start - HEADER;
    let flags = if ends { END_STREAM } else { 0 };
    let first = block.min(most);
    let last = if first == block { END_HEADERS } else { 0 };
    let header = header(first, HEADERS, flags | last, id);
    out[start..start + HEADER].copy_from_slice(&header);
    if first == block {
        return;
    }
    // Rare: a head of more than 16 KiB.
    let rest = out.split_off(start + HEADER + first);
    let mut pieces = rest.chunks(most).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        write_header(out, piece.len(), CONTINUATION, flags, id);
        out.extend_from_slice(piece);
    }
}

/// What a client begins with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;

/// Bytes of a setting.
pub(super) const SETTING: usize = 6;

pub(super) const PING_LENGTH: usize = 8;

/// The most that a frame carries unless the receiver says otherwise; we never do.
pub(super) const MAX_FRAME: usize = 16_384;

/// The highest number of a stream, and the largest window.
pub(super) const HIGHEST_ID: u32 = (1 << 31) - 1;

/// What a window is before anything is said about it.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PUSH_PROMISE: u8 = 0x5;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;
/// RFC 9218 §7.1.
pub(super) const PRIORITY_UPDATE: u8 = 0x10;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
/// HEADERS begin with a priority.
pub(super) const HAS_PRIORITY: u8 = 0x20;

pub(super) const ENABLE_PUSH: u16 = 0x2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 8441 §3.
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let mut out = Vec::new();
        write_header(&mut out, 0x01_0203, DATA, PADDED, HIGHEST_ID);
        let header = Header::read(&out).expect("whole");
        assert_eq!((header.length, header.kind), (0x01_0203, DATA));
        assert!(header.has(PADDED) && !header.has(END_STREAM));
        assert_eq!(header.id, HIGHEST_ID);
        assert_eq!(Header::read(&out[..HEADER - 1]), None);
    }

    /// RFC 9113 §4.1: the bit before the number means nothing.
    #[test]
    fn the_reserved_bit_is_ignored() {
        let bytes = [0, 0, 0, PING, 0, 0x80, 0, 0, 1];
        assert_eq!(Header::read(&bytes).expect("whole").id, 1);
    }

    #[test]
    fn a_long_block_goes_on_in_continuations() {
        for (length, kinds) in [
            (0, vec![(0, HEADERS, END_HEADERS | END_STREAM)]),
            (10, vec![(10, HEADERS, END_HEADERS | END_STREAM)]),
            (
                25,
                vec![
                    (10, HEADERS, END_STREAM),
                    (10, CONTINUATION, 0),
                    (5, CONTINUATION, END_HEADERS),
                ],
            ),
            (
                20,
                vec![(10, HEADERS, END_STREAM), (10, CONTINUATION, END_HEADERS)],
            ),
        ] {
            let mut out = b"before".to_vec();
            let start = out.len();
            let block: Vec<u8> = (0..length).collect();
            out.extend_from_slice(&[0; HEADER]);
            out.extend_from_slice(&block);
            close_block(&mut out, start, 7, true, 10);
            let (mut at, mut read, mut found) = (start, Vec::new(), Vec::new());
            while let Some(header) = Header::read(&out[at..]) {
                assert_eq!(header.id, 7);
                found.push((header.length, header.kind, header.flags));
                read.extend_from_slice(&out[at + HEADER..at + HEADER + header.length]);
                at += HEADER + header.length;
            }
            assert_eq!((found, read, at), (kinds, block, out.len()));
        }
    }
}
