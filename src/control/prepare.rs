//! From a checked configuration to a snapshot that could be in force: all that can fail.
//!
//! The start and every reload go this one way, in this order: `[[test]]`s, names, sockets,
//! snapshot. Nothing of it touches what is running, so the caller may drop the result at any point;
//! sockets that were bound for it are closed with it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::aside::aside;
use super::certificates::{self, Unusable};
use super::client_authorities;
use super::core_dumps;
use super::inherited::Inherited;
use super::materials::{self, UnusableMaterial};
use super::privileges::confined::Confined;
use super::privileges::{self, PrivilegeError, Touched};
use super::resolve::{self, Hosts, Unresolved};
use super::sockets::{Bound, rehearse};
use crate::config::{Config, Diagnostic, Outcome, Places, Sources};
use crate::snapshot::{BuildError, Ingredients, Routing, Snapshot, TestFailure, build};
use crate::tls::KeyLogging;
use crate::upstream::World;

/// What every snapshot of this process is made with.
#[derive(Debug)]
pub struct Workshop {
    /// What outlives a configuration.
    pub world: World,
    /// Data-plane threads: the sockets that each listener needs.
    pub workers: usize,
    /// Makes what has to differ from process to process.
    pub seed: u64,
    /// Sockets of datagrams that were bound, while anybody has them.
    pub datagrams: Bound,
    /// Sockets that this process did not open itself.
    pub inherited: Inherited,
    /// What this process is confined to.
    pub confined: Confined,
}

/// A configuration that is to be put in force.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Digest of its text.
    pub sha256: Arc<str>,
    /// The number that it would have.
    pub generation: u64,
    /// Addresses for names that cannot be looked up.
    pub remembered: Arc<Hosts>,
}

/// Why a configuration cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Its text has mistakes; they are told with their places elsewhere.
    #[error("the configuration has {}", counted(*.0, "mistake"))]
    Mistakes(usize),
    /// It does not do what its author promised.
    #[error("{} failed", counted(.0.len(), "test"))]
    Tests(Vec<TestFailure>),
    /// Names without addresses.
    #[error("{} cannot be looked up", counted(.0.len(), "endpoint"))]
    Unresolved(Vec<Unresolved>),
    /// Certificates that cannot be used.
    #[error("{} cannot be used", counted(.0.len(), "certificate"))]
    Certificates(Vec<Unusable>),
    /// Authorities of clients that cannot be used.
    #[error("{} of clients cannot be used", counted(.0.len(), "authority file"))]
    Authorities(Vec<client_authorities::Unusable>),
    /// Files of TLS towards endpoints that cannot be used.
    #[error("{} for endpoints cannot be used", counted(.0.len(), "certificate"))]
    Materials(Vec<UnusableMaterial>),
    /// An address that cannot be listened on.
    #[error("listener `{listener}`: {source}")]
    Bind {
        /// The listener.
        listener: String,
        /// Why.
        source: io::Error,
    },
    /// An option of sockets that this machine refuses.
    #[error("{what} `{name}`: {source}")]
    Option {
        /// Whose it is: a listener or an upstream.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A setting that its owner refuses.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// It would end all that runs.
    #[error(
        "it has no listener, which would end {}: a file may have been cut off as it was written; \
         to stop serving, end the instance",
        counted(*.0, "listener")
    )]
    NoListener(usize),
    /// Nothing would be served.
    #[error("it has no listener: the file may have been cut off as it was written")]
    NothingListens,
    /// The log cannot go where it should.
    #[error("the log cannot be written to: {0}")]
    Log(io::Error),
    /// It names files that the process has shut itself off from.
    #[error(
        "{} is out of reach since the start (Landlock): put it beside the files that were named \
         then, or restart the instance, for an upgrade hands on what it is confined to; \
         security.allow_paths names folders to be read beforehand",
        .0.display()
    )]
    OutOfReach(std::path::PathBuf),
    /// It names a user that the process cannot become.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The process is about to end.
    #[error("this instance is about to end")]
    Draining,
    /// There is no file to read again.
    #[error(
        "this instance was started without a configuration file, so there is nothing to reload"
    )]
    NoFile,
    /// A fault of this program.
    #[error("the configuration could not be read: {0}")]
    Fault(String),
}

impl Candidate {
    /// The configuration that was read, if it is right.
    pub fn new(outcome: &Outcome, generation: u64) -> Result<Self, Rejection> {
        let Some(config) = &outcome.config else {
            return Err(Rejection::Mistakes(outcome.errors()));
        };
        Ok(Self {
            config: Arc::new(config.clone()),
            sha256: digest(&outcome.sources).into(),
            generation,
            remembered: Arc::default(),
        })
    }
}

impl Rejection {
    /// What is wrong in the configuration's text, with the places.
    pub fn findings(&self, places: &Places) -> Vec<Diagnostic> {
        match self {
            Self::Tests(failed) => failed.iter().map(|test| test.finding(places)).collect(),
            Self::Unresolved(failed) => failed.iter().map(|name| name.finding(places)).collect(),
            Self::Certificates(failed) => failed.iter().map(|one| one.finding(places)).collect(),
            Self::Authorities(failed) => failed.iter().map(|one| one.finding(places)).collect(),
            Self::Materials(failed) => failed.iter().map(|one| one.finding(places)).collect(),
            Self::Mistakes(_)
            | Self::Bind { .. }
            | Self::Option { .. }
            | Self::Build(_)
            | Self::NoListener(_)
            | Self::NothingListens
            | Self::Log(_)
            | Self::OutOfReach(_)
            | Self::Privileges(_)
            | Self::Draining
            | Self::NoFile
            | Self::Fault(_) => Vec::new(),
        }
    }
}

impl Workshop {
    /// Makes the snapshot of a configuration, beside the one in force if there is one.
    pub async fn prepare(
        &self,
        candidate: Candidate,
        previous: Option<&Snapshot>,
    ) -> Result<Snapshot, Rejection> {
        let config = candidate.config;
        reach(&self.confined, || Touched::by(&config)).await?;
        let failures = Routing::new(&config)?.failures();
        if !failures.is_empty() {
            return Err(Rejection::Tests(failures));
        }
        let names = resolve::resolve(&config, LOOK_UP_LIMIT, &candidate.remembered)
            .await
            .map_err(Rejection::Unresolved)?;
        for name in &names.remembered {
            tracing::warn!("the addresses that it had last are used for {name}");
        }
        core_dumps::forbid(&config);
        let certificates = certificates::read(&config)
            .await
            .map_err(Rejection::Certificates)?;
        let materials = materials::read(&config).await;
        let materials = materials.map_err(Rejection::Materials)?;
        for warning in materials::warnings(&config, &materials, SystemTime::now()) {
            tracing::warn!("{warning}");
        }
        for expiring in certificates::expiring(&certificates, SystemTime::now()) {
            tracing::warn!("{expiring}");
        }
        if logs_tls_keys(&config) {
            match KeyLogging::fault() {
                None => {
                    tracing::warn!(
                        "the secrets of TLS sessions are written down, see log.tls_keys"
                    );
                }
                Some(why) => tracing::warn!(
                    "the secrets of TLS sessions are not written down, though log.tls_keys asks for \
                     it: {why}"
                ),
            }
        }
        let client_rules = client_authorities::read(&config)
            .await
            .map_err(Rejection::Authorities)?;
        for doubt in client_authorities::doubts(&client_rules, SystemTime::now()) {
            tracing::warn!("{doubt}");
        }
        rehearse(&config)?;
        let sockets = self.bind(&config, previous)?;
        let mut snapshot = build(Ingredients {
            generation: candidate.generation,
            sha256: candidate.sha256,
            config,
            endpoints: names.endpoints,
            sockets,
            certificates: client_authorities::joined(certificates, client_rules),
            materials,
            world: &self.world,
            seed: self.seed,
            previous,
        })?;
        snapshot.lingering = self.datagrams.all();
        snapshot.hosts = names.hosts;
        Ok(snapshot)
    }
}

/// That the next start could become the user that a configuration names, who is of no use before:
/// as a good one it is kept for that start.
pub(super) async fn user_is_possible(config: &Arc<Config>, root: bool) -> Result<(), Rejection> {
    if config.user.is_none() {
        return Ok(());
    }
    let config = Arc::clone(config);
    let found = aside([], move || privileges::could_become(&config, root)).await;
    Ok(found.map_err(Rejection::Fault)??)
}

/// Fails where one of these files is out of reach: of the kernel there would be no reason. They are
/// asked for only where anything is, since that takes the schema, and more than a megabyte.
pub async fn reach(
    confined: &Confined,
    touched: impl FnOnce() -> Touched,
) -> Result<(), Rejection> {
    if !confined.is_so() {
        return Ok(());
    }
    let touched = touched();
    let (confined, looked) = (confined.clone(), touched.clone());
    let found = aside(touched.files(), move || confined.out_of_reach(&looked)).await;
    // A disk that hangs is told of by whoever reads from it.
    let file = found.ok().flatten();
    file.map_or(Ok(()), |file| Err(Rejection::OutOfReach(file)))
}

/// Whether somebody asked for the secrets of sessions, and there are such.
pub(super) fn logs_tls_keys(config: &Config) -> bool {
    let of_clients = config.listener.values().any(|one| one.tls.is_some());
    let of_endpoints = config.upstream.values().any(|one| one.tls.is_some());
    config.log.tls_keys == Some(true) && (of_clients || of_endpoints)
}

/// The digest of all texts, in hexadecimal: the same files give the same on every machine.
fn digest(sources: &Sources) -> String {
    let mut hash = Sha256::new();
    for text in sources.texts() {
        // The length keeps two files apart from one that holds both.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let bytes = hash.finalize();
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut text, byte| {
            text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or_default());
            text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or_default());
            text
        })
}

/// A number with its noun.
fn counted(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// The usual resolver gives up after two attempts of 5 s each: this lets it say so itself.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(11);
