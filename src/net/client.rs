//! What a session asked of its client, and who the client showed itself to be.

use super::stream::Stream;

/// Of a session in which a certificate was asked for.
#[derive(Debug)]
pub struct ClientFacts {
    /// The rule by which it was asked for.
    pub rule: RuleKey,
    /// The certificate that it showed, which somebody of that rule certified.
    pub certificate: Option<ClientCertificate>,
}

/// What a client's certificate says, each but for the common name in a form that is safe in a field
/// and in a log: visible ASCII and spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its subject, as RFC 4514 writes names.
    pub subject: Box<str>,
    /// The common name of its subject, as it is and not made safe for anything, if it has one.
    pub common_name: Option<Box<str>>,
    /// Its other names (subjectAltName), each with its kind in front: `DNS:`, `URI:`, `email:` and
    /// `IP:`.
    pub names: Box<[Box<str>]>,
    /// The same as a list of strings (RFC 9651 §3.1).
    pub list_of_names: Box<str>,
    /// Its SPIFFE id, if it has exactly one.
    pub spiffe_id: Option<Box<str>>,
    /// The SHA-256 digest of the whole, in small hexadecimal digits.
    pub fingerprint: Box<str>,
    /// The whole as a sequence of bytes (RFC 9651 §3.3.5), where endpoints are to get it.
    pub whole: Option<Box<str>>,
}

/// Tells what one rule for clients asks from what another does, as they are written: it stays when
/// the content of the rule's files changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleKey(pub [u8; 32]);

impl Stream {
    /// What is known of the client, where it was asked for a certificate.
    #[inline]
    pub fn client(&self) -> Option<&ClientFacts> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(stream) => stream.client(),
        }
    }

    /// What the client's certificate says, if it showed one.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.client()?.certificate.as_ref()
    }
}
