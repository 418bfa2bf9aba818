//! Reads what TLS towards endpoints needs of files: whom to trust, and what to show.
//!
//! As with certificates of listeners: all of a configuration or nothing, before anything changes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::aside::{aside, at_once};
use super::certificates::why_expiring;
use crate::config::{Config, Diagnostic, Places, UpstreamTls};
use crate::tls::{Material, MaterialError, Trust};

/// What was read, by the name of the upstream.
pub type Materials = BTreeMap<String, Material>;

/// A file of an upstream's TLS that cannot be used.
#[derive(Debug)]
pub struct UnusableMaterial {
    upstream: String,
    /// Which setting names it.
    setting: &'static [&'static str],
    why: String,
}

impl UnusableMaterial {
    fn new(upstream: &str, error: &MaterialError) -> Self {
        Self {
            upstream: upstream.to_owned(),
            setting: error.setting(),
            why: error.to_string(),
        }
    }

    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        places.material(&self.upstream, self.setting, &self.why)
    }
}

/// Reads all of them, or finds every one that cannot be used.
pub async fn read(config: &Config) -> Result<Materials, Vec<UnusableMaterial>> {
    let mut read = Vec::new();
    for (upstream, written) in written(config) {
        read.push((upstream, read_one(written).await));
    }
    gather(read)
}

/// The same for a command, which has nothing else to do meanwhile.
pub fn read_at_once(config: &Config) -> Result<Materials, Vec<UnusableMaterial>> {
    gather(written(config).map(|(upstream, written)| {
        let files = written.clone();
        let read = at_once(move || Material::read(&files));
        let read = read.unwrap_or_else(|why| Err(MaterialError::Fault(why)));
        (upstream, read)
    }))
}

/// Reads that of one upstream.
async fn read_one(written: &UpstreamTls) -> Result<Material, MaterialError> {
    read_again(written, None).await
}

/// Reads the files of one again, where these authorities are trusted.
pub(super) async fn read_again(
    written: &UpstreamTls,
    trusted: Option<Trust>,
) -> Result<Material, MaterialError> {
    let cert = written.certificate.as_ref();
    let cert = cert.map(|own| [&*own.cert, &*own.key]);
    let files = written.ca.iter().map(|file| &**file);
    let files = files.chain(cert.into_iter().flatten());
    let owned = written.clone();
    let read = aside(files, move || Material::read_again(&owned, trusted)).await;
    read.unwrap_or_else(|why| Err(MaterialError::Fault(why)))
}

/// What needs attention: certificates that endpoints will not take for long, and endpoints that may
/// be anybody.
pub fn warnings(config: &Config, materials: &Materials, now: SystemTime) -> Vec<String> {
    let is_unverified = |tls: &UpstreamTls| tls.insecure_skip_verify == Some(true);
    let unverified = written(config).filter(|(_, tls)| is_unverified(tls));
    let unverified = unverified.map(|(name, _)| {
        format!("upstream {name}: `insecure_skip_verify` is set, so its endpoints may be anybody")
    });
    let expiring = expiring(materials, now).into_iter();
    let expiring = expiring.map(|(name, why)| format!("upstream {name}: {why}"));
    unverified.chain(expiring).collect()
}

/// The certificates for endpoints that have expired, will soon, or are not valid yet.
pub fn expiring(materials: &Materials, now: SystemTime) -> Vec<(&str, String)> {
    let own = materials.iter();
    let own = own.filter_map(|(name, material)| Some((name, material.certificate.as_ref()?)));
    own.filter_map(|(name, own)| Some((name.as_str(), why_expiring(own, now)?)))
        .collect()
}

fn written(config: &Config) -> impl Iterator<Item = (&String, &UpstreamTls)> {
    let upstreams = config.upstream.iter();
    upstreams.filter_map(|(name, upstream)| Some((name, upstream.tls.as_ref()?)))
}

fn gather<'a>(
    read: impl IntoIterator<Item = (&'a String, Result<Material, MaterialError>)>,
) -> Result<Materials, Vec<UnusableMaterial>> {
    let mut materials = Materials::new();
    let mut failures = Vec::new();
    for (upstream, read) in read {
        match read {
            Ok(material) => {
                materials.insert(upstream.clone(), material);
            }
            Err(error) => failures.push(UnusableMaterial::new(upstream, &error)),
        }
    }
    if failures.is_empty() {
        Ok(materials)
    } else {
        Err(failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Nothing, load_text};

    const TEXT: &str = r#"
[listener.web]
bind = ":8080"
upstream = "api"
[upstream.api]
endpoints = ["api.internal:8443"]
[upstream.api.tls]
ca = "/no/such/folder/ca.pem"
certificate = { cert = "/no/such/folder/a.pem", key = "/no/such/folder/a.key" }
"#;

    #[tokio::test]
    async fn a_file_that_cannot_be_used_has_its_place() {
        let mut outcome = load_text("evenkeel.toml", TEXT, &Nothing);
        let config = outcome.config.as_ref().expect("a sound text");
        let at_once = read_at_once(config).expect_err("no such file");
        let unusable = read(config).await.expect_err("no such file");
        assert_eq!(unusable[0].why, at_once[0].why);
        let finding = unusable[0].finding(&outcome.places);
        outcome.add(vec![finding]);
        let told = outcome.render(crate::config::Style::default());
        assert!(told.contains("E0124"), "{told}");
        assert!(
            told.contains("8 | ca = \"/no/such/folder/ca.pem\""),
            "{told}"
        );
    }
}
