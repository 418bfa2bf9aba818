//! A certificate with its chain and its key, read from files.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_cert::der::Decode;

use super::signature::has_signed;
use super::staple::{Staple, Unshown};

/// A certificate that a client may be shown.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The file that it was read from.
    pub file: Arc<Path>,
    /// The names that it is valid for: lower-case, some with `*.` in front.
    pub names: Arc<[Box<str>]>,
    /// Who signed it, as RFC 4514 writes names.
    pub issuer: Arc<str>,
    /// From when it is valid, and all that stand behind it.
    pub not_before: SystemTime,
    /// Until when the first of them is: clients need all.
    pub not_after: SystemTime,
    /// What its authority says of it, if that may be shown with it.
    pub staple: Option<Staple>,
    /// Why nothing of that kind may be shown, though there is a file for it.
    pub unshown: Option<Unshown>,
    /// Tells whether its files have changed.
    pub digest: Digest,
    pub(super) key: Arc<CertifiedKey>,
}

/// What tells the content of files from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// A digest of what is read one after the other.
#[derive(Debug, Default)]
pub(super) struct Digesting(Sha256);

/// Why a file's content is not there.
pub(super) enum Unread {
    /// It cannot be read.
    Failed(io::Error),
    /// It is larger than it may be.
    TooLarge,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", .file.display())]
pub struct CertificateError {
    /// The file that is wrong.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file of certificates or with one of a key.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is larger than any such file is.
    #[error("is larger than 1 MiB, which no certificate or key is")]
    TooLarge,
    /// It is no PEM.
    #[error("is not PEM: {0}")]
    NotPem(String),
    /// There is none in it.
    #[error("holds no certificate (no `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There is none in it.
    #[error("holds no private key (`-----BEGIN PRIVATE KEY-----`, or `RSA` or `EC` in it)")]
    NoKey,
    /// One that nothing here can open.
    #[error(
        "holds a private key that has a password, which nobody is there to give: write it without \
         one (`openssl pkey`), readable by its owner alone"
    )]
    Password,
    /// A certificate that cannot be understood.
    #[error("has a certificate that is malformed, the {position}. in it: {why}")]
    Malformed {
        /// The first is 1.
        position: usize,
        /// What stands in the way.
        why: String,
    },
    /// A certificate that does not sign the one before it.
    #[error(
        "has its certificates in the wrong order: the {position}. did not sign the one before; the \
         server's comes first, then the one that signed it, and so on"
    )]
    Order {
        /// The first is 1.
        position: usize,
    },
    /// A key of a kind that nothing here can use.
    #[error("cannot be used as a key: {0}")]
    Key(String),
    /// A key of another certificate.
    #[error("is not the key of the certificate in {}", .0.display())]
    OtherKey(PathBuf),
}

impl Certificate {
    /// Reads a chain, the server's certificate first, and its key.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files::read(cert, key)?;
        let chain = chain(&files.cert).map_err(at(cert))?;
        let facts = Facts::of(&chain).map_err(at(cert))?;
        let private = private_key(&files.key).map_err(at(key))?;
        let provider = aws_lc_rs::default_provider();
        let certified = CertifiedKey::from_der(chain, private, &provider);
        let certified = certified.map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => at(key)(Fault::OtherKey(cert.to_owned())),
            error => at(key)(Fault::Key(error.to_string())),
        })?;
        Ok(Self {
            file: cert.into(),
            names: facts.names.into(),
            issuer: facts.issuer.into(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            staple: None,
            unshown: None,
            digest: files.digest(),
            key: Arc::new(certified),
        })
    }

    /// Shows what its authority says of it along with it, which was read from this file. What is
    /// wrong with that, or does not hold now, is no fault of the certificate, which is shown alone.
    #[must_use]
    pub fn stapled(
        mut self,
        file: &Path,
        response: Result<Vec<u8>, String>,
        now: SystemTime,
    ) -> Self {
        self.digest = self.digest.and_response(&response);
        let checked = response.and_then(|der| {
            let chain = (&*self.file, &self.key.cert[..]);
            let staple = Staple::check((file, &der), chain, now);
            let staple = staple.map_err(|fault| fault.to_string())?;
            Ok((staple, der))
        });
        match checked {
            Ok((staple, der)) => {
                if staple.is_shown {
                    self.show(Some(der));
                }
                self.staple = Some(staple);
            }
            Err(why) => {
                let file = file.into();
                self.unshown = Some(Unshown { file, why });
            }
        }
        self
    }

    /// Leaves away what is shown with it and holds no more. Tells whether there was such.
    pub fn leave_stale_away(&mut self, now: SystemTime) -> bool {
        let staple = self.staple.as_mut();
        let staple = staple.filter(|staple| staple.is_shown && !staple.is_valid_at(now));
        let Some(staple) = staple else {
            return false;
        };
        staple.is_shown = false;
        self.show(None);
        true
    }

    /// Whether what is not shown with it, since it did not hold yet, holds now.
    pub fn misses_its_staple(&self, now: SystemTime) -> bool {
        let mut staple = self.staple.iter();
        staple.any(|staple| !staple.is_shown && staple.is_valid_at(now))
    }

    fn show(&mut self, response: Option<Vec<u8>>) {
        let mut certified = CertifiedKey::clone(&self.key);
        certified.ocsp = response;
        self.key = Arc::new(certified);
    }

    /// Whether it is valid at this time.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The bytes of a certificate's file and of its key's.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Digest {
    /// That of some bytes after others.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digesting = Digesting::default();
        for part in parts {
            digesting.take(part);
        }
        digesting.finish()
    }

    /// That of several together.
    pub(super) fn and(self, other: Self) -> Self {
        Self::of([&self.0[..], &other.0])
    }

    /// That of these files.
    pub fn of_files(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Files::read(cert, key)?.digest())
    }

    /// That of these and of an authority's response, which may be one that cannot be read.
    #[must_use]
    pub fn and_response(self, response: &Result<Vec<u8>, String>) -> Self {
        let content = response.as_ref().ok();
        self.and(Self::of(content.map(Vec::as_slice)))
    }
}

impl Digesting {
    pub(super) fn take(&mut self, part: &[u8]) {
        // The length keeps parts apart.
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    pub(super) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Files {
    fn read(cert: &Path, key: &Path) -> Result<Self, CertificateError> {
        Ok(Self {
            cert: content(cert).map_err(at(cert))?,
            key: content(key).map_err(at(key))?,
        })
    }

    fn digest(&self) -> Digest {
        Digest::of([&self.cert[..], &self.key])
    }
}

/// Of a file that is wrong.
pub(super) fn at(file: &Path) -> impl Fn(Fault) -> CertificateError {
    |fault| CertificateError {
        file: file.to_owned(),
        fault,
    }
}

/// What a chain says of its first certificate.
struct Facts {
    names: Vec<Box<str>>,
    issuer: String,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Facts {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, Fault> {
        let malformed = |position: usize, why: &dyn ToString| Fault::Malformed {
            position: position + 1,
            why: why.to_string(),
        };
        let mut parsed = Vec::with_capacity(chain.len());
        for (position, der) in chain.iter().enumerate() {
            let certificate = x509_cert::Certificate::from_der(der);
            parsed.push(certificate.map_err(|error| malformed(position, &error))?);
        }
        for (position, pair) in parsed.windows(2).enumerate() {
            let (one, next) = (&pair[0], &pair[1]);
            let is_named = one.tbs_certificate().issuer() == next.tbs_certificate().subject();
            let signature = (one.signature_algorithm(), one.signature());
            if !is_named || has_signed(next, &chain[position], signature) == Some(false) {
                let position = position + 2;
                return Err(Fault::Order { position });
            }
        }
        let (Some(first), Some(der)) = (parsed.first(), chain.first()) else {
            return Err(Fault::NoCertificate);
        };
        let leaf = webpki::EndEntityCert::try_from(der);
        let leaf = leaf.map_err(|error| malformed(0, &error))?;
        let validities = parsed.iter().map(|one| one.tbs_certificate().validity());
        let from = validities.clone();
        let from = from.map(|one| one.not_before.to_unix_duration()).max();
        let until = validities.map(|one| one.not_after.to_unix_duration());
        let until = until.min();
        Ok(Self {
            names: leaf.valid_dns_names().map(lower).collect(),
            issuer: first.tbs_certificate().issuer().to_string(),
            not_before: wall_clock(from.unwrap_or_default()),
            not_after: wall_clock(until.unwrap_or_default()),
        })
    }
}

fn lower(name: &str) -> Box<str> {
    name.to_ascii_lowercase().into()
}

/// X.509 ends with the year 9999, which the clock can tell.
fn wall_clock(since_epoch: Duration) -> SystemTime {
    UNIX_EPOCH.checked_add(since_epoch).unwrap_or(UNIX_EPOCH)
}

/// The bytes of a file of certificates or of a key.
pub(super) fn content(path: &Path) -> Result<Vec<u8>, Fault> {
    bounded(path, LARGEST).map_err(|unread| match unread {
        Unread::Failed(error) => Fault::Unreadable(error),
        Unread::TooLarge => Fault::TooLarge,
    })
}

/// A file's bytes; what is larger than it may be is not read to its end.
pub(super) fn bounded(path: &Path, largest: u64) -> Result<Vec<u8>, Unread> {
    let file = File::open(path).map_err(Unread::Failed)?;
    let mut bytes = Vec::new();
    let read = file.take(largest + 1).read_to_end(&mut bytes);
    read.map_err(Unread::Failed)?;
    if bytes.len() as u64 > largest {
        return Err(Unread::TooLarge);
    }
    Ok(bytes)
}

pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Fault::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(error) => Err(Fault::NotPem(not_pem(&error))),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Fault> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        _ if has_password(pem) => Fault::Password,
        pem::Error::NoItemsFound => Fault::NoKey,
        error => Fault::NotPem(not_pem(&error)),
    })
}

/// Whether there is a key that is encrypted, as PKCS #8 or as OpenSSL did before.
fn has_password(pem: &[u8]) -> bool {
    let mut lines = pem.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| {
        line == b"-----BEGIN ENCRYPTED PRIVATE KEY-----" || line == b"Proc-Type: 4,ENCRYPTED"
    })
}

/// What is wrong with PEM, without anything of what is in it.
pub(super) fn not_pem(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "its last part has no end (`-----END`), as if it were cut off".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => {
            "a line with `-----BEGIN` does not end with `-----`".to_owned()
        }
        error => error.to_string(),
    }
}

/// The largest file that is read: a hundred certificates are less, and all authorities that
/// browsers trust a quarter of it.
pub(super) const LARGEST: u64 = 1024 * 1024;
