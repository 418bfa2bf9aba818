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

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::{MissedTickBehavior, interval};

use super::Readiness;
use super::certificates::{self, why_stale};
use crate::config;
use crate::snapshot::{Handle, Listener};
use crate::telemetry::events::{Event, Events};
use crate::telemetry::rfc3339;
use crate::tls::Certificate;

/// Looks after the certificates of the snapshot in force.
#[derive(Debug)]
pub struct Renewals {
    handle: Handle,
    events: Events,
    readiness: Readiness,
    /// Looks in a row, by listener, at which something was wrong.
    wrong: BTreeMap<String, u32>,
}

impl Renewals {
    /// For the listeners of the snapshot that is in force at each look.
    pub fn new(handle: Handle, events: Events, readiness: Readiness) -> Self {
        Self {
            handle,
            events,
            readiness,
            wrong: BTreeMap::new(),
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
        }
    }

    /// Puts a listener's certificates in force if they have changed.
    async fn renew(&self, listener: &Listener, written: &config::Tls) -> Result<(), String> {
        let Some(tls) = &listener.tls else {
            return Ok(());
        };
        // What held when it was read is shown until it holds no more.
        let now = SystemTime::now();
        let (shown, before) = (tls.certificates(), tls.digests());
        let mut has_changed = shown.iter().any(|one| one.is_wrongly_stapled(now));
        for (written, before) in written.certificates.iter().zip(&before) {
            has_changed |= certificates::digest(written).await? != *before;
        }
        if !has_changed {
            return Ok(());
        }
        let mut renewed = Vec::with_capacity(written.certificates.len());
        for written in &written.certificates {
            let certificate = certificates::read_one(written).await;
            renewed.push(certificate.map_err(|(_, why)| why)?);
        }
        let fresh = renewed.iter();
        let is_worse = |(new, old): &(&Certificate, &Certificate)| {
            !new.is_valid_at(now) && old.is_valid_at(now)
        };
        if let Some((worse, _)) = fresh.zip(&shown).find(is_worse) {
            let file = worse.file.display();
            return Err(format!("{file} is not valid now, and the one before is"));
        }
        let is_new = |one: &&Certificate| !before.contains(&one.digest);
        let told = renewed.iter().filter(is_new).map(|one| {
            let until = rfc3339(one.not_after);
            format!("{} is valid until {until}", one.file.display())
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let now_stale: Vec<String> = renewed
            .iter()
            .filter_map(|one| why_stale(one, now))
            .collect();
        tls.renew(renewed)?;
        if !told.is_empty() {
            self.publish("cert_reloaded", &listener.name, told);
        }
        if !now_stale.is_empty() {
            let why = format!("not shown any more: {}", now_stale.join(", "));
            self.publish("ocsp_expired", &listener.name, why);
        }
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
