//! How sessions are made by the name that a client asks for: which certificates it must show, and
//! whose tickets it may come back with.
//!
//! A ticket tells that its holder was judged once. So each way of judging has a key for tickets of
//! its own: one that was given under a name without a rule, by another listener or before the
//! authorities changed cannot be read where a certificate is demanded, and the client does the
//! whole handshake.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, ServerConfig};
use sha2::{Digest as _, Sha256};

use super::authorities::Authorities;
use super::certificate::Certificate;
use super::for_names::ForNames;
use crate::net::RuleKey;

/// What a server shows its clients, and what it asks them for.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// Its certificates, of which the first is the default.
    pub certificates: Vec<Certificate>,
    /// What it asks clients for.
    pub rules: Vec<ClientRule>,
}

/// What is asked of clients under some names.
#[derive(Debug, Clone)]
pub struct ClientRule {
    /// Tells it from others.
    pub key: RuleKey,
    /// The names, some with `*.` in front; none for all others.
    pub hosts: Vec<String>,
    /// Whether a client without a certificate is refused.
    pub require: bool,
    /// Whether endpoints get the whole certificate.
    pub forwards_certificate: bool,
    /// Whose clients are taken.
    pub authorities: Arc<Authorities>,
}

/// How sessions are made.
pub(super) struct Way {
    pub(super) config: Arc<ServerConfig>,
    /// The rule for clients, and whether endpoints get their certificates whole.
    pub(super) rule: Option<(RuleKey, bool)>,
    /// What it takes to be let in.
    judgement: Judgement,
    tickets: Arc<dyn ProducesTickets>,
}

/// Tells what clients are let in by; nothing where none is asked for a certificate.
type Judgement = Option<[u8; 32]>;

/// How sessions are made, by name.
pub(super) struct Ways {
    /// For names without a rule.
    open: Arc<Way>,
    by_name: ForNames<Arc<Way>>,
}

impl From<Vec<Certificate>> for Credentials {
    /// Nobody is asked for a certificate.
    fn from(certificates: Vec<Certificate>) -> Self {
        Self {
            certificates,
            rules: Vec::new(),
        }
    }
}

impl ClientRule {
    /// Who judges clients by it.
    pub(super) fn judge(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let judge = self.authorities.verifier(self.require);
        judge.map_err(|error| Error::General(error.to_string()))
    }

    fn judgement(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update([u8::from(self.require)]);
        hash.update(self.authorities.digest);
        hash.finalize().into()
    }
}

impl Ways {
    /// The ways of these rules. `settle` finishes a configuration that judges clients by what it is
    /// given. Tickets of those before stay good where clients are judged as before.
    pub(super) fn new(
        rules: &[ClientRule],
        before: Option<&Self>,
        settle: impl Fn(Option<&ClientRule>) -> Result<ServerConfig, Error>,
    ) -> Result<Self, Error> {
        let way = |rule: Option<&ClientRule>| {
            let judgement = rule.map(ClientRule::judgement);
            let kept = before.and_then(|before| before.tickets(judgement));
            let tickets = match kept {
                Some(tickets) => Arc::clone(tickets),
                None => aws_lc_rs::Ticketer::new()?,
            };
            let mut config = settle(rule)?;
            config.ticketer = Arc::clone(&tickets);
            Ok::<_, Error>(Arc::new(Way {
                config: Arc::new(config),
                rule: rule.map(|rule| (rule.key, rule.forwards_certificate)),
                judgement,
                tickets,
            }))
        };
        let open = way(None)?;
        let mut ways = Vec::with_capacity(rules.len());
        for rule in rules {
            ways.push((&rule.hosts[..], way(Some(rule))?));
        }
        Ok(Self {
            open,
            by_name: ForNames::new(ways),
        })
    }

    /// How they are made whatever the name, if that makes no difference.
    pub(super) fn only(&self) -> Option<&Arc<Way>> {
        if self.by_name.is_empty() {
            return Some(&self.open);
        }
        self.by_name.others_alone()
    }

    /// How they are made for a client that asks for this name.
    pub(super) fn of(&self, name: Option<&str>) -> &Arc<Way> {
        self.by_name.of(name).unwrap_or(&self.open)
    }

    fn tickets(&self, judgement: Judgement) -> Option<&Arc<dyn ProducesTickets>> {
        let mut ways = self.by_name.values().chain([&self.open]);
        let same = ways.find(|way| way.judgement == judgement);
        same.map(|way| &way.tickets)
    }
}
