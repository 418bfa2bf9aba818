//! Whether a certificate's key has signed something.

use rustls::crypto::aws_lc_rs;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, BitString};
use x509_cert::der::{self, Decode, Encode, Reader, SliceReader};
use x509_cert::spki::AlgorithmIdentifierOwned;

/// Whether it has signed what this is the DER of, a certificate or a list of revoked ones, with its
/// signature. `None` where that is of a kind that nothing here can verify.
pub(super) fn has_signed(
    authority: &Certificate,
    der: &[u8],
    (algorithm, signature): (&AlgorithmIdentifierOwned, &BitString),
) -> Option<bool> {
    let key = authority.tbs_certificate().subject_public_key_info();
    let (Ok(signed), Ok(of_key), Ok(of_signature), Some(signature)) = (
        signed_part(der),
        key.algorithm.to_der(),
        algorithm.to_der(),
        signature.as_bytes(),
    ) else {
        return Some(false);
    };
    let known = aws_lc_rs::default_provider().signature_verification_algorithms;
    let fitting = known.all.iter().filter(|algorithm| {
        is_content_of(&of_key, algorithm.public_key_alg_id().as_ref())
            && is_content_of(&of_signature, algorithm.signature_alg_id().as_ref())
    });
    let mut fitting = fitting.peekable();
    fitting.peek()?;
    let key = key.subject_public_key.raw_bytes();
    Some(fitting.any(|algorithm| algorithm.verify_signature(key, signed, signature).is_ok()))
}

/// The first part of it, as it came: that is what its signature is for.
pub(super) fn signed_part(der: &[u8]) -> Result<&[u8], der::Error> {
    SliceReader::new(AnyRef::from_der(der)?.value())?.tlv_bytes()
}

/// Whether this is what stands within a sequence.
fn is_content_of(sequence: &[u8], content: &[u8]) -> bool {
    AnyRef::from_der(sequence).is_ok_and(|sequence| sequence.value() == content)
}
