//! Authorities whose clients are taken, and the lists of what they have revoked, read from files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::asn1::AnyRef;

use super::certificate::{Digest, Digesting, LARGEST, Unread, bounded, not_pem};
use super::revocations;
use super::signature::{has_signed, signed_part};

/// Authorities, each with what it has revoked.
#[derive(Debug)]
pub struct Authorities {
    /// The lists of revoked certificates, in the order of their files.
    pub lists: Vec<Revocations>,
    /// The subjects of authorities that have no such list, where others have.
    pub without_list: Vec<String>,
    /// What is wrong with the first authority that is in the file and revoked. Neither it nor
    /// others like it are trusted.
    pub fallen: Option<AuthorityError>,
    /// Tells the content of all files from any other.
    pub digest: Digest,
    roots: Arc<RootCertStore>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// What an authority has revoked.
#[derive(Debug)]
pub struct Revocations {
    /// Which of the files it was read from.
    pub file: usize,
    /// When there should be a newer one.
    pub next_update: Option<SystemTime>,
}

/// Why authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} {fault}", .file.display())]
pub struct AuthorityError {
    /// The file that is wrong.
    pub file: PathBuf,
    /// What is wrong with it.
    pub fault: AuthorityFault,
}

/// What is wrong with a file of authorities or of what they revoked.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is larger than any such file should be.
    #[error("is larger than {} MiB", .0 / 1024 / 1024)]
    TooLarge(u64),
    /// It is no PEM.
    #[error("is not PEM: {0}")]
    NotPem(String),
    /// There is none in it.
    #[error("holds no certificate (no `-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    /// There is none in it.
    #[error("holds no list of revoked certificates (no `-----BEGIN X509 CRL-----`)")]
    NoList,
    /// What cannot be understood.
    #[error("is malformed, the {position}. in it: {why}")]
    Malformed {
        /// The first is 1.
        position: usize,
        /// What stands in the way.
        why: String,
    },
    /// A list that cannot say what it must (RFC 5280 §5.1.2.1).
    #[error(
        "has a list of version 1, the {position}. in it: it must be version 2, which OpenSSL writes \
         where its configuration has `crlnumber` and `crl_extensions`"
    )]
    Version {
        /// The first is 1.
        position: usize,
    },
    /// A list of somebody else.
    #[error("has a list that none of the authorities signed, the {position}. in it, of `{issuer}`")]
    NotSigned {
        /// The first is 1.
        position: usize,
        /// Who is said to have signed it.
        issuer: String,
    },
    /// A list beside another, of which only one would be asked.
    #[error(
        "has a second list of `{issuer}`, the {position}. in it: only one of an authority's counts, \
         so take the older out"
    )]
    SecondList {
        /// The first is 1.
        position: usize,
        /// Who has signed both.
        issuer: String,
    },
    /// An authority whose lists are not told from another's.
    #[error(
        "has authorities with the name `{subject}` and different keys, the {position}. in it is one: \
         lists of revoked certificates are told apart by name, so take the old one out, or leave \
         `crl` away"
    )]
    TwoKeys {
        /// The first is 1.
        position: usize,
        /// The name of both.
        subject: String,
    },
    /// An authority that must not be trusted.
    #[error(
        "holds an authority that is revoked, the {position}. in it, `{subject}`: one of the lists \
         names it, or those above it"
    )]
    Fallen {
        /// The first is 1.
        position: usize,
        /// Its name.
        subject: String,
    },
}

/// What files of lists hold, one list an authority.
#[derive(Default)]
struct Lists {
    told: Vec<Revocations>,
    parsed: Vec<CertificateList>,
    der: Vec<CertificateRevocationListDer<'static>>,
}

/// An authority's certificate.
type Authority = x509_cert::Certificate;

impl Authorities {
    /// Reads authorities, and the lists of what they revoked.
    pub fn read(ca: &Path, crl: &[PathBuf]) -> Result<Self, AuthorityError> {
        let mut digest = Digesting::default();
        let (mut roots, authorities) = authorities(ca, &mut digest).map_err(at(ca))?;
        if !crl.is_empty() {
            revocations::one_key_each(&authorities).map_err(at(ca))?;
        }
        let Lists { told, parsed, der } = lists(crl, &authorities, &mut digest)?;
        let fallen = revocations::fallen(&authorities, &parsed);
        let mut stand = fallen.iter().map(|has_fallen| !has_fallen);
        roots.roots.retain(|_| stand.next().unwrap_or(false));
        let fault = revocations::fault_of_fallen(&authorities, &fallen).map(at(ca));
        // One that certifies none but authorities beside it needs no list: nothing leads up to it.
        let is_above = |one: &Authority| {
            let mut others = authorities.iter().map(Authority::tbs_certificate);
            let subject = one.tbs_certificate().subject();
            others.any(|other| other.issuer() == subject && other.subject() != subject)
        };
        let needs_list = |one: &Authority| {
            let subject = one.tbs_certificate().subject();
            let mut issuers = parsed.iter().map(|list| &list.tbs_cert_list.issuer);
            !parsed.is_empty() && !issuers.any(|issuer| issuer == subject) && !is_above(one)
        };
        let standing = authorities.iter().zip(&fallen);
        let without_list = standing.filter(|(one, has_fallen)| !**has_fallen && needs_list(one));
        let subject = |one: &Authority| one.tbs_certificate().subject().to_string();
        Ok(Self {
            without_list: without_list.map(|(one, _)| subject(one)).collect(),
            fallen: match fault {
                Some(fault) if roots.is_empty() => return Err(fault),
                fault => fault,
            },
            lists: told,
            digest: digest.finish(),
            roots: Arc::new(roots),
            revoked: der,
        })
    }

    /// What tells the content of these files from any other.
    pub fn digest_of(ca: &Path, crl: &[PathBuf]) -> Result<Digest, AuthorityError> {
        let mut digest = Digesting::default();
        content(ca, LARGEST, &mut digest).map_err(at(ca))?;
        for path in crl {
            content(path, LARGEST_LIST, &mut digest).map_err(at(path))?;
        }
        Ok(digest.finish())
    }

    /// Judges clients by these. Where there are lists, whatever stands between a client and its
    /// authority must be told of by one; a list whose time has passed stays in use.
    pub(super) fn verifier(
        &self,
        require: bool,
    ) -> Result<Arc<dyn ClientCertVerifier>, VerifierBuilderError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::clone(&self.roots);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .with_crls(self.revoked.iter().cloned());
        let subjects = self.roots.subjects();
        // Each has two bytes of length in front of it.
        let told: usize = subjects.iter().map(|one| one.as_ref().len() + 2).sum();
        if told > MOST_SUBJECTS {
            verifier = verifier.clear_root_hint_subjects();
        }
        if require {
            verifier.build()
        } else {
            verifier.allow_unauthenticated().build()
        }
    }
}

/// Of a file that is wrong.
fn at(file: &Path) -> impl Fn(AuthorityFault) -> AuthorityError {
    |fault| AuthorityError {
        file: file.to_owned(),
        fault,
    }
}

fn authorities(
    path: &Path,
    digest: &mut Digesting,
) -> Result<(RootCertStore, Vec<Authority>), AuthorityFault> {
    let pem = content(path, LARGEST, digest)?;
    let mut roots = RootCertStore::empty();
    let mut authorities = Vec::new();
    for (place, der) in items::<CertificateDer<'_>>(&pem)?.into_iter().enumerate() {
        let malformed = malformed(place + 1);
        authorities.push(Authority::from_der(&der).map_err(|error| malformed(&error))?);
        roots.add(der).map_err(|error| malformed(&error))?;
    }
    if authorities.is_empty() {
        return Err(AuthorityFault::NoCertificate);
    }
    Ok((roots, authorities))
}

fn lists(
    crl: &[PathBuf],
    authorities: &[Authority],
    digest: &mut Digesting,
) -> Result<Lists, AuthorityError> {
    let mut lists = Lists::default();
    for (file, path) in crl.iter().enumerate() {
        let read = lists_in(path, digest).map_err(at(path))?;
        for (place, der) in read.into_iter().enumerate() {
            // The same again says nothing new.
            if !lists.der.contains(&der) {
                let list = check(&der, place + 1, authorities).map_err(at(path))?;
                revocations::only_one(&list, place + 1, &lists.parsed).map_err(at(path))?;
                let until = list.tbs_cert_list.next_update;
                let next_update = until.map(|time| UNIX_EPOCH + time.to_unix_duration());
                lists.told.push(Revocations { file, next_update });
                lists.parsed.push(list);
                lists.der.push(der);
            }
        }
    }
    Ok(lists)
}

fn lists_in(
    path: &Path,
    digest: &mut Digesting,
) -> Result<Vec<CertificateRevocationListDer<'static>>, AuthorityFault> {
    let pem = content(path, LARGEST_LIST, digest)?;
    let lists = items(&pem)?;
    if lists.is_empty() {
        return Err(AuthorityFault::NoList);
    }
    Ok(lists)
}

fn items<T: PemObject>(pem: &[u8]) -> Result<Vec<T>, AuthorityFault> {
    let items: Result<_, pem::Error> = T::pem_slice_iter(pem).collect();
    items.map_err(|error| AuthorityFault::NotPem(not_pem(&error)))
}

fn malformed(position: usize) -> impl Fn(&dyn ToString) -> AuthorityFault {
    move |why| AuthorityFault::Malformed {
        position,
        why: why.to_string(),
    }
}

/// A list, if it is one that can be used, and one of the authorities signed it. With a list that
/// nobody signed no client would be taken, and that would be seen only then.
fn check(
    der: &[u8],
    position: usize,
    authorities: &[Authority],
) -> Result<CertificateList, AuthorityFault> {
    let malformed = malformed(position);
    let signed = signed_part(der).map_err(|error| malformed(&error))?;
    let signed = AnyRef::from_der(signed).map_err(|error| malformed(&error))?;
    // Version 2 says so, and version 1 says nothing.
    if signed.value().first() != Some(&INTEGER) {
        return Err(AuthorityFault::Version { position });
    }
    webpki::BorrowedCertRevocationList::from_der(der).map_err(|error| malformed(&error))?;
    let list = CertificateList::from_der(der).map_err(|error| malformed(&error))?;
    let issuer = &list.tbs_cert_list.issuer;
    let mut issuers = authorities
        .iter()
        .filter(|one| one.tbs_certificate().subject() == issuer);
    let signature = (&list.signature_algorithm, &list.signature);
    if issuers.any(|authority| has_signed(authority, der, signature) == Some(true)) {
        return Ok(list);
    }
    let issuer = issuer.to_string();
    Err(AuthorityFault::NotSigned { position, issuer })
}

/// A file's bytes, which count in the digest.
fn content(path: &Path, largest: u64, digest: &mut Digesting) -> Result<Vec<u8>, AuthorityFault> {
    let bytes = bounded(path, largest).map_err(|unread| match unread {
        Unread::Failed(error) => AuthorityFault::Unreadable(error),
        Unread::TooLarge => AuthorityFault::TooLarge(largest),
    })?;
    digest.take(&bytes);
    Ok(bytes)
}

/// The tag of a number.
const INTEGER: u8 = 2;

/// Some fifty thousand revoked certificates. A list's signature is checked in every whole
/// handshake, which takes about 0.8 ms a MiB on the worker's thread.
const LARGEST_LIST: u64 = 2 * 1024 * 1024;

/// Bytes of names of authorities that a client is told. A list of names has at most 64 KiB
/// (RFC 8446 §4.2.4), and clients have smaller limits for a whole message; one that is told none
/// chooses among all its certificates.
const MOST_SUBJECTS: usize = 16 * 1024;
