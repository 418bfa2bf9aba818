//! Why a session with an endpoint did not come about.

use std::io;

use rustls::CertificateError;

/// Whose no it was. The words are RFC 9209's (section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The endpoint is not who it should be, or cannot prove it.
    Certificate,
    /// The endpoint is somebody else.
    Name,
    /// The endpoint said that it will not.
    Alert,
    /// What the endpoint said is no TLS, or none that is taken here.
    Protocol,
}

impl Failure {
    /// What an error means; `None` if it is none of TLS.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match inner {
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => Self::Name,
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::UnsupportedNameType => Self::Certificate,
            rustls::Error::AlertReceived(_) => Self::Alert,
            _ => Self::Protocol,
        })
    }
}
