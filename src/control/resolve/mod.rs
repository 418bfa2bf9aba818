//! Names of endpoints into addresses, once per configuration.
//!
//! Problem: the system's resolver blocks, for many seconds where a name server is down, and a
//! proxy that starts with half of its endpoints hides the mistake until they are needed. So the
//! look-ups run beside each other on blocking threads, each name once, all under one time limit;
//! and any name without an address refuses the whole configuration before anything is changed.
//!
//! An IP literal and a Unix socket need no look-up. A name with several addresses becomes as many
//! endpoints, all of one family: IPv4 if it has any, else IPv6, since the two often lead to the
//! same machine, which would then get twice its share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::config::{Config, Diagnostic, EndpointDetails, EndpointEntry, Places, Upstream};
use crate::net::Address;
use crate::snapshot::effective_upstreams;
use crate::upstream::{ResolvedEndpoint, entries};

mod names;
#[cfg(test)]
mod tests;

/// The endpoints of every upstream, by its name; the unnamed ones of `to = […]` are among them.
pub type Resolved = BTreeMap<String, Vec<ResolvedEndpoint>>;

/// The addresses of names.
pub type Hosts = BTreeMap<String, Vec<IpAddr>>;

/// What the names of a configuration stand for.
#[derive(Debug, Default)]
pub struct Names {
    /// The endpoints.
    pub endpoints: Resolved,
    /// The addresses of each name.
    pub hosts: Hosts,
    /// Names that could not be looked up, each with the reason, and have the addresses that were
    /// remembered.
    pub remembered: Vec<String>,
}

/// An endpoint whose name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint `{endpoint}` of upstream `{upstream}`: {why}")]
pub struct Unresolved {
    /// Its upstream.
    pub upstream: String,
    /// The endpoint as it was written.
    pub endpoint: String,
    /// What the resolver said.
    pub why: String,
}

/// An endpoint's address as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Written<'a> {
    Known(Address),
    Name { host: &'a str, port: u16 },
    Malformed,
}

/// What is known of each `host` after the look-ups.
type Found = BTreeMap<String, Result<Vec<IpAddr>, String>>;

impl Unresolved {
    /// The finding about it.
    pub fn finding(&self, places: &Places) -> Diagnostic {
        places.no_address(&self.upstream, &self.endpoint, &self.why)
    }
}

impl<'a> Written<'a> {
    fn parse(text: &'a str) -> Self {
        if let Some(path) = text.strip_prefix("unix:") {
            return Self::Known(Address::Unix(Arc::new(PathBuf::from(path))));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::Known(Address::Ip(address));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains(':') => port
                .parse()
                .map_or(Self::Malformed, |port| Self::Name { host, port }),
            _ => Self::Malformed,
        }
    }
}

/// The addresses of all endpoints of a configuration, or every endpoint that has none. A name that
/// cannot be looked up has the addresses that are `remembered` of it, if any are.
pub async fn resolve(
    config: &Config,
    limit: Duration,
    remembered: &Hosts,
) -> Result<Names, Vec<Unresolved>> {
    resolve_by(config, limit, remembered, names::look_up).await
}

/// The same with a resolver of the caller's choice, which may block.
async fn resolve_by<L>(
    config: &Config,
    limit: Duration,
    remembered: &Hosts,
    look_up: L,
) -> Result<Names, Vec<Unresolved>>
where
    L: Fn(&str) -> io::Result<Vec<IpAddr>> + Clone + Send + 'static,
{
    let upstreams = effective_upstreams(config);
    let mut found = find(hosts(&upstreams), limit, look_up).await;
    let mut names = Names::default();
    for (host, answer) in &mut found {
        if let (Err(why), Some(addresses)) = (&answer, remembered.get(host)) {
            names.remembered.push(format!("{host}: {why}"));
            *answer = Ok(addresses.clone());
        }
        if let Ok(addresses) = answer {
            names.hosts.insert(host.clone(), addresses.clone());
        }
    }
    let mut failures = Vec::new();
    for (name, upstream) in &upstreams {
        let mut endpoints = Vec::new();
        for (zone, entry) in entries(upstream) {
            match addresses(text(entry), &found) {
                Ok(addresses) => add(&mut endpoints, zone, entry, addresses),
                Err(why) => failures.push(Unresolved {
                    upstream: name.clone(),
                    endpoint: text(entry).to_owned(),
                    why,
                }),
            }
        }
        names.endpoints.insert(name.clone(), endpoints);
    }
    if failures.is_empty() {
        Ok(names)
    } else {
        Err(failures)
    }
}

/// The names that a configuration has looked up, each once.
pub fn names_of(config: &Config) -> BTreeSet<String> {
    hosts(&effective_upstreams(config))
}

/// The names that have to be looked up, each once.
fn hosts(upstreams: &BTreeMap<String, Upstream>) -> BTreeSet<String> {
    upstreams
        .values()
        .flat_map(entries)
        .filter_map(|(_, entry)| match Written::parse(text(entry)) {
            Written::Name { host, .. } => Some(host.to_owned()),
            Written::Known(_) | Written::Malformed => None,
        })
        .collect()
}

/// Looks names up beside each other until all are done or the time is over.
async fn find<L>(hosts: BTreeSet<String>, limit: Duration, look_up: L) -> Found
where
    L: Fn(&str) -> io::Result<Vec<IpAddr>> + Clone + Send + 'static,
{
    let deadline = Instant::now() + limit;
    let at_once = Arc::new(Semaphore::new(LOOK_UPS_AT_ONCE));
    let mut tasks = JoinSet::new();
    for host in &hosts {
        let (host, look_up) = (host.clone(), look_up.clone());
        let at_once = Arc::clone(&at_once);
        tasks.spawn(async move {
            let permit = at_once.acquire_owned().await;
            let name = host.clone();
            // The permit goes with the blocking call, which outlives its task when time is over.
            let answer = spawn_blocking(move || {
                let answer = look_up(&name);
                drop(permit);
                answer
            });
            let answer = match answer.await {
                Ok(answer) => one_family(answer),
                Err(error) => Err(error.to_string()),
            };
            (host, answer)
        });
    }
    let mut found = Found::new();
    while let Ok(Some(done)) = timeout_at(deadline, tasks.join_next()).await {
        if let Ok((host, answer)) = done {
            found.insert(host, answer);
        }
    }
    for host in hosts {
        found.entry(host).or_insert_with(|| {
            let limit = limit.as_secs_f32();
            Err(format!("the resolver did not answer within {limit} s"))
        });
    }
    found
}

/// The addresses of one family, in a fixed order: name servers rotate theirs, and an order that
/// changes with each reload would move the traffic of `first_healthy`.
fn one_family(answer: io::Result<Vec<IpAddr>>) -> Result<Vec<IpAddr>, String> {
    let mut addresses = answer.map_err(|error| error.to_string())?;
    if addresses.iter().any(IpAddr::is_ipv4) {
        addresses.retain(IpAddr::is_ipv4);
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err("the name has no address".to_owned());
    }
    Ok(addresses)
}

fn addresses(text: &str, found: &Found) -> Result<Vec<Address>, String> {
    match Written::parse(text) {
        Written::Known(address) => Ok(vec![address]),
        Written::Malformed => Err("expected host:port, [v6]:port or unix:/path".to_owned()),
        Written::Name { host, port } => match found.get(host) {
            Some(Ok(addresses)) => Ok(addresses
                .iter()
                .map(|ip| Address::Ip(SocketAddr::new(*ip, port)))
                .collect()),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the name was not looked up".to_owned()),
        },
    }
}

/// Adds the endpoints of one entry.
fn add(
    endpoints: &mut Vec<ResolvedEndpoint>,
    zone: &str,
    entry: &EndpointEntry,
    addresses: Vec<Address>,
) {
    let details = details(entry);
    let is_single = addresses.len() == 1;
    let host: Option<Arc<str>> = host(&details.address).map(Arc::from);
    for address in addresses {
        // A name says more than an address, as long as it names one endpoint.
        let name = if is_single {
            details.address.clone()
        } else {
            address.to_string()
        };
        endpoints.push(ResolvedEndpoint {
            address,
            name: name.into(),
            host: host.clone(),
            zone: zone.into(),
            weight: details.weight.unwrap_or(1),
            backup: details.backup.unwrap_or(false),
            max_in_flight: details.max_in_flight,
            max_connections: details.max_connections,
        });
    }
}

/// What stands before the port of an endpoint.
fn host(address: &str) -> Option<&str> {
    if address.starts_with("unix:") {
        return None;
    }
    let (host, _) = address.rsplit_once(':')?;
    Some(host.trim_start_matches('[').trim_end_matches(']'))
}

fn text(entry: &EndpointEntry) -> &str {
    match entry {
        EndpointEntry::Address(address) => address,
        EndpointEntry::Detailed(details) => &details.address,
    }
}

fn details(entry: &EndpointEntry) -> Cow<'_, EndpointDetails> {
    match entry {
        EndpointEntry::Address(address) => Cow::Owned(EndpointDetails {
            address: address.clone(),
            weight: None,
            backup: None,
            max_in_flight: None,
            max_connections: None,
        }),
        EndpointEntry::Detailed(details) => Cow::Borrowed(details),
    }
}

/// Enough to hide the round trips, few enough not to look like an attack to a name server.
const LOOK_UPS_AT_ONCE: usize = 32;
