//! What a connection allows its other end.

/// What a connection allows its other end. All of it is told in our SETTINGS or holds at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Streams that the other end may have open. A stream counts until nobody of ours holds it.
    pub max_streams: u32,
    /// Bytes of one body that may come and not be taken.
    pub stream_window: u32,
    /// Bytes of all bodies that may be under way. What has come does not count any more, whether it
    /// was taken or not.
    pub connection_window: u32,
    /// Bytes of a head, as HTTP/1.1 would write it.
    pub head: usize,
    /// Field lines of a head.
    pub fields: usize,
    /// Whether clients may ask for extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
}
