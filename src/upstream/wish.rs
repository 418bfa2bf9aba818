//! What a pick asks for.

use tokio::time::Instant;

use super::{Haste, Mark};

/// What one pick asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) tried: &'a [u64],
    /// Endpoints that answered well lately, the last one first: what is tried again goes there
    /// rather than to any.
    pub(super) known: &'a [u64],
    /// Zones that are left alone as well.
    pub(super) far_from: &'a [u32],
    /// Whether endpoints that shed load are left alone, as they asked: by what need not be.
    pub(super) spares_shedding: bool,
    pub(super) now: Instant,
    /// The same for all that belongs to one client.
    pub(super) key: Option<u64>,
    /// The endpoint that the client is tied to, if it is.
    pub(super) tie: Option<Mark>,
    pub(super) haste: Haste,
    pub(super) takes: Takes,
}

/// What is asked of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// To carry a request, on a connection that others may share.
    Request,
    /// A connection, for nobody else.
    Connection,
}
