//! What is known of the TLS that a client's session begins with, whether it ends here or not.

use super::Session;
use crate::net::Stream;
use crate::tls::Version;

/// What is told of it. In a box: most sessions have none.
#[derive(Debug)]
pub(super) struct Greeted {
    /// The name that the client asked for.
    pub(super) server_name: Option<Box<str>>,
    /// The version, where it ends here.
    pub(super) version: Option<&'static str>,
    pub(super) certificate: Option<Shown>,
}

/// What is told of the certificate that a client showed.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) subject: Box<str>,
    pub(super) fingerprint: Box<str>,
}

impl Greeted {
    /// By a client's connection, if it is one of TLS that ends here, or by what was read of one
    /// that does not.
    pub(super) fn with(client: &Stream, server_name: Option<Box<str>>) -> Option<Box<Self>> {
        if !client.is_secure() && server_name.is_none() {
            return None;
        }
        let asked_for = || client.session_facts()?.server_name.map(Into::into);
        let shown = client.client_certificate();
        Some(Box::new(Self {
            server_name: server_name.or_else(asked_for),
            version: Version::of(client).map(Version::as_str),
            certificate: shown.map(|shown| Shown {
                subject: shown.subject.clone(),
                fingerprint: shown.fingerprint.clone(),
            }),
        }))
    }
}

impl Session {
    /// The name that the client asked for, if it did.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.hello.as_ref()?.server_name.as_deref()
    }
}
