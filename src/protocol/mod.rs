//! What is spoken on an accepted connection: HTTP, or bytes that nobody reads; what a proxy in
//! front says before that, and what endpoints are told of it; and what is done with datagrams.

pub mod by_name;
pub mod http;
mod introduction;
pub mod lately;
pub mod local;
pub mod proxied;
pub mod tcp;
pub mod tunnel;
pub mod udp;
