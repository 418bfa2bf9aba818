//! Certificates that change by themselves, when their files do.
//!
//! Problem: certificates are renewed by another program, at night, and expire in those that nobody
//! told to read them again. So the files are looked at every few seconds, by content: times of
//! files and notifications tell nothing where a folder is swapped behind a link (Kubernetes), is
//! mounted from elsewhere or is written in place. What has changed is read and checked wholly, all
//! of a listener's or upstream's, and swapped at once; with any mistake the old ones stay.
//!
//! A certificate and its key are two files, and cannot be replaced at one time. So a mistake is
//! told only at the second look in a row.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::certificates::why_stale;
use super::refusals::{Owner, Refusals};
use super::{Readiness, certificates, client_authorities, materials};
use crate::config::{self, UpstreamTls};
use crate::snapshot::{Handle, Listener, Termination};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::rfc3339;
use crate::tls::{Certificate, Client, Credentials, Unshown};

/// Looks after the certificates of the snapshot in force.
#[derive(Debug)]
pub struct Renewals {
    handle: Handle,
    events: Events,
    readiness: Readiness,
    refusals: Refusals,
    /// What was told of lists of revoked certificates that should have been replaced.
    old_lists: BTreeSet<String>,
}

impl Renewals {
    /// For the listeners of the snapshot that is in force at each look. What is refused is told
    /// there.
    pub fn new(handle: Handle, events: Events, readiness: Readiness, refusals: Refusals) -> Self {
        Self {
            handle,
            events,
            readiness,
            refusals,
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
        let config = &snapshot.config;
        self.refusals.retain(|owner| match owner {
            Owner::Listener(name) => {
                let listener = config.listener.get(name);
                listener.is_some_and(|listener| listener.tls.is_some())
            }
            Owner::Upstream(name) => {
                let upstream = config.upstream.get(name);
                upstream.is_some_and(|upstream| upstream.tls.is_some())
            }
        });
        let mut old_lists = BTreeSet::new();
        for listener in &snapshot.listeners {
            let written = config.listener.get(&*listener.name);
            let Some(written) = written.and_then(|written| written.tls.as_ref()) else {
                continue;
            };
            let renewed = self.renew(listener, written).await;
            self.tell(&Owner::Listener(listener.name.to_string()), renewed);
            old_lists.extend(self.old_lists(listener));
        }
        for (name, upstream) in &snapshot.upstreams {
            let written = config.upstream.get(&**name);
            let written = written.and_then(|written| written.tls.as_ref());
            let (Some(written), Some(client)) = (written, upstream.tls()) else {
                continue;
            };
            let renewed = renew_client(client, written).await;
            self.tell(&Owner::Upstream(name.to_string()), renewed);
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
                let owner = Owner::Listener(listener.name.to_string());
                self.publish("crl_expired", &owner, told.clone());
            }
            old.push(told);
        }
        old
    }

    /// Puts a listener's certificates in force if they have changed. Tells which.
    async fn renew(
        &self,
        listener: &Listener,
        written: &config::Tls,
    ) -> Result<Option<String>, String> {
        let Some(tls) = &listener.tls else {
            return Ok(None);
        };
        let now = SystemTime::now();
        self.leave_stale_away(listener, tls, now)?;
        let (shown, before) = (tls.certificates(), tls.digests());
        let mut has_changed = shown.iter().any(|one| one.misses_its_staple(now));
        for (written, before) in written.certificates.iter().zip(&before) {
            has_changed |= certificates::digest(written).await? != *before;
        }
        let clients_before = tls.client_digests();
        let clients_now = client_authorities::digests(written).await?;
        has_changed |= clients_now != clients_before;
        if !has_changed {
            return Ok(None);
        }
        let mut renewed = Vec::with_capacity(written.certificates.len());
        for written in &written.certificates {
            let certificate = certificates::read_one(written).await;
            renewed.push(certificate.map_err(|(_, why)| why)?);
        }
        for (new, old) in renewed.iter().zip(&shown) {
            not_worse(new, old, now)?;
        }
        let is_new = |one: &&Certificate| !before.contains(&one.digest);
        let mut told: Vec<String> = renewed.iter().filter(is_new).map(news).collect();
        let of_new = renewed.iter().filter(is_new);
        let stale = of_new.clone().filter_map(|one| why_stale(one, now));
        let stale: Vec<String> = stale.collect();
        let unshown = of_new.filter_map(|one| one.unshown.as_ref());
        let unshown: Vec<String> = unshown.map(Unshown::to_string).collect();
        let rules = client_authorities::of_listener(written).await?;
        for (rule, written) in rules.iter().zip(&written.client_certificates) {
            if !clients_before.contains(&rule.authorities.digest) {
                told.push(client_authorities::news(rule, written));
            }
        }
        tls.renew(Credentials {
            certificates: renewed,
            rules,
        })?;
        self.tell_unshown("ocsp_expired", listener, &stale);
        self.tell_unshown("ocsp_rejected", listener, &unshown);
        Ok((!told.is_empty()).then(|| told.join(", ")))
    }

    /// Leaves away what is shown and holds no more. It is known without any file, so that nothing
    /// that is wrong with one keeps it in force.
    fn leave_stale_away(
        &self,
        listener: &Listener,
        tls: &Termination,
        now: SystemTime,
    ) -> Result<(), String> {
        let mut certificates = tls.certificates();
        let mut stale = Vec::new();
        for certificate in &mut certificates {
            if certificate.leave_stale_away(now) {
                stale.extend(why_stale(certificate, now));
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        let rules = tls.client_rules();
        tls.renew(Credentials {
            certificates,
            rules,
        })?;
        self.tell_unshown("ocsp_expired", listener, &stale);
        Ok(())
    }

    /// Tells of what authorities say that is not shown to a listener's clients.
    fn tell_unshown(&self, kind: &'static str, listener: &Listener, why: &[String]) {
        if !why.is_empty() {
            let owner = Owner::Listener(listener.name.to_string());
            let why = format!("not shown: {}", why.join(", "));
            self.publish(kind, &owner, why);
        }
    }

    /// Tells what came of a look: a mistake at the second one in a row.
    fn tell(&self, owner: &Owner, renewed: Result<Option<String>, String>) {
        match renewed {
            Ok(told) => {
                self.refusals.none(owner);
                if let Some(told) = told {
                    self.publish("cert_reloaded", owner, told);
                }
            }
            Err(why) => {
                if self.refusals.wrong(owner, &why) {
                    let what = format!("the certificates before stay in force: {why}");
                    self.publish("cert_rejected", owner, what);
                }
            }
        }
    }

    fn publish(&self, kind: &'static str, owner: &Owner, why: String) {
        let (owner, name) = owner.kind_and_name();
        let fields = vec![(owner, name.to_owned())];
        self.events.publish(Event { kind, why, fields });
    }
}

/// Puts what an upstream's TLS is made with in force, if it has changed. Tells what.
async fn renew_client(client: &Client, written: &UpstreamTls) -> Result<Option<String>, String> {
    if written.ca.is_none() && written.certificate.is_none() {
        return Ok(None);
    }
    let material = materials::read_again(written, client.trust()).await;
    let material = material.map_err(|error| error.to_string())?;
    if material.digest() == client.digest() {
        return Ok(None);
    }
    let now = SystemTime::now();
    let (new, old) = (&material.certificate, client.certificate());
    if let (Some(new), Some(old)) = (new, &old) {
        not_worse(new, old, now)?;
    }
    let renewed = client.renew(&material);
    renewed.map_err(|error| error.to_string())?;
    let told = match new {
        Some(new) if old.is_none_or(|old| old.digest != new.digest) => news(new),
        _ => "endpoints may have certificates of other authorities".to_owned(),
    };
    Ok(Some(told))
}

/// By itself, one that is not valid takes no place of one that is.
fn not_worse(new: &Certificate, old: &Certificate, now: SystemTime) -> Result<(), String> {
    if !new.is_valid_at(now) && old.is_valid_at(now) {
        let file = new.file.display();
        return Err(format!("{file} is not valid now, and the one before is"));
    }
    Ok(())
}

/// What there is to tell of a new certificate.
fn news(certificate: &Certificate) -> String {
    let until = rfc3339(certificate.not_after);
    format!("{} is valid until {until}", certificate.file.display())
}

/// Soon enough for who renews by hand and waits; reading some kilobytes that the kernel has at hand
/// costs nothing beside it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
