//! What two ends have agreed to speak within TLS (RFC 7301).

use super::stream::Stream;

/// What was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Nothing: one of the ends made no offer, or there is no session.
    None,
    /// HTTP/2.
    Http2,
    /// Something else of what we offered.
    Other,
}

impl Stream {
    /// What was agreed to be spoken here.
    pub fn alpn(&self) -> Alpn {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Alpn::None,
            Self::Tls(stream) => stream.alpn(),
        }
    }
}
