//! The line of the access log that a session leaves.

use std::time::SystemTime;

use super::cause::Cause;
use super::{Session, new_id};
use crate::context::Proxied;
use crate::snapshot::SessionResult;
use crate::telemetry::access::{End, Entry, Origin, Target};

impl Session {
    pub(super) fn log(&self) {
        if !self.local.access_log.is_on() {
            return;
        }
        let endpoint = self.endpoint.as_deref();
        let (total, now) = (self.began.elapsed(), SystemTime::now());
        let hello = self.hello.as_deref();
        let certificate = hello.and_then(|hello| hello.certificate.as_ref());
        let origin = Origin::new(&self.metrics.listener, &self.metrics.route);
        let upstream = &self.metrics.upstream;
        let waited = self.waited.time();
        let id = self.id.as_deref().cloned();
        let id = id.unwrap_or_else(|| new_id(&self.local));
        // What we do not know ourselves, the proxy in front may have said.
        let proxied = self.proxied.as_deref();
        let server_name = self.server_name().map(str::as_bytes);
        let server_name = server_name.or_else(|| proxied.and_then(Proxied::authority));
        let target = endpoint.map_or_else(
            || Target::new(upstream, "", ""),
            |endpoint| Target::new(upstream, &endpoint.zone, &endpoint.name),
        );
        self.local.access_log.record(&Entry {
            at: now.checked_sub(total).unwrap_or(now),
            request_id: id.bytes(),
            origin: &origin,
            target: Some(&target),
            client: self.peer,
            proxy: proxied.map(|proxied| proxied.by.ip()),
            method: "",
            scheme: "tcp",
            host: server_name.unwrap_or_default(),
            path: b"",
            query: None,
            status: None,
            grpc: None,
            request_bytes: self.passed.sent.get(),
            response_bytes: self.passed.received.get(),
            version: "",
            tls: hello.and_then(|hello| hello.version),
            client_certificate: certificate.map(|shown| (&*shown.subject, &*shown.fingerprint)),
            user_agent: b"",
            referer: b"",
            attempts: self.attempts.into(),
            queued: (!waited.is_zero()).then_some(waited),
            connect: self.connect,
            first_byte: None,
            total,
            overhead: None,
            end: end(self.result, self.error),
            error: self.error.map(Cause::word),
            generation: self.generation,
        });
    }
}

/// The log's word for how a session ended.
fn end(result: SessionResult, error: Option<Cause>) -> End {
    if result == SessionResult::Unavailable && error != Some(Cause::LimitReached) {
        return End::EndpointReset;
    }
    result.end()
}
