//! What is asked of clients, and how one rule is told from another.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::config;
use crate::net::RuleKey;
use crate::tls::{Authorities, ClientRule, ForNames};

/// A rule as its author wrote it, with the authorities that were read for it.
pub fn client_rule(written: &config::ClientCertificates, authorities: Authorities) -> ClientRule {
    ClientRule {
        key: key(written),
        hosts: written.hosts.clone(),
        require: requires(written),
        forwards_certificate: forwards(written),
        authorities: Arc::new(authorities),
    }
}

/// The rules of a listener by name; none if no client is asked for a certificate.
pub(super) fn by_name(written: &config::Listener) -> Option<ForNames<RuleKey>> {
    let rules = &written.tls.as_ref()?.client_certificates;
    let keys = rules.iter().map(|rule| (&rule.hosts[..], key(rule)));
    (!rules.is_empty()).then(|| ForNames::new(keys))
}

/// Two rules that ask the same of clients are one, whatever their names.
fn key(written: &config::ClientCertificates) -> RuleKey {
    let mut hash = Sha256::new();
    hash.update([requires(written), forwards(written)].map(u8::from));
    let mut add = |path: &Path| {
        let path = path.as_os_str().as_encoded_bytes();
        // The length keeps them apart.
        hash.update((path.len() as u64).to_be_bytes());
        hash.update(path);
    };
    add(&written.ca);
    written.crl.iter().for_each(|path| add(path));
    RuleKey(hash.finalize().into())
}

fn requires(written: &config::ClientCertificates) -> bool {
    written.require.unwrap_or(true)
}

fn forwards(written: &config::ClientCertificates) -> bool {
    written.forward_certificate.unwrap_or(false)
}
