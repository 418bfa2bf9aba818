//! What the log tells of a client's session of TLS that ends here.

use crate::net::Stream;
use crate::tls::Version;

/// What is told of it.
#[derive(Debug)]
pub(super) struct Terminated {
    pub(super) version: Option<&'static str>,
    /// The name that the client asked for.
    pub(super) server_name: Option<Box<str>>,
    pub(super) certificate: Option<Shown>,
}

/// What is told of the certificate that a client showed.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) subject: Box<str>,
    pub(super) fingerprint: Box<str>,
}

impl Terminated {
    /// Of a client's connection, if it is one of TLS.
    pub(super) fn on(client: &Stream) -> Option<Self> {
        client.is_secure().then(|| {
            let shown = client.client_certificate();
            let name = client.session_facts().and_then(|facts| facts.server_name);
            Self {
                version: Version::of(client).map(Version::as_str),
                server_name: name.map(Into::into),
                certificate: shown.map(|shown| Shown {
                    subject: shown.subject.clone(),
                    fingerprint: shown.fingerprint.clone(),
                }),
            }
        })
    }
}
