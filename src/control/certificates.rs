//! Reads the certificates that a configuration names, once per configuration, as names are looked
//! up once: any that cannot be used refuses the whole before anything is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::aside::{aside, at_once};
use crate::config::{Certificate as Written, Config, Diagnostic, Places};
use crate::telemetry::rfc3339;
use crate::tls::{Certificate, CertificateError, Digest, Staple, Unshown};

/// The certificates of every listener that has some, by its name.
pub type Certificates = BTreeMap<String, Vec<Certificate>>;

/// A certificate that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    listener: String,
    /// Which of the listener's it is.
    index: usize,
    /// The setting whose file is wrong.
    setting: &'static str,
    why: String,
}

/// A certificate that is not valid, or will not be for long, or what is to be shown with one.
#[derive(Debug)]
pub struct Expiring {
    listener: String,
    index: usize,
    kind: Kind,
    why: String,
}

/// What is not as it should be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// The certificate itself.
    Certificate,
    /// What would be shown with it, if it held now.
    Stale,
    /// What would be shown with it, if nothing else were wrong with it.
    Unshown,
}

/// How a certificate stands in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// It is not valid yet.
    Early,
    /// It is valid for long.
    Valid,
    /// It will expire within two weeks.
    Expiring,
    /// It has expired.
    Expired,
}

/// What has been read so far.
#[derive(Default)]
struct Reading {
    certificates: Certificates,
    failures: Vec<Unusable>,
}

impl Unusable {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        places.certificate(&self.listener, (self.index, self.setting), &self.why)
    }
}

impl Expiring {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        let (listener, index, why) = (&self.listener, self.index, &self.why);
        match self.kind {
            Kind::Certificate => places.expiring(listener, index, why),
            Kind::Stale => places.stale_ocsp(listener, index, why),
            Kind::Unshown => places.unshown_ocsp(listener, index, why),
        }
    }
}

impl fmt::Display for Expiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}: {}", self.listener, self.why)
    }
}

/// Reads all of them, or finds every one that cannot be used.
pub async fn read(config: &Config) -> Result<Certificates, Vec<Unusable>> {
    let mut reading = Reading::default();
    for (listener, index, written) in written(config) {
        reading.took(listener, index, read_one(written).await);
    }
    reading.end()
}

/// The same for a command, which has nothing else to do meanwhile.
pub fn read_at_once(config: &Config) -> Result<Certificates, Vec<Unusable>> {
    let mut reading = Reading::default();
    for (listener, index, written) in written(config) {
        reading.took(listener, index, read_one_at_once(written));
    }
    reading.end()
}

/// The certificates that have expired, will soon, or are not valid yet; and what is not shown with
/// one for such a reason.
pub fn expiring(certificates: &Certificates, now: SystemTime) -> Vec<Expiring> {
    let mut expiring = Vec::new();
    for (listener, certificates) in certificates {
        for (index, certificate) in certificates.iter().enumerate() {
            let unshown = certificate.unshown.as_ref().map(Unshown::to_string);
            let found = [
                (Kind::Certificate, why_expiring(certificate, now)),
                (Kind::Stale, why_stale(certificate, now)),
                (Kind::Unshown, unshown),
            ];
            expiring.extend(found.into_iter().filter_map(|(kind, why)| {
                Some(Expiring {
                    listener: listener.clone(),
                    index,
                    kind,
                    why: why?,
                })
            }));
        }
    }
    expiring
}

/// Why a certificate needs attention, if it does.
pub(super) fn why_expiring(certificate: &Certificate, now: SystemTime) -> Option<String> {
    let file = certificate.file.display();
    let from = rfc3339(certificate.not_before);
    let until = rfc3339(certificate.not_after);
    match Validity::of(certificate, now) {
        Validity::Early => Some(format!("{file} is not valid before {from}")),
        Validity::Expired => Some(format!("{file} has expired at {until}")),
        Validity::Expiring => Some(format!("{file} expires at {until}")),
        Validity::Valid => None,
    }
}

/// Why what its authority says of a certificate is not shown.
pub(super) fn why_stale(certificate: &Certificate, now: SystemTime) -> Option<String> {
    let staple = certificate.staple.as_ref();
    let staple = staple.filter(|staple| !staple.is_valid_at(now))?;
    let file = staple.file.display();
    Some(if now < staple.this_update {
        format!(
            "{file} does not hold before {}",
            rfc3339(staple.this_update)
        )
    } else {
        format!("{file} has expired at {}", rfc3339(staple.next_update))
    })
}

impl Validity {
    /// That of a certificate now.
    pub fn of(certificate: &Certificate, now: SystemTime) -> Self {
        if now < certificate.not_before {
            return Self::Early;
        }
        match certificate.not_after.duration_since(now) {
            Err(_) => Self::Expired,
            Ok(left) if left < SOON => Self::Expiring,
            Ok(_) => Self::Valid,
        }
    }
}

/// The listener and the position of each.
fn written(config: &Config) -> impl Iterator<Item = (&String, usize, &Written)> {
    config.listener.iter().flat_map(|(name, listener)| {
        let written = listener.tls.iter().flat_map(|tls| &tls.certificates);
        written
            .enumerate()
            .map(move |(index, written)| (name, index, written))
    })
}

impl Reading {
    fn took(&mut self, listener: &str, index: usize, read: Result<Certificate, Told>) {
        match read {
            Ok(certificate) => {
                let of_listener = self.certificates.entry(listener.to_owned());
                of_listener.or_default().push(certificate);
            }
            Err((setting, why)) => self.failures.push(Unusable {
                listener: listener.to_owned(),
                index,
                setting,
                why,
            }),
        }
    }

    fn end(self) -> Result<Certificates, Vec<Unusable>> {
        if self.failures.is_empty() {
            Ok(self.certificates)
        } else {
            Err(self.failures)
        }
    }
}

/// The setting whose file is wrong, and what is wrong with it.
type Told = (&'static str, String);

/// Reads one. What its authority says is read apart: that holds it up for some time at most.
pub(super) async fn read_one(written: &Written) -> Result<Certificate, Told> {
    let certificate = read_aside(written, from_files).await?;
    Ok(match &written.ocsp {
        Some(file) => certificate.stapled(file, response(file).await, SystemTime::now()),
        None => certificate,
    })
}

/// The same for a command.
fn read_one_at_once(written: &Written) -> Result<Certificate, Told> {
    let files = written.clone();
    let certificate = at_once(move || from_files(&files)).map_err(|why| ("cert", why))?;
    let certificate = certificate.map_err(|error| told(written, &error))?;
    let Some(file) = &written.ocsp else {
        return Ok(certificate);
    };
    let path = file.clone();
    let response = at_once(move || Staple::read(&path)).and_then(|read| read);
    Ok(certificate.stapled(file, response, SystemTime::now()))
}

/// What tells whether the files of a certificate have changed.
pub(super) async fn digest(written: &Written) -> Result<Digest, String> {
    let digest = read_aside(written, |written| {
        Digest::of_files(&written.cert, &written.key)
    });
    let digest = digest.await.map_err(|(_, why)| why)?;
    Ok(match &written.ocsp {
        Some(file) => digest.and_response(&response(file).await),
        None => digest,
    })
}

fn from_files(written: &Written) -> Result<Certificate, CertificateError> {
    Certificate::read(&written.cert, &written.key)
}

/// What an authority says, or why it cannot be read.
async fn response(file: &Path) -> Result<Vec<u8>, String> {
    let path = file.to_owned();
    aside([file], move || Staple::read(&path))
        .await
        .and_then(|read| read)
}

/// On a thread of its own.
async fn read_aside<T: Send + 'static>(
    written: &Written,
    read: impl FnOnce(&Written) -> Result<T, CertificateError> + Send + 'static,
) -> Result<T, Told> {
    let files = written.clone();
    let paths = [&*written.cert, &*written.key];
    match aside(paths, move || read(&files)).await {
        Ok(read) => read.map_err(|error| told(written, &error)),
        Err(why) => Err(("cert", why)),
    }
}

fn told(written: &Written, error: &CertificateError) -> Told {
    let setting = if error.file == written.key {
        "key"
    } else {
        "cert"
    };
    (setting, error.to_string())
}

/// Two weeks: who renews by hand has one that is no holiday; a program that renews has failed.
const SOON: Duration = Duration::from_hours(14 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::cases;

    #[tokio::test]
    async fn a_certificate_that_cannot_be_used_has_its_place() {
        let outcome = cases::case("E0124");
        let config = outcome.config.as_ref().unwrap();
        let unusable = read(config).await.unwrap_err();
        let at_once = read_at_once(config).unwrap_err();
        assert_eq!(unusable[0].why, at_once[0].why);
        let findings = unusable.iter().map(|one| one.finding(&outcome.places));
        let findings = findings.collect();
        cases::found("E0124", outcome, findings);
    }

    #[test]
    fn a_certificate_that_expires_has_its_place() {
        let outcome = cases::case("W0313");
        let expiring = Expiring {
            listener: "https".to_owned(),
            index: 1,
            kind: Kind::Certificate,
            why: "/etc/tls/b.pem has expired at 2026-01-02T03:04:05.000000Z".to_owned(),
        };
        let findings = vec![expiring.finding(&outcome.places)];
        cases::found("W0313", outcome, findings);
    }

    #[test]
    fn what_is_not_stapled_has_its_place() {
        for (code, kind, why) in [
            (
                "W0320",
                Kind::Stale,
                "has expired at 2026-01-02T03:04:05.000000Z",
            ),
            (
                "W0323",
                Kind::Unshown,
                "says that the certificate is revoked",
            ),
        ] {
            let outcome = cases::case(code);
            let found = Expiring {
                listener: "https".to_owned(),
                index: 0,
                kind,
                why: format!("/etc/tls/a.ocsp {why}"),
            };
            let findings = vec![found.finding(&outcome.places)];
            cases::found(code, outcome, findings);
        }
    }
}
