//! What a certificate's authority says of it at this time (OCSP, RFC 6960), to be shown with it.
//!
//! Problem: whether a certificate was revoked, a client would have to ask its authority, which then
//! knows who visits whom, and where it does not answer nobody is served. So the server brings the
//! answer along. A wrong one is worse than none: some clients refuse it. So it is held against its
//! certificate before anybody is shown it: that it is about it, good, and signed by those who may.
//!
//! The signature, and the authority's key, can only be checked where the chain has the certificate
//! of the authority. Clients check it in any case.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use der::asn1::{Any, BitString, GeneralizedTime, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Enumerated, Sequence, Tagged};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::certificate::content;

/// What the authority says of a certificate.
#[derive(Debug, Clone)]
pub struct Staple {
    /// The file that it was read from.
    pub file: Arc<Path>,
    /// From when it holds.
    pub this_update: SystemTime,
    /// Until when.
    pub next_update: SystemTime,
    /// Whether clients are shown it: it held when it was read.
    pub is_shown: bool,
}

/// A file that is to say it, and cannot be shown.
#[derive(Debug, Clone)]
pub struct Unshown {
    /// Which it is.
    pub file: Arc<Path>,
    /// What is wrong with it.
    pub why: String,
}

/// What is wrong with an answer of an authority.
#[derive(Debug, thiserror::Error)]
pub(super) enum StapleFault {
    /// It cannot be understood.
    #[error("is no OCSP response in DER: {0}")]
    Malformed(String),
    /// It is the refusal to answer.
    #[error("is a responder's refusal to answer: {0}")]
    Refusal(&'static str),
    /// It says nothing of this certificate.
    #[error("says nothing of the certificate in {0}")]
    OtherCertificate(String),
    /// It says no good.
    #[error("says that the certificate is {0}")]
    NotGood(&'static str),
    /// It does not say how long it holds.
    #[error("does not say until when it holds (nextUpdate)")]
    Endless,
    /// It is signed by somebody else.
    #[error("is not signed by who signed the certificate, nor by who may answer for them")]
    Signature,
}

#[derive(Debug, Sequence)]
struct Response {
    status: Status,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    bytes: Option<ResponseBytes>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enumerated)]
#[asn1(type = "ENUMERATED")]
#[repr(u8)]
enum Status {
    Successful = 0,
    MalformedRequest = 1,
    InternalError = 2,
    TryLater = 3,
    SigRequired = 5,
    Unauthorized = 6,
}

#[derive(Debug, Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    content: OctetString,
}

#[derive(Debug, Sequence)]
struct Basic {
    /// What is signed.
    data: Any,
    algorithm: Any,
    signature: BitString,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    certificates: Option<Vec<Any>>,
}

#[derive(Debug, Sequence)]
struct Data {
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    version: Option<u8>,
    responder: Any,
    produced_at: GeneralizedTime,
    answers: Vec<Answer>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Any>,
}

#[derive(Debug, Sequence)]
struct Answer {
    id: CertificateId,
    /// One of three, told by its tag.
    status: Any,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    extensions: Option<Any>,
}

#[derive(Debug, Sequence)]
struct CertificateId {
    hash: AlgorithmIdentifierOwned,
    issuer_name: OctetString,
    issuer_key: OctetString,
    serial: SerialNumber,
}

impl fmt::Display for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.file.display(), self.why)
    }
}

impl Staple {
    /// Reads an answer, which is held against its certificate later; an error says why it cannot be
    /// read.
    pub fn read(file: &Path) -> Result<Vec<u8>, String> {
        content(file).map_err(|fault| fault.to_string())
    }

    /// Holds an answer, read from this file, against the chain of its certificate.
    pub(super) fn check(
        (file, der): (&Path, &[u8]),
        (cert, chain): (&Path, &[CertificateDer<'_>]),
        now: SystemTime,
    ) -> Result<Self, StapleFault> {
        let response = Response::from_der(der).map_err(|error| malformed(&error))?;
        if let Some(why) = response.status.refusal() {
            return Err(StapleFault::Refusal(why));
        }
        let bytes = response.bytes.filter(|bytes| bytes.kind == BASIC);
        let bytes = bytes.ok_or_else(|| malformed(&"it has no basic response"))?;
        let basic = Basic::from_der(bytes.content.as_bytes()).map_err(|error| malformed(&error))?;
        let data: Data = basic.data.decode_as().map_err(|error| malformed(&error))?;
        let subject = Subject::of(chain)?;
        let answer = data.answers.iter().find(|answer| subject.is(&answer.id));
        let other = || StapleFault::OtherCertificate(cert.display().to_string());
        let answer = answer.ok_or_else(other)?;
        match answer.status.tag().number().value() {
            0 => {}
            1 => return Err(StapleFault::NotGood("revoked")),
            _ => return Err(StapleFault::NotGood("unknown to the responder")),
        }
        let next_update = answer.next_update.ok_or(StapleFault::Endless)?;
        if let Some(issuer) = chain.get(1)
            && !basic.is_signed_by(issuer, now)
        {
            return Err(StapleFault::Signature);
        }
        let (from, until) = (wall_clock(answer.this_update), wall_clock(next_update));
        Ok(Self {
            file: file.into(),
            this_update: from,
            next_update: until,
            is_shown: from <= now && now <= until,
        })
    }

    /// Whether it holds at this time.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.this_update <= now && now <= self.next_update
    }
}

impl Status {
    fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Successful => None,
            Self::MalformedRequest => Some("the request was malformed"),
            Self::InternalError => Some("it had an internal error"),
            Self::TryLater => Some("try later"),
            Self::SigRequired => Some("the request must be signed"),
            Self::Unauthorized => Some("it does not answer for this certificate"),
        }
    }
}

impl Basic {
    /// By the issuer itself, or by whom it has certified for just that (RFC 6960 §4.2.2.2).
    fn is_signed_by(&self, issuer: &CertificateDer<'_>, now: SystemTime) -> bool {
        if self.is_by(issuer) {
            return true;
        }
        let certificates = self.certificates.iter().flatten();
        let mut responders = certificates
            .take(RESPONDERS)
            .filter_map(|one| one.to_der().ok().map(CertificateDer::from));
        responders.any(|responder| may_answer(&responder, issuer, now) && self.is_by(&responder))
    }

    fn is_by(&self, signer: &CertificateDer<'_>) -> bool {
        let (Ok(signer), Ok(data)) = (EndEntityCert::try_from(signer), self.data.to_der()) else {
            return false;
        };
        let Some(signature) = self.signature.as_bytes() else {
            return false;
        };
        let mut algorithms = algorithms().iter();
        algorithms.any(|algorithm| {
            *algorithm.signature_alg_id() == *self.algorithm.value()
                && signer
                    .verify_signature(*algorithm, &data, signature)
                    .is_ok()
        })
    }
}

/// Whether the issuer lets somebody answer for it.
fn may_answer(
    responder: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now: SystemTime,
) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (Ok(responder), Ok(anchor)) = (
        EndEntityCert::try_from(responder),
        anchor_from_trusted_cert(issuer),
    ) else {
        return false;
    };
    let anchors = [anchor];
    let verified = responder.verify_for_usage(
        algorithms(),
        &anchors,
        &[],
        UnixTime::since_unix_epoch(now),
        KeyUsage::required(OCSP_SIGNING),
        None,
        None,
    );
    verified.is_ok()
}

fn algorithms() -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    default_provider().signature_verification_algorithms.all
}

/// The certificate that an answer is to be about.
struct Subject {
    serial: SerialNumber,
    issuer_name: Vec<u8>,
    /// Where the chain has the issuer.
    issuer_key: Option<Vec<u8>>,
}

impl Subject {
    fn of(chain: &[CertificateDer<'_>]) -> Result<Self, StapleFault> {
        let parsed = |der: &CertificateDer<'_>| x509_cert::Certificate::from_der(der);
        let leaf = chain.first().ok_or_else(|| malformed(&"no certificate"))?;
        let leaf = parsed(leaf).map_err(|error| malformed(&error))?;
        let issuer = chain
            .get(1)
            .map(parsed)
            .transpose()
            .map_err(|error| malformed(&error))?;
        let key = issuer.map(|issuer| {
            let key = issuer.tbs_certificate().subject_public_key_info();
            key.subject_public_key.raw_bytes().to_vec()
        });
        let leaf = leaf.tbs_certificate();
        Ok(Self {
            serial: leaf.serial_number().clone(),
            issuer_name: leaf.issuer().to_der().map_err(|error| malformed(&error))?,
            issuer_key: key,
        })
    }

    fn is(&self, id: &CertificateId) -> bool {
        let algorithm = match id.hash.oid {
            SHA_1 => &SHA1_FOR_LEGACY_USE_ONLY,
            SHA_256 => &SHA256,
            _ => return false,
        };
        let is_hash =
            |hash: &OctetString, of: &Vec<u8>| *hash.as_bytes() == *digest(algorithm, of).as_ref();
        let key = self.issuer_key.as_ref();
        self.serial == id.serial
            && is_hash(&id.issuer_name, &self.issuer_name)
            && key.is_none_or(|key| is_hash(&id.issuer_key, key))
    }
}

fn malformed(why: &impl ToString) -> StapleFault {
    StapleFault::Malformed(why.to_string())
}

fn wall_clock(time: GeneralizedTime) -> SystemTime {
    let since_epoch = time.to_unix_duration();
    UNIX_EPOCH.checked_add(since_epoch).unwrap_or(UNIX_EPOCH)
}

/// Certificates of responders that are looked at; answers have one.
const RESPONDERS: usize = 4;

/// `id-pkix-ocsp-basic` (RFC 6960 §4.2.1).
const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// `id-kp-OCSPSigning` (RFC 6960 §4.2.2.2), 1.3.6.1.5.5.7.3.9 without tag and length.
const OCSP_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 9];

/// `id-sha1` (RFC 3279 §2.2.1): what responders name certificates by, which needs no strength.
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");

/// `id-sha256` (RFC 4055 §2.1).
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
