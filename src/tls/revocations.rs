//! What lists of revoked certificates say of the authorities beside them.
//!
//! Clients are judged by names: an authority in the file is trusted for itself, and no list is
//! asked about it; of several lists of one name the first is taken, whoever's key signed it. So
//! what the judge would not see is looked for when the files are read.

use x509_cert::Certificate;
use x509_cert::crl::CertificateList;

use super::authorities::AuthorityFault;

/// Refuses two keys under one name: each would be judged by the other's list.
pub(super) fn one_key_each(authorities: &[Certificate]) -> Result<(), AuthorityFault> {
    for (place, one) in authorities.iter().enumerate() {
        let one = one.tbs_certificate();
        let mut before = authorities[..place]
            .iter()
            .map(Certificate::tbs_certificate);
        let has_twin = before.any(|other| {
            other.subject() == one.subject()
                && other.subject_public_key_info() != one.subject_public_key_info()
        });
        if has_twin {
            return Err(AuthorityFault::TwoKeys {
                position: place + 1,
                subject: one.subject().to_string(),
            });
        }
    }
    Ok(())
}

/// Refuses a list beside one of the same name: only the first would be asked.
pub(super) fn only_one(
    list: &CertificateList,
    position: usize,
    before: &[CertificateList],
) -> Result<(), AuthorityFault> {
    let issuer = &list.tbs_cert_list.issuer;
    let mut before = before.iter().map(|other| &other.tbs_cert_list.issuer);
    if before.any(|other| other == issuer) {
        let issuer = issuer.to_string();
        return Err(AuthorityFault::SecondList { position, issuer });
    }
    Ok(())
}

/// For each authority, whether a list revokes it, or all those that have certified it.
pub(super) fn fallen(authorities: &[Certificate], lists: &[CertificateList]) -> Vec<bool> {
    let mut fallen: Vec<bool> = authorities
        .iter()
        .map(|one| lists.iter().any(|list| is_revoked(one, list)))
        .collect();
    // Each round takes one down, or is the last.
    while let Some(next) = (0..authorities.len())
        .find(|&place| !fallen[place] && is_below_fallen(&authorities[place], authorities, &fallen))
    {
        fallen[next] = true;
    }
    fallen
}

/// What is wrong with the first of those that have fallen.
pub(super) fn fault_of_fallen(
    authorities: &[Certificate],
    fallen: &[bool],
) -> Option<AuthorityFault> {
    let place = fallen.iter().position(|has_fallen| *has_fallen)?;
    let subject = authorities.get(place)?.tbs_certificate().subject();
    Some(AuthorityFault::Fallen {
        position: place + 1,
        subject: subject.to_string(),
    })
}

fn is_revoked(authority: &Certificate, list: &CertificateList) -> bool {
    let (authority, list) = (authority.tbs_certificate(), &list.tbs_cert_list);
    let mut revoked = list.revoked_certificates.iter().flatten();
    list.issuer == *authority.issuer()
        && revoked.any(|one| one.serial_number == *authority.serial_number())
}

/// Whether those beside it that bear the name of its issuer are there, and have all fallen.
fn is_below_fallen(one: &Certificate, authorities: &[Certificate], fallen: &[bool]) -> bool {
    let issuer = one.tbs_certificate().issuer();
    let mut issuers = authorities
        .iter()
        .zip(fallen)
        .filter(|(other, _)| other.tbs_certificate().subject() == issuer)
        .peekable();
    issuers.peek().is_some() && issuers.all(|(_, has_fallen)| *has_fallen)
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
        DnType, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, date_time_ymd,
    };
    use x509_cert::der::Decode;

    use super::*;

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    /// An authority of this name and number, certified by another or by itself.
    fn authority(name: &str, number: u64, above: Option<&Issuer>) -> Issuer {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(number.into());
        let key = KeyPair::generate().expect("a key");
        let certified = match above {
            Some(above) => CertifiedIssuer::signed_by(params, key, above),
            None => CertifiedIssuer::self_signed(params, key),
        };
        certified.expect("a certificate")
    }

    fn revokes(authority: &Issuer, number: u64) -> CertificateList {
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: number.into(),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(authority).expect("a list");
        CertificateList::from_der(list.der()).expect("DER")
    }

    #[test]
    fn whoever_was_certified_by_the_fallen_falls() {
        let root = authority("root", 1, None);
        let deputy = authority("deputy", 2, Some(&root));
        let below = authority("below", 3, Some(&deputy));
        let other = authority("other", 2, None);
        let all = [&below, &deputy, &root, &other]
            .map(|one| Certificate::from_der(one.der()).expect("DER"));
        assert_eq!(fallen(&all, &[revokes(&root, 9)]), [false; 4]);
        let fell = fallen(&all, &[revokes(&root, 2)]);
        assert_eq!(fell, [true, true, false, false]);
        let fell = fallen(&all, &[revokes(&root, 1)]);
        assert_eq!(fell, [true, true, true, false]);
    }
}
