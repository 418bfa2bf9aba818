//! From what was written about endpoints to what is meant.

use rustls::pki_types::ServerName;

use super::certificate::{Certificate, CertificateError};
use super::client::{ClientSettings, Material, Name};
use super::key_log::KeyLogging;
use super::name::server_name;
use super::offer::Offer;
use super::trust::{Roots, Trust, TrustError};
use super::verify::Identity;
use super::version::Version;
use crate::config::{PublicRoots, ServerNameFrom, TlsVersion, UpstreamProtocol, UpstreamTls};

/// What of an upstream's files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// Whom to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// What to show. With it, whether it is in the key.
    #[error("{error}")]
    Certificate {
        /// What is wrong.
        error: CertificateError,
        /// Whether it is in the key.
        in_key: bool,
    },
    /// It was not found out.
    #[error("{0}")]
    Fault(String),
}

/// What is wrong with the settings of an upstream's TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Of `server_name`.
    #[error("`{0}` is not a name that can be asked for")]
    Name(String),
    /// Of `san`.
    #[error("`{0}` is neither a name of a host, nor an address, nor a URI")]
    San(String),
}

impl ClientSettings {
    /// What the author of an upstream wrote.
    pub fn new(
        written: &UpstreamTls,
        protocol: UpstreamProtocol,
        key_logging: KeyLogging,
    ) -> Result<Self, ClientError> {
        let identity = |san: &String| Identity::new(san).ok_or(ClientError::San(san.clone()));
        let identities: Result<Vec<_>, _> = written.san.iter().map(identity).collect();
        Ok(Self {
            written: written.clone(),
            min_version: Version::from(written.min_version),
            name: name(written)?,
            identities: identities?,
            key_logging,
            alpn: Some(written.alpn.clone()).filter(|alpn| !alpn.is_empty()),
            offer: match protocol {
                UpstreamProtocol::Http1 | UpstreamProtocol::H2c => Offer::Http1,
                UpstreamProtocol::H2 => Offer::Http2,
                UpstreamProtocol::Auto => Offer::Either,
            },
        })
    }
}

impl Roots {
    /// The roots that the author of an upstream wants; none if any certificate will do.
    pub fn new(written: &UpstreamTls) -> Option<Self> {
        if written.insecure_skip_verify == Some(true) {
            return None;
        }
        Some(match (&written.ca, written.roots) {
            (Some(ca), _) => Self::File(ca.clone()),
            (None, Some(PublicRoots::System)) => Self::System,
            (None, Some(PublicRoots::Webpki) | None) => Self::Webpki,
        })
    }
}

impl Material {
    /// Reads what the author of an upstream names.
    pub fn read(written: &UpstreamTls) -> Result<Self, MaterialError> {
        Self::read_again(written, None)
    }

    /// Reads the files among it, and leaves the authorities that stand in none of them as they are.
    pub fn read_again(
        written: &UpstreamTls,
        trusted: Option<Trust>,
    ) -> Result<Self, MaterialError> {
        let trust = match (Roots::new(written), trusted) {
            (Some(Roots::Webpki | Roots::System), Some(trusted)) => Some(trusted),
            (roots, _) => roots.as_ref().map(Trust::read).transpose()?,
        };
        let certificate = written.certificate.as_ref().map(|own| {
            Certificate::read(&own.cert, &own.key).map_err(|error| MaterialError::Certificate {
                in_key: error.file == own.key,
                error,
            })
        });
        Ok(Self {
            trust,
            certificate: certificate.transpose()?,
        })
    }
}

impl MaterialError {
    /// The setting that names what cannot be used.
    pub fn setting(&self) -> &'static [&'static str] {
        match self {
            Self::Trust(TrustError::File(_)) => &["ca"],
            Self::Trust(TrustError::NoneInSystem(_)) => &["roots"],
            Self::Certificate { in_key: false, .. } => &["certificate", "cert"],
            Self::Certificate { in_key: true, .. } => &["certificate", "key"],
            Self::Fault(_) => &[],
        }
    }
}

impl From<Option<TlsVersion>> for Version {
    fn from(written: Option<TlsVersion>) -> Self {
        match written {
            None | Some(TlsVersion::V1_2) => Self::V1_2,
            Some(TlsVersion::V1_3) => Self::V1_3,
        }
    }
}

fn name(written: &UpstreamTls) -> Result<Name, ClientError> {
    if let Some(fixed) = &written.server_name {
        let name: Option<ServerName<'static>> = server_name(fixed);
        let name = name.ok_or_else(|| ClientError::Name(fixed.clone()))?;
        return Ok(Name::Fixed(name));
    }
    Ok(match written.server_name_from {
        None | Some(ServerNameFrom::Endpoint) => Name::OfEndpoint,
        Some(ServerNameFrom::Host) => Name::OfRequest,
    })
}
