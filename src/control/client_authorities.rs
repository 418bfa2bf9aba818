//! Reads the authorities whose clients are taken, and what they revoked, as certificates are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

use super::aside::{aside, at_once};
use super::certificates::Certificates;
use crate::config::{ClientCertificates as Written, Config, Diagnostic, Places, Tls};
use crate::snapshot::client_rule;
use crate::telemetry::rfc3339;
use crate::tls::{Authorities, AuthorityError, ClientRule, Credentials, Digest};

/// The rules for clients of every listener that has some, by its name.
pub type ClientRules = BTreeMap<String, Vec<ClientRule>>;

/// Which of the files of a listener's rules is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    listener: String,
    /// Which of the listener's rules it is.
    rule: usize,
    /// Which of the lists of revoked certificates; none for the authorities.
    list: Option<usize>,
}

/// Authorities that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    file: File,
    why: String,
}

/// A list that is old, or that is missing.
#[derive(Debug)]
pub struct Doubt {
    file: File,
    /// The authority that has no list.
    without: Option<String>,
    why: String,
}

impl Unusable {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        let file = &self.file;
        places.client_authority(&file.listener, (file.rule, file.list), &self.why)
    }
}

impl Doubt {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        let file = &self.file;
        match &self.without {
            Some(authority) => places.no_revocations(&file.listener, file.rule, authority),
            None => places.old_revocations(&file.listener, (file.rule, file.list), &self.why),
        }
    }

    /// Whether it is about a list whose time has passed.
    pub fn is_old(&self) -> bool {
        self.without.is_none()
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener {}: {}", self.file.listener, self.why)
    }
}

/// Reads all of them, or finds every one that cannot be used.
pub async fn read(config: &Config) -> Result<ClientRules, Vec<Unusable>> {
    let mut read = Vec::new();
    for (listener, rule, written) in written(config) {
        read.push((listener, rule, read_one(written).await));
    }
    gathered(read)
}

/// The same for a command, which has nothing else to do meanwhile.
pub fn read_at_once(config: &Config) -> Result<ClientRules, Vec<Unusable>> {
    let read = written(config).map(|(listener, rule, written)| {
        let (ca, crl) = (written.ca.clone(), written.crl.clone());
        let read = at_once(move || Authorities::read(&ca, &crl));
        (listener, rule, taken(written, read))
    });
    gathered(read)
}

/// Rules, each with its listener and its place there.
fn gathered<'a>(
    read: impl IntoIterator<
        Item = (
            &'a String,
            usize,
            Result<ClientRule, (Option<usize>, String)>,
        ),
    >,
) -> Result<ClientRules, Vec<Unusable>> {
    let mut rules = ClientRules::new();
    let mut unusable = Vec::new();
    for (listener, rule, read) in read {
        match read.and_then(without_fallen) {
            Ok(read) => rules.entry(listener.clone()).or_default().push(read),
            Err((list, why)) => {
                let listener = listener.clone();
                let file = File {
                    listener,
                    rule,
                    list,
                };
                unusable.push(Unusable { file, why });
            }
        }
    }
    if unusable.is_empty() {
        Ok(rules)
    } else {
        Err(unusable)
    }
}

/// A rule whose authorities all stand. One that falls while running is dropped, as its list wants
/// it; one that has fallen already is a mistake in the file.
fn without_fallen(rule: ClientRule) -> Result<ClientRule, (Option<usize>, String)> {
    match &rule.authorities.fallen {
        Some(fault) => Err((None, fault.to_string())),
        None => Ok(rule),
    }
}

/// What there is to tell of a rule whose files have changed.
pub(super) fn news(rule: &ClientRule, written: &Written) -> String {
    let ca = written.ca.display();
    let news = format!("authorities in {ca}, or what they revoked, changed");
    match &rule.authorities.fallen {
        Some(fault) => format!("{news}, and {fault}"),
        None => news,
    }
}

/// The rules of one listener, read again.
pub(super) async fn of_listener(tls: &Tls) -> Result<Vec<ClientRule>, String> {
    let mut rules = Vec::with_capacity(tls.client_certificates.len());
    for written in &tls.client_certificates {
        rules.push(read_one(written).await.map_err(|(_, why)| why)?);
    }
    Ok(rules)
}

/// What tells whether the files of one listener have changed.
pub(super) async fn digests(tls: &Tls) -> Result<Vec<Digest>, String> {
    let mut digests = Vec::with_capacity(tls.client_certificates.len());
    for written in &tls.client_certificates {
        let (ca, crl) = (written.ca.clone(), written.crl.clone());
        let digest = aside(files(written), move || Authorities::digest_of(&ca, &crl)).await?;
        digests.push(digest.map_err(|error| error.to_string())?);
    }
    Ok(digests)
}

/// Lists whose time has passed, and authorities without one.
pub fn doubts(rules: &ClientRules, now: SystemTime) -> Vec<Doubt> {
    let of = |(listener, rules): (&String, &Vec<ClientRule>)| doubts_of(listener, rules, now);
    rules.iter().flat_map(of).collect()
}

/// The same of one listener.
pub(super) fn doubts_of(listener: &str, rules: &[ClientRule], now: SystemTime) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for (rule, written) in rules.iter().enumerate() {
        let file = |list| File {
            listener: listener.to_owned(),
            rule,
            list,
        };
        for list in &written.authorities.lists {
            if let Some(until) = list.next_update.filter(|until| *until < now) {
                doubts.push(Doubt {
                    file: file(Some(list.file)),
                    without: None,
                    why: format!(
                        "a newer list of revoked certificates is missing since {}",
                        rfc3339(until)
                    ),
                });
            }
        }
        for authority in &written.authorities.without_list {
            doubts.push(Doubt {
                file: file(None),
                without: Some(authority.clone()),
                why: format!(
                    "clients of `{authority}` are refused: it has no list of revoked ones"
                ),
            });
        }
    }
    doubts
}

/// What each listener shows, and what it asks for.
pub(super) fn joined(
    certificates: Certificates,
    mut rules: ClientRules,
) -> BTreeMap<String, Credentials> {
    let joined = certificates.into_iter().map(|(listener, certificates)| {
        let rules = rules.remove(&listener).unwrap_or_default();
        let credentials = Credentials {
            certificates,
            rules,
        };
        (listener, credentials)
    });
    joined.collect()
}

/// The listener and the position of each.
fn written(config: &Config) -> impl Iterator<Item = (&String, usize, &Written)> {
    config.listener.iter().flat_map(|(name, listener)| {
        let written = listener.tls.iter().flat_map(|tls| &tls.client_certificates);
        written
            .enumerate()
            .map(move |(rule, written)| (name, rule, written))
    })
}

/// Reads one. An error says in which of its lists it is, and what is wrong.
async fn read_one(written: &Written) -> Result<ClientRule, (Option<usize>, String)> {
    let (ca, crl) = (written.ca.clone(), written.crl.clone());
    let read = aside(files(written), move || Authorities::read(&ca, &crl));
    taken(written, read.await)
}

/// What is read for one.
fn files(written: &Written) -> impl Iterator<Item = &Path> {
    [&written.ca]
        .into_iter()
        .chain(&written.crl)
        .map(|file| &**file)
}

/// What came of reading one.
fn taken(
    written: &Written,
    read: Result<Result<Authorities, AuthorityError>, String>,
) -> Result<ClientRule, (Option<usize>, String)> {
    match read {
        Ok(Ok(authorities)) => Ok(client_rule(written, authorities)),
        Ok(Err(error)) => Err(told(written, &error)),
        Err(why) => Err((None, why)),
    }
}

/// Which of the lists it is, and what is wrong.
fn told(written: &Written, error: &AuthorityError) -> (Option<usize>, String) {
    let list = written.crl.iter().position(|path| *path == error.file);
    (list.filter(|_| error.file != written.ca), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::cases;

    #[tokio::test]
    async fn authorities_that_cannot_be_used_have_their_place() {
        let outcome = cases::case("E0125");
        let config = outcome.config.as_ref().unwrap();
        let unusable = read(config).await.unwrap_err();
        let at_once = read_at_once(config).unwrap_err();
        assert_eq!(unusable[0].why, at_once[0].why);
        let findings = unusable.iter().map(|one| one.finding(&outcome.places));
        let findings = findings.collect();
        cases::found("E0125", outcome, findings);
    }

    #[test]
    fn lists_that_are_old_or_missing_have_their_places() {
        for (code, list, without) in [
            ("W0314", Some(1), None),
            ("W0315", None, Some("CN=clients")),
        ] {
            let outcome = cases::case(code);
            let doubt = Doubt {
                file: File {
                    listener: "https".to_owned(),
                    rule: 1,
                    list,
                },
                without: without.map(str::to_owned),
                why: "a newer list of revoked certificates is missing since 2026-01-02T03:04:05.000000Z".to_owned(),
            };
            let findings = vec![doubt.finding(&outcome.places)];
            cases::found(code, outcome, findings);
        }
    }
}
