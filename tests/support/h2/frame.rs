//! A frame (RFC 9113 §4.1), and the numbers of the protocol.

use super::hpack::{self, Fields};

/// A frame as it is sent, or as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
    /// Of a head that came: what it says.
    pub(crate) fields: Fields,
}

impl Frame {
    /// Any frame.
    pub(crate) fn new(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.as_ref().to_vec(),
            fields: Fields::new(),
        }
    }

    /// A head.
    pub(crate) fn headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        stream: u32,
        fields: &[(N, V)],
        ends: bool,
    ) -> Self {
        Self::head(stream, hpack::block(fields), ends)
    }

    /// A head of these bytes.
    pub(crate) fn head(stream: u32, block: impl AsRef<[u8]>, ends: bool) -> Self {
        let flags = flag::END_HEADERS | if ends { flag::END_STREAM } else { 0 };
        Self::new(kind::HEADERS, flags, stream, block)
    }

    /// A piece of a body.
    pub(crate) fn data(stream: u32, bytes: impl AsRef<[u8]>, ends: bool) -> Self {
        let flags = if ends { flag::END_STREAM } else { 0 };
        Self::new(kind::DATA, flags, stream, bytes)
    }

    /// SETTINGS.
    pub(crate) fn settings_of(settings: &[(u16, u32)]) -> Self {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        Self::new(kind::SETTINGS, 0, 0, payload)
    }

    /// `RST_STREAM`.
    pub(crate) fn reset(stream: u32, code: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, code.to_be_bytes())
    }

    /// GOAWAY.
    pub(crate) fn goaway(last: u32, code: u32, said: &str) -> Self {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        payload.extend(said.as_bytes());
        Self::new(kind::GOAWAY, 0, 0, payload)
    }

    /// PING.
    pub(crate) fn ping(payload: [u8; 8]) -> Self {
        Self::new(kind::PING, 0, 0, payload)
    }

    /// `WINDOW_UPDATE`.
    pub(crate) fn window_update(stream: u32, more: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, more.to_be_bytes())
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).expect("24 bits");
        let mut bytes = length.to_be_bytes()[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The frame that these bytes begin with, and how long it is.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let header = bytes.get(..HEADER)?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let payload = bytes.get(HEADER..HEADER + length)?;
        let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let frame = Self::new(header[3], header[4], stream & 0x7fff_ffff, payload);
        Some((frame, HEADER + length))
    }

    /// The four bytes there as a number; 0 if they are not.
    pub(crate) fn number_at(&self, place: usize) -> u32 {
        let bytes = self.payload.get(place..place + 4);
        bytes.map_or(0, |bytes| {
            bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        })
    }

    /// What SETTINGS say.
    pub(crate) fn settings(&self) -> Vec<(u16, u32)> {
        let pairs = self.payload.chunks_exact(6);
        pairs
            .map(|pair| {
                let id = u16::from_be_bytes([pair[0], pair[1]]);
                (id, u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]))
            })
            .collect()
    }

    /// The bytes of DATA, without padding.
    pub(super) fn bytes_of_data(&self) -> &[u8] {
        self.unpadded()
    }

    /// The bytes of a head, without padding and priority.
    pub(super) fn block(&self) -> &[u8] {
        let block = self.unpadded();
        let skipped = if self.flags & flag::PRIORITY == 0 {
            0
        } else {
            5
        };
        block.get(skipped..).unwrap_or_default()
    }

    fn unpadded(&self) -> &[u8] {
        if self.flags & flag::PADDED == 0 {
            return &self.payload;
        }
        let padding = self.payload.first().copied().map_or(0, usize::from);
        let end = self.payload.len().saturating_sub(padding);
        self.payload.get(1..end).unwrap_or_default()
    }
}

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0x0;
    pub(crate) const HEADERS: u8 = 0x1;
    pub(crate) const PRIORITY: u8 = 0x2;
    pub(crate) const RST_STREAM: u8 = 0x3;
    pub(crate) const SETTINGS: u8 = 0x4;
    pub(crate) const PUSH_PROMISE: u8 = 0x5;
    pub(crate) const PING: u8 = 0x6;
    pub(crate) const GOAWAY: u8 = 0x7;
    pub(crate) const WINDOW_UPDATE: u8 = 0x8;
    pub(crate) const CONTINUATION: u8 = 0x9;
    pub(crate) const PRIORITY_UPDATE: u8 = 0x10;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Error codes.
pub(crate) mod code {
    pub(crate) const NO_ERROR: u32 = 0x0;
    pub(crate) const PROTOCOL_ERROR: u32 = 0x1;
    pub(crate) const INTERNAL_ERROR: u32 = 0x2;
    pub(crate) const FLOW_CONTROL_ERROR: u32 = 0x3;
    pub(crate) const SETTINGS_TIMEOUT: u32 = 0x4;
    pub(crate) const STREAM_CLOSED: u32 = 0x5;
    pub(crate) const FRAME_SIZE_ERROR: u32 = 0x6;
    pub(crate) const REFUSED_STREAM: u32 = 0x7;
    pub(crate) const CANCEL: u32 = 0x8;
    pub(crate) const COMPRESSION_ERROR: u32 = 0x9;
    pub(crate) const CONNECT_ERROR: u32 = 0xa;
    pub(crate) const ENHANCE_YOUR_CALM: u32 = 0xb;
    pub(crate) const INADEQUATE_SECURITY: u32 = 0xc;
    pub(crate) const HTTP_1_1_REQUIRED: u32 = 0xd;
}

/// Names of settings.
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(crate) const ENABLE_PUSH: u16 = 0x2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
}

/// What a client sends first (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER: usize = 9;
