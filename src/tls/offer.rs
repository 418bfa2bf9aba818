//! What requests to endpoints may be sent in, as it is offered in the handshake (ALPN).

/// In what requests may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2, or HTTP/1.1 if the endpoint would rather.
    Either,
}

impl Offer {
    /// As they are offered, the preferred first.
    pub(super) fn protocols(self) -> Vec<Vec<u8>> {
        let protocols: &[&[u8]] = match self {
            Self::Http1 => &[HTTP[0]],
            Self::Http2 => &[HTTP_2],
            Self::Either => &[HTTP_2, HTTP[0]],
        };
        protocols.iter().map(|one| one.to_vec()).collect()
    }
}

/// What may be spoken where HTTP/1.1 is (IANA, TLS ALPN Protocol IDs).
pub(super) const HTTP: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// HTTP/2 within TLS (the same list).
pub(super) const HTTP_2: &[u8] = b"h2";
