//! The line of the access log that a session leaves.

use std::time::{Duration, SystemTime};

use super::Session;
use super::opening::LIMIT_REACHED;
use crate::snapshot::SessionResult;
use crate::telemetry::access::{End, Entry, Origin, Target};

impl Session {
    pub(super) fn log(&self) {
        if !self.local.access_log.is_on() {
            return;
        }
        let endpoint = self.endpoint.as_deref();
        let told = &*self.told;
        let (total, now) = (told.began.elapsed(), SystemTime::now());
        let terminated = told.terminated.as_ref();
        let server_name = terminated.and_then(|it| it.server_name.as_ref());
        let server_name = told.server_name.as_ref().or(server_name);
        let certificate = terminated.and_then(|it| it.certificate.as_ref());
        let origin = Origin::new(&self.facts.listener, &told.route);
        let upstream = &told.upstream;
        let target = endpoint.map_or_else(
            || Target::new(upstream, "", ""),
            |endpoint| Target::new(upstream, &endpoint.zone, &endpoint.name),
        );
        self.local.access_log.record(&Entry {
            at: now.checked_sub(total).unwrap_or(now),
            request_id: told.id.bytes(),
            origin: &origin,
            target: Some(&target),
            client: self.facts.peer,
            method: "",
            scheme: "tcp",
            host: server_name.map_or(b"", |name| name.as_bytes()),
            path: b"",
            query: None,
            status: None,
            grpc: None,
            request_bytes: self.passed.sent.get(),
            response_bytes: self.passed.received.get(),
            version: "",
            tls: terminated.and_then(|it| it.version),
            client_certificate: certificate.map(|shown| (&*shown.subject, &*shown.fingerprint)),
            user_agent: b"",
            referer: b"",
            attempts: told.attempts,
            queued: (told.queued > Duration::ZERO).then_some(told.queued),
            connect: told.connect,
            first_byte: None,
            total,
            overhead: None,
            end: end(self.result, self.error),
            error: self.error,
            generation: told.generation,
        });
    }
}

/// The log's word for how a session ended.
fn end(result: SessionResult, error: Option<&str>) -> End {
    match result {
        SessionResult::Ok => End::Ok,
        SessionResult::ClientReset => End::ClientAbort,
        SessionResult::EndpointReset | SessionResult::ConnectFailed => End::EndpointReset,
        SessionResult::Idle | SessionResult::Silent | SessionResult::MaxAge => End::Timeout,
        SessionResult::Unavailable if error != Some(LIMIT_REACHED) => End::EndpointReset,
        SessionResult::Denied => End::Denied,
        SessionResult::Unavailable | SessionResult::Removed | SessionResult::Cut => End::Shed,
    }
}
