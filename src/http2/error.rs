//! What goes wrong: codes of the protocol (RFC 9113 §7), and what ends a stream.

use std::fmt;

/// An error code, as `RST_STREAM` and GOAWAY carry it. Unknown ones are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: Self = Self(0x0);
    /// A rule of the protocol is broken.
    pub const PROTOCOL_ERROR: Self = Self(0x1);
    /// Something failed that is not the other end's doing.
    pub const INTERNAL_ERROR: Self = Self(0x2);
    /// A window was overrun, or grew beyond 2³¹ − 1.
    pub const FLOW_CONTROL_ERROR: Self = Self(0x3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: Self = Self(0x4);
    /// A frame came for a stream that is closed.
    pub const STREAM_CLOSED: Self = Self(0x5);
    /// A frame has a size that it cannot have.
    pub const FRAME_SIZE_ERROR: Self = Self(0x6);
    /// The stream was refused before anything was done.
    pub const REFUSED_STREAM: Self = Self(0x7);
    /// Nobody wants the stream any more.
    pub const CANCEL: Self = Self(0x8);
    /// The state of header compression cannot be kept.
    pub const COMPRESSION_ERROR: Self = Self(0x9);
    /// What a CONNECT led to was reset.
    pub const CONNECT_ERROR: Self = Self(0xa);
    /// The other end does too much that leads nowhere.
    pub const ENHANCE_YOUR_CALM: Self = Self(0xb);
    /// The transport is not safe enough.
    pub const INADEQUATE_SECURITY: Self = Self(0xc);
    /// Only HTTP/1.1 will do.
    pub const HTTP_1_1_REQUIRED: Self = Self(0xd);

    /// Its name in RFC 9113 §7.
    pub fn name(self) -> &'static str {
        NAMES.get(self.0 as usize).copied().unwrap_or("unknown")
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:x})", self.name(), self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a stream ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The other end reset it.
    #[error("the other end reset the stream: {0}")]
    Reset(ErrorCode),
    /// The other end has surely done nothing with it: `REFUSED_STREAM`, or GOAWAY with a lower
    /// number (RFC 9113 §8.7).
    #[error("the other end took no notice of the stream")]
    Unprocessed,
    /// The other end broke a rule on this stream, and we reset it.
    #[error("the stream is malformed: {0}")]
    Malformed(ErrorCode),
    /// We reset it, for a reason of ours.
    #[error("the stream was given up: {0}")]
    GivenUp(ErrorCode),
    /// The connection ended, or broke, under the stream.
    #[error("the connection ended")]
    Ended,
}

/// What a client can do too much of. Each is counted, and ends the connection with
/// `ENHANCE_YOUR_CALM`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abuse {
    /// Streams opened and reset at once (CVE-2023-44487).
    RapidReset,
    /// Streams that we had to reset (CVE-2025-8671).
    MadeYouReset,
    /// A head in frames without end, or beyond all limits.
    Continuation,
    /// PING.
    Ping,
    /// SETTINGS.
    Settings,
    /// PRIORITY and `PRIORITY_UPDATE`.
    Priority,
    /// DATA without bytes.
    EmptyData,
    /// `WINDOW_UPDATE` for next to nothing.
    WindowUpdate,
    /// Frames of unknown types.
    UnknownFrame,
    /// Streams beyond the limit that was announced.
    RefusedStream,
    /// Heads that are decoded into more than may come.
    HeaderList,
    /// Nothing of what we say is taken.
    Stalled,
}

impl Abuse {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::RapidReset,
        Self::MadeYouReset,
        Self::Continuation,
        Self::Ping,
        Self::Settings,
        Self::Priority,
        Self::EmptyData,
        Self::WindowUpdate,
        Self::UnknownFrame,
        Self::RefusedStream,
        Self::HeaderList,
        Self::Stalled,
    ];

    /// Its word in metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::RapidReset => "rapid_reset",
            Self::MadeYouReset => "made_you_reset",
            Self::Continuation => "continuation",
            Self::Ping => "ping",
            Self::Settings => "settings",
            Self::Priority => "priority",
            Self::EmptyData => "empty_data",
            Self::WindowUpdate => "window_update",
            Self::UnknownFrame => "unknown_frame",
            Self::RefusedStream => "refused_stream",
            Self::HeaderList => "header_list",
            Self::Stalled => "stalled",
        }
    }
}

const NAMES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];
