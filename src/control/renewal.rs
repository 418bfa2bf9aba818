//! Certificates that change by themselves, when their files do.
//!
//! Problem: certificates are renewed by another program, at night, and expire in those that nobody
//! told to read them again. So the files are looked at every few seconds, by content: times of
//! files and notifications tell nothing where a folder is swapped behind a link (Kubernetes), is
//! mounted from elsewhere or is written in place. What has changed is read and checked wholly, all
//! of a listener's, and swapped at once; with any mistake the old ones stay.
//!
//! A certificate and its key are two files, and cannot be replaced at one time. So a mistake is
//! told only at the second look in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::{Readiness, certificates, client_authorities};
use crate::config;
use crate::snapshot::{Handle, Listener};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::rfc3339;
use crate::tls::{Certificate, Credentials};

/// Looks after the certificates of the snapshot in force.
#[derive(Debug)]
pub struct Renewals {
    handle: Handle,
    events: Events,
    readiness: Readiness,
    /// Looks in a row, by listener, at which something was wrong.
    wrong: BTreeMap<String, u32>,
    /// What was told of lists of revoked certificates that should have been replaced.
    old_lists: BTreeSet<String>,
}

impl Renewals {
    /// For the listeners of the snapshot that is in force at each look.
    pub fn new(handle: Handle, events: Events, readiness: Readiness) -> Self {
        Self {
            handle,
            events,
            readiness,
            wrong: BTreeMap::new(),
            old_lists: BTreeSet::new(),
        }
    }

    /// Looks until the process is about to end.
    pub async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.readiness.is_draining() {
            looks.tick().await;
            self.look().await;
        }
    }

    /// Looks once at all files.
    async fn look(&mut self) {
        let snapshot = self.handle.load();
        self.wrong
            .retain(|listener, _| snapshot.config.listener.contains_key(listener));
        let mut old_lists = BTreeSet::new();
        for listener in &snapshot.listeners {
            let written = snapshot.config.listener.get(&*listener.name);
            let Some(written) = written.and_then(|written| written.tls.as_ref()) else {
                continue;
            };
            match self.renew(listener, written).await {
                Ok(()) => {
                    self.wrong.remove(&*listener.name);
                }
                Err(why) => self.failed(&listener.name, &why),
            }
            old_lists.extend(self.old_lists(listener));
        }
        self.old_lists = old_lists;
    }

    /// Tells, once, of lists of revoked certificates whose time has passed.
    fn old_lists(&self, listener: &Listener) -> Vec<String> {
        let rules = listener.tls.as_ref().map(|tls| tls.client_rules());
        let doubts = rules
            .map(|rules| client_authorities::doubts_of(&listener.name, &rules, SystemTime::now()));
        let mut old = Vec::new();
        for doubt in doubts.unwrap_or_default() {
            let told = doubt.to_string();
            if doubt.is_old() && !self.old_lists.contains(&told) {
                self.publish("crl_expired", &listener.name, told.clone());
            }
            old.push(told);
        }
        old
    }

    /// Puts a listener's certificates in force if they have changed.
    async fn renew(&self, listener: &Listener, written: &config::Tls) -> Result<(), String> {
        let Some(tls) = &listener.tls else {
            return Ok(());
        };
        let mut has_changed = false;
        for (written, now) in written.certificates.iter().zip(tls.digests()) {
            has_changed |= certificates::digest(written).await? != now;
        }
        let clients_before = tls.client_digests();
        let clients_now = client_authorities::digests(written).await?;
        has_changed |= clients_now != clients_before;
        if !has_changed {
            return Ok(());
        }
        let mut renewed = Vec::with_capacity(written.certificates.len());
        for written in &written.certificates {
            let certificate = certificates::read_one(written).await;
            renewed.push(certificate.map_err(|(_, why)| why)?);
        }
        let now = SystemTime::now();
        let (shown, fresh) = (tls.certificates(), renewed.iter());
        let is_worse = |(new, old): &(&Certificate, &Certificate)| {
            !new.is_valid_at(now) && old.is_valid_at(now)
        };
        if let Some((worse, _)) = fresh.zip(&shown).find(is_worse) {
            let file = worse.file.display();
            return Err(format!("{file} is not valid now, and the one before is"));
        }
        let before = tls.digests();
        let is_new = |one: &&Certificate| !before.contains(&one.digest);
        let told = renewed.iter().filter(is_new).map(|one| {
            let until = rfc3339(one.not_after);
            format!("{} is valid until {until}", one.file.display())
        });
        let mut told: Vec<String> = told.collect();
        let rules = client_authorities::of_listener(written).await?;
        for (rule, written) in rules.iter().zip(&written.client_certificates) {
            if !clients_before.contains(&rule.authorities.digest) {
                told.push(format!(
                    "authorities in {}, or what they revoked, changed",
                    written.ca.display()
                ));
            }
        }
        let told = told.join(", ");
        tls.renew(Credentials {
            certificates: renewed,
            rules,
        })?;
        self.publish("cert_reloaded", &listener.name, told);
        Ok(())
    }

    /// Tells what is wrong at the second look in a row.
    fn failed(&mut self, listener: &str, why: &str) {
        let looks = self.wrong.entry(listener.to_owned()).or_default();
        *looks = looks.saturating_add(1);
        if *looks == 2 {
            let what = format!("the certificates before stay in force: {why}");
            self.publish("cert_rejected", listener, what);
        }
    }

    fn publish(&self, kind: &'static str, listener: &str, why: String) {
        let fields = vec![("listener", listener.to_owned())];
        self.events.publish(Event { kind, why, fields });
    }
}

/// Soon enough for who renews by hand and waits; reading some kilobytes that the kernel has at hand
/// costs nothing beside it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
