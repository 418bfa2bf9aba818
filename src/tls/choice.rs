//! Which certificate a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// The certificates of a listener by the names that they are for.
///
/// The exact name comes before the wildcard of its parent (one label, RFC 9525 §6.3), and both
/// before the first certificate, which is what a client gets that names nobody we know. Of several
/// for the same name, the first one whose kind of signature the client takes: so ECDSA and RSA
/// stand side by side.
#[derive(Debug)]
pub(super) struct Choice {
    exact: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    /// By what stands behind the `*.`.
    wildcard: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    all: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut choice = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            all: Vec::with_capacity(certificates.len()),
        };
        for certificate in certificates {
            choice.all.push(Arc::clone(&certificate.key));
            for name in &*certificate.names {
                let (keys, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut choice.wildcard, parent),
                    None => (&mut choice.exact, &**name),
                };
                let keys = keys.entry(name.into()).or_default();
                keys.push(Arc::clone(&certificate.key));
            }
        }
        choice
    }

    /// The certificates for a name, the preferred first.
    pub(super) fn for_name(&self, name: &str) -> impl Iterator<Item = &Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        let exact = self.exact.get(name.as_str());
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let wildcard = parent.and_then(|parent| self.wildcard.get(parent));
        exact.into_iter().chain(wildcard).flatten()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().into_iter();
        let named = named.flat_map(|name| self.for_name(name));
        let schemes = hello.signature_schemes();
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let mut candidates = named.chain(&self.all);
        candidates.find(usable).cloned()
    }
}
