//! What one waits for who waits at an upstream for an endpoint to have room.
//!
//! Who finds every endpoint at its limit waits for a moment: his client would come again, and at
//! once. He waits for the upstream, and room is made at an endpoint; so all of an upstream's live
//! states share one [`Queue`](crate::queue::Queue), in all builds of it.
//!
//! Most wait for whatever endpoint has room: TCP sessions in the order of their arrival, requests
//! by the turns of their clients. Who is going to a destination of his own waits for that one, in
//! another line.

/// What one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Line {
    /// Whatever endpoint has room, for a session.
    Any,
    /// The same, for a request.
    Requests,
    /// The endpoint of this number ([`Live::id`](crate::endpoint::Live::id)). Who waits has to keep
    /// its live state: once nobody has it, it gets another number.
    Only(u64),
}
