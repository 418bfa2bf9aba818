//! How sessions are made by the name that a client asks for: which certificates it must show, and
//! whose tickets it may come back with.
//!
//! A ticket tells that its holder was judged once. So each way of judging has a key for tickets of
//! its own: one that was given under a name without a rule, by another listener or before the
//! authorities changed cannot be read where a certificate is demanded, and the client does the
//! whole handshake.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, ServerConfig};

use super::authorities::Authorities;
use super::certificate::{Certificate, Digest};
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
type Judgement = Option<Digest>;

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

    fn judgement(&self) -> Digest {
        Digest::of([&[u8::from(self.require)][..]]).and(self.authorities.digest)
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
        // Rules that judge alike share one: the next ways find but one of them.
        let mut shared: HashMap<Judgement, Arc<dyn ProducesTickets>> = HashMap::new();
        let mut way = |rule: Option<&ClientRule>| {
            let judgement = rule.map(ClientRule::judgement);
            let kept = before.and_then(|before| before.tickets(judgement));
            let tickets = match shared.get(&judgement).or(kept) {
                Some(tickets) => Arc::clone(tickets),
                None => aws_lc_rs::Ticketer::new()?,
            };
            shared.insert(judgement, Arc::clone(&tickets));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::super::choice::Choice;
    use super::*;

    /// Authorities with names of this length in a file of this name.
    fn authorities(file: &str, number: usize, length: usize) -> Arc<Authorities> {
        let name = format!("evenkeel-clients-{}-{file}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let pem = (0..number).map(|number| {
            let mut params = CertificateParams::new(Vec::new()).expect("no names");
            let name = format!("{number:0>length$}");
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("a certificate").pem()
        });
        fs::write(&path, pem.collect::<String>()).expect("a writable directory");
        let read = Authorities::read(&path, &[]);
        fs::remove_file(&path).expect("a writable directory");
        Arc::new(read.expect("authorities"))
    }

    fn rule(host: &str, require: bool, authorities: &Arc<Authorities>) -> ClientRule {
        ClientRule {
            key: RuleKey([0; 32]),
            hosts: vec![host.to_owned()],
            require,
            forwards_certificate: false,
            authorities: Arc::clone(authorities),
        }
    }

    fn ways(rules: &[ClientRule], before: Option<&Ways>) -> Ways {
        let settle = |_: Option<&ClientRule>| {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ServerConfig::builder_with_provider(provider);
            Ok(builder
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(Choice::new(&[]))))
        };
        Ways::new(rules, before, settle).expect("ways")
    }

    /// Whether a ticket that is given under one name is read under another.
    fn is_read(given: (&Ways, &str), read: (&Ways, &str)) -> bool {
        let tickets =
            |(ways, name): (&Ways, &str)| Arc::clone(&ways.of(Some(name)).config.ticketer);
        let ticket = tickets(given).encrypt(b"a session").expect("a ticket");
        tickets(read).decrypt(&ticket).as_deref() == Some(&b"a session"[..])
    }

    /// Whatever else the library looks at: here a ticket of one cannot be read by the other.
    #[test]
    fn a_ticket_is_read_only_where_clients_are_judged_alike() {
        let (ours, theirs) = (authorities("ours", 1, 1), authorities("theirs", 1, 1));
        let ways = ways(
            &[
                rule("a.test", true, &ours),
                rule("b.test", false, &ours),
                rule("c.test", true, &theirs),
            ],
            None,
        );
        let names = ["a.test", "b.test", "c.test", "open.test"];
        for one in names {
            for other in names {
                let is_read = is_read((&ways, one), (&ways, other));
                assert_eq!(is_read, one == other, "{one} {other}");
            }
        }
    }

    #[test]
    fn tickets_of_rules_that_judge_alike_outlive_a_reload() {
        let ours = authorities("same", 1, 1);
        let rules = [rule("a.test", true, &ours), rule("b.test", true, &ours)];
        let before = ways(&rules, None);
        let after = ways(&rules, Some(&before));
        for name in ["a.test", "b.test", "open.test"] {
            assert!(is_read((&before, name), (&after, name)), "{name}");
        }
    }

    /// What does not fit is not told at all: then clients choose among all that they have.
    #[test]
    fn clients_are_told_the_names_of_authorities_that_fit() {
        let told = |authorities: Arc<Authorities>| {
            let judge = rule("a.test", true, &authorities).judge();
            judge.expect("authorities").root_hint_subjects().len()
        };
        assert_eq!(told(authorities("few", 3, 1000)), 3);
        assert_eq!(told(authorities("many", 17, 1000)), 0);
    }
}
