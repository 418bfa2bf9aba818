//! Whom certificates may come from: roots, of a file, of the program or of the system.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::certificate::{CertificateError, Digest, Fault, at, chain, content};

/// Roots that a chain of certificates may lead to.
#[derive(Debug, Clone)]
pub struct Trust {
    pub(super) roots: Arc<RootCertStore>,
    digest: Digest,
}

/// Where roots come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// A file, in PEM.
    File(PathBuf),
    /// Those of Mozilla's list, as this program was built with.
    Webpki,
    /// Those of the machine that this program runs on.
    System,
}

/// Why there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file that has them cannot be used.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// The system has none.
    #[error("the system has no certificates of authorities that could be read: {0}")]
    NoneInSystem(String),
}

impl Trust {
    /// Reads roots, all or none.
    pub fn read(source: &Roots) -> Result<Self, TrustError> {
        match source {
            Roots::File(path) => Ok(Self::of_file(path)?),
            Roots::Webpki => Ok(Self::of_program()),
            Roots::System => Self::of_system(),
        }
    }

    /// What tells them from any others.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn of_file(path: &Path) -> Result<Self, CertificateError> {
        let pem = content(path).map_err(at(path))?;
        let certificates = chain(&pem).map_err(at(path))?;
        let digest = Digest::of(certificates.iter().map(AsRef::as_ref));
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.into_iter().enumerate() {
            roots.add(certificate).map_err(|error| {
                at(path)(Fault::Malformed {
                    position: index + 1,
                    why: error.to_string(),
                })
            })?;
        }
        Ok(Self::new(roots, digest))
    }

    fn of_program() -> Self {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        // They change with the program alone.
        Self::new(roots, Digest::of([]))
    }

    /// What cannot be read there is left out: a store of hundreds is no file of ours.
    fn of_system() -> Result<Self, TrustError> {
        let found = rustls_native_certs::load_native_certs();
        let mut certificates = found.certs;
        // The folders that hold them have no order.
        certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
        let mut roots = RootCertStore::empty();
        let digest = Digest::of(certificates.iter().map(CertificateDer::as_ref));
        let (taken, _) = roots.add_parsable_certificates(certificates);
        if taken == 0 {
            let errors = found.errors.iter().map(ToString::to_string);
            let errors = errors.collect::<Vec<_>>().join("; ");
            let why = if errors.is_empty() {
                "there are none where systems keep them".to_owned()
            } else {
                errors
            };
            return Err(TrustError::NoneInSystem(why));
        }
        Ok(Self::new(roots, digest))
    }

    fn new(roots: RootCertStore, digest: Digest) -> Self {
        Self {
            roots: Arc::new(roots),
            digest,
        }
    }
}
