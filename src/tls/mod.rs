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
mod client;
mod failure;
mod hello;
mod name;
mod room;
mod server;
mod trust;
mod verify;
mod version;
mod written;

pub use certificate::{Certificate, CertificateError, Digest, Fault};
pub use client::{Client, ClientSettings, Material, Name, Peer, Purpose, Secured};
pub use failure::Failure;
pub use hello::{Hello, HelloReader, Unreadable};
pub use name::server_name;
pub use server::{HandshakeError, Server, Settings};
pub use trust::{Roots, Trust, TrustError};
pub use verify::Identity;
pub use version::Version;
pub use written::{ClientError, MaterialError};

#[cfg(test)]
mod tests;
