//! Whether an endpoint is who it should be.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::name::server_name;

/// A name that a certificate may be for (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// That of a host, which a wildcard in the certificate may cover (RFC 9525 §6.3).
    Host(ServerName<'static>),
    /// Such as `spiffe://example.org/api`; the same to the byte.
    Uri(Box<str>),
}

/// What a certificate has to be.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: whatever it is.
    roots: Option<Arc<RootCertStore>>,
    /// One of these, if there are any; else the name that was asked for.
    identities: Box<[Identity]>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Identity {
    /// A name as written: of a host, an address, or a URI.
    pub fn new(written: &str) -> Option<Self> {
        if written.contains("://") || written.starts_with("urn:") {
            return Some(Self::Uri(written.into()));
        }
        server_name(written).map(Self::Host)
    }

    fn is_in(&self, certificate: &ParsedCertificate<'_>, uris: &[String]) -> bool {
        match self {
            Self::Host(name) => verify_server_name(certificate, name).is_ok(),
            Self::Uri(uri) => uris.iter().any(|one| **one == **uri),
        }
    }
}

impl Verifier {
    pub(super) fn new(roots: Option<Arc<RootCertStore>>, identities: &[Identity]) -> Arc<Self> {
        let provider = aws_lc_rs::default_provider();
        Arc::new(Self {
            roots,
            identities: identities.into(),
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
        if self.identities.is_empty() {
            verify_server_name(&parsed, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let uris = uris(certificate);
        let mut identities = self.identities.iter();
        if identities.any(|one| one.is_in(&parsed, &uris)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The URIs that a certificate is for.
fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = x509_cert::Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let names = parsed.tbs_certificate().get_extension::<SubjectAltName>();
    let Ok(Some((_, names))) = names else {
        return Vec::new();
    };
    let uri = |name: &GeneralName| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    };
    names.0.iter().filter_map(uri).collect()
}
