//! The line of the access log that a session leaves.

use std::time::SystemTime;

use super::{LIMIT_REACHED, Session};
use crate::context::Proxied;
use crate::message::Value;
use crate::policy::RequestId;
use crate::snapshot::SessionResult;
use crate::telemetry::access::{End, Entry, Origin, Target};

impl Session {
    pub(super) fn log(&self) {
        if !self.local.access_log.is_on() {
            return;
        }
        let endpoint = self.endpoint.as_deref();
        let (total, now) = (self.began.elapsed(), SystemTime::now());
        let terminated = self.terminated.as_deref();
        let certificate = terminated.and_then(|it| it.certificate.as_ref());
        // What we do not know ourselves, the proxy in front may have said.
        let proxied = self.facts.proxied.as_deref();
        let id = proxied.and_then(Proxied::take_id).and_then(Value::new);
        let id = id.and_then(RequestId::of);
        let server_name = self.server_name.as_deref().map(str::as_bytes);
        let server_name = server_name.or_else(|| proxied?.authority());
        let origin = Origin::new(&self.facts.listener, &self.target.route.name);
        let upstream = &self.target.choice().upstream.name;
        let target = endpoint.map_or_else(
            || Target::new(upstream, "", ""),
            |endpoint| Target::new(upstream, &endpoint.zone, &endpoint.name),
        );
        self.local.access_log.record(&Entry {
            at: now.checked_sub(total).unwrap_or(now),
            request_id: id.as_ref().map_or(b"", RequestId::bytes),
            origin: &origin,
            target: Some(&target),
            client: self.facts.peer,
            proxy: self.facts.proxy().map(|proxy| proxy.ip()),
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
            tls: terminated.and_then(|it| it.version),
            client_certificate: certificate.map(|shown| (&*shown.subject, &*shown.fingerprint)),
            user_agent: b"",
            referer: b"",
            attempts: self.attempts,
            connect: self.connect,
            first_byte: None,
            total,
            overhead: None,
            end: end(self.result, self.error),
            error: self.error,
            generation: self.generation,
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
