//! What is spoken on a connection once it is accepted.

pub mod tunnel;
