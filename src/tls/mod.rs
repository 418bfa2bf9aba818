//! TLS: certificates and keys, which client gets which, and how a session begins.
//!
//! Problem: certificates change while connections live, and a mistake in one of them takes a
//! service down at the worst moment. So a [`Certificate`] is read and checked wholly (the key fits,
//! the names and the expiry are known) before a [`Server`] is made of it; servers are part of a
//! snapshot, and what fails leaves the one before in force.
//!
//! rustls does the protocol and aws-lc-rs the mathematics; there is no other library for either in
//! the program, and no setting to choose one.

mod certificate;
mod choice;
mod key_log;
mod room;
mod server;
mod staple;

pub use certificate::{Certificate, CertificateError, Digest, Fault};
pub use key_log::KeyLogging;
pub use server::{HandshakeError, Server, Settings, Version};
pub use staple::{Staple, StapleFault};

#[cfg(test)]
mod tests;
