//! Accepting: who gets in, on which worker, and what happens when no more can.
//!
//! Each worker has an accept loop per listener, on a socket of its own. A connection that is let in
//! carries a [`Guard`] for as long as it lives; what is beyond the listener's limit is reset at
//! once, for a fast "no" is worth more to a client than a slow one. The kernel spreads connections
//! over workers by a hash, which knows nothing of how long they last: an overloaded worker gives a
//! new one away before it has done anything with it.

mod accept;
mod balance;
mod failure;
mod guard;

pub use accept::{Accepted, Acceptor, Current, Stop};
pub use balance::{Balance, Inbox};
pub use guard::{Guard, Ledger, Refused};
