//! Reads the certificates that a configuration names, once per configuration, as names are looked
//! up once: any that cannot be used refuses the whole before anything is changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{Certificate as Written, Config, Diagnostic, Places};
use crate::tls::{Certificate, CertificateError, Digest};

/// The certificates of every listener that has some, by its name.
pub type Certificates = BTreeMap<String, Vec<Certificate>>;

/// A certificate that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    listener: String,
    /// Which of the listener's it is.
    index: usize,
    /// Whether it is its key that is wrong.
    in_key: bool,
    why: String,
}

impl Unusable {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        places.certificate(&self.listener, (self.index, self.in_key), &self.why)
    }
}

/// Reads all of them, or finds every one that cannot be used.
pub async fn read(config: &Config) -> Result<Certificates, Vec<Unusable>> {
    let mut certificates = Certificates::new();
    let mut failures = Vec::new();
    for (name, listener) in &config.listener {
        let written = listener.tls.iter().flat_map(|tls| &tls.certificates);
        for (index, written) in written.enumerate() {
            match read_one(written).await {
                Ok(certificate) => certificates
                    .entry(name.clone())
                    .or_default()
                    .push(certificate),
                Err((in_key, why)) => failures.push(Unusable {
                    listener: name.clone(),
                    index,
                    in_key,
                    why,
                }),
            }
        }
    }
    if failures.is_empty() {
        Ok(certificates)
    } else {
        Err(failures)
    }
}

/// Reads one. An error says whether it is in the key, and what is wrong.
pub(super) async fn read_one(written: &Written) -> Result<Certificate, (bool, String)> {
    aside(written, Certificate::read).await
}

/// What tells whether the files of a certificate have changed.
pub(super) async fn digest(written: &Written) -> Result<Digest, String> {
    let digest = aside(written, Digest::of_files).await;
    digest.map_err(|(_, why)| why)
}

/// On a thread of its own: a file system may be far away, and must hold nothing else up.
async fn aside<T: Send + 'static>(
    written: &Written,
    read: impl FnOnce(&Path, &Path) -> Result<T, CertificateError> + Send + 'static,
) -> Result<T, (bool, String)> {
    let (cert, key) = (written.cert.clone(), written.key.clone());
    let told = |CertificateError { file, fault }: CertificateError| {
        (file == written.key, format!("{} {fault}", file.display()))
    };
    let reading = spawn_blocking(move || read(&cert, &key));
    match timeout(LONGEST, reading).await {
        Ok(Ok(read)) => read.map_err(told),
        Ok(Err(_)) => Err((false, "reading it failed by a fault of ours".to_owned())),
        Err(_) => Err((false, format!("it was not read within {LONGEST:?}"))),
    }
}

/// A disk that takes longer is gone.
const LONGEST: Duration = Duration::from_secs(5);
