//! TLS: certificates and keys, which client gets which, whom to believe, and how a session begins.
//!
//! Problem: certificates change while connections live, and a mistake in one of them takes a
//! service down at the worst moment. So a [`Certificate`] is read and checked wholly (the key fits,
//! the names and the expiry are known) before a [`Server`] is made of it; servers are part of a
//! snapshot, and what fails leaves the one before in force.
//!
//! rustls does the protocol and aws-lc-rs the mathematics; there is no other library for either in
//! the program, and no setting to choose one.

mod authorities;
mod certificate;
mod choice;
mod client;
mod clients;
mod failure;
mod for_names;
mod hello;
mod identity;
mod key_log;
mod name;
mod offer;
mod plain;
mod revocations;
mod room;
mod server;
mod signature;
mod staple;
mod trust;
mod verify;
mod version;
mod written;

pub use authorities::{Authorities, AuthorityError, AuthorityFault, Revocations};
pub use certificate::{Certificate, CertificateError, Digest, Fault};
pub use client::{Client, ClientSettings, Material, Name, Peer, Purpose, Secured};
pub use clients::{ClientRule, Credentials};
pub use failure::Failure;
pub use for_names::ForNames;
pub use hello::{Hello, HelloReader, Unreadable};
pub use identity::base64;
pub use key_log::KeyLogging;
pub use name::server_name;
pub use offer::Offer;
pub use server::{HandshakeError, Server, Settings};
pub use staple::{Staple, Unshown};
pub use trust::{Roots, Trust, TrustError};
pub use verify::Identity;
pub use version::Version;
pub use written::{ClientError, MaterialError};

#[cfg(test)]
mod tests;
