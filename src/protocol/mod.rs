//! What is spoken on an accepted connection: HTTP, or bytes that nobody reads;
//! and what is done with datagrams.

pub mod by_name;
pub mod http;
pub mod local;
pub mod tcp;
pub mod tunnel;
pub mod udp;
