//! A line of the access log as a JSON object. Names and order are those of the log-field reference;
//! what is not known is left out.

use std::time::{Duration, SystemTime};

use crate::telemetry::text::{self, Clock};

use super::{End, Entry};

/// Appends one line.
pub(super) fn line(out: &mut Vec<u8>, clock: &mut Clock, entry: &Entry<'_>, query: Option<&[u8]>) {
    let mut object = Object { out };
    object.time(clock, entry.at);
    where_to(&mut object, entry);
    what(&mut object, entry, query);
    how(&mut object, entry);
    out.extend_from_slice(b"}\n");
}

fn where_to(object: &mut Object<'_>, entry: &Entry<'_>) {
    object.bytes(br#","request_id":""#, entry.request_id);
    object.raw(entry.origin.json());
    if let Some(target) = entry.target {
        object.raw(target.json());
    }
    object.raw(br#","client.address":""#);
    text::address(object.out, entry.client.ip());
}

/// What most requests have in common is written in one piece.
fn what(object: &mut Object<'_>, entry: &Entry<'_>, query: Option<&[u8]>) {
    // The quote that ends the address goes with what follows: one copy less.
    match (entry.method, entry.scheme) {
        ("GET", "http") => {
            object.raw(br#"","http.request.method":"GET","url.scheme":"http""#);
        }
        (method, scheme) => {
            object.raw(b"\"");
            object.word(br#","http.request.method":""#, method);
            object.word(br#","url.scheme":""#, scheme);
        }
    }
    object.bytes(br#","server.address":""#, entry.host);
    object.bytes(br#","url.path":""#, entry.path);
    object.bytes(br#","url.query":""#, query.unwrap_or_default());
    match (entry.status, entry.request_bytes) {
        (Some(200), 0) => {
            object.raw(br#","http.response.status_code":200,"http.request.body.size":0"#);
        }
        (status, request_bytes) => {
            if let Some(status) = status {
                object.number(br#","http.response.status_code":"#, status.into());
            }
            object.number(br#","http.request.body.size":"#, request_bytes);
        }
    }
    object.number(br#","http.response.body.size":"#, entry.response_bytes);
    if let Some(code) = entry.grpc {
        object.number(br#","rpc.grpc.status_code":"#, code.into());
    }
    match entry.version {
        "1.1" => object.raw(br#","network.protocol.version":"1.1""#),
        other => object.word(br#","network.protocol.version":""#, other),
    }
    object.word(
        br#","tls.protocol.version":""#,
        entry.tls.unwrap_or_default(),
    );
    if let Some((subject, digest)) = entry.client_certificate {
        object.text(br#","tls.client.subject":""#, subject);
        object.word(br#","tls.client.hash.sha256":""#, digest);
    }
    object.bytes(br#","user_agent.original":""#, entry.user_agent);
}

fn how(object: &mut Object<'_>, entry: &Entry<'_>) {
    match entry.attempts {
        1 => object.raw(br#","attempts":1"#),
        attempts => object.number(br#","attempts":"#, attempts.into()),
    }
    if let Some(queued) = entry.queued {
        object.seconds(br#","queue_s":0.000000"#, queued);
    }
    if let Some(connect) = entry.connect {
        object.seconds(br#","connect_s":0.000000"#, connect);
    }
    if let Some(first_byte) = entry.first_byte {
        object.seconds(br#","first_byte_s":0.000000"#, first_byte);
    }
    object.seconds(br#","total_s":0.000000"#, entry.total);
    if let Some(overhead) = entry.overhead {
        object.seconds(br#","overhead_s":0.000000"#, overhead);
    }
    match entry.end {
        End::Ok => object.raw(br#","end":"ok""#),
        other => object.word(br#","end":""#, other.as_str()),
    }
    object.word(br#","error.type":""#, entry.error.unwrap_or_default());
    object.number(br#","generation":"#, entry.generation);
}

/// Members of an object with these keys; those without a value are left out.
pub(super) fn members(keys: &[(&[u8], &str)]) -> Box<[u8]> {
    let mut out = Vec::new();
    let mut object = Object { out: &mut out };
    for (key, value) in keys {
        object.text(key, value);
    }
    out.into()
}

/// An object that is being written. Keys come with their comma and quotes, which saves three copies
/// a field.
struct Object<'a> {
    out: &'a mut Vec<u8>,
}

impl Object<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn time(&mut self, clock: &mut Clock, at: SystemTime) {
        self.raw(br#"{"ts":""#);
        clock.rfc3339(self.out, at);
        self.raw(br#"","level":"info","kind":"access""#);
    }

    fn text(&mut self, key: &[u8], value: &str) {
        if !value.is_empty() {
            self.raw(key);
            text::json_str(self.out, value);
            self.raw(b"\"");
        }
    }

    /// What has no character that needs an escape: a method, which is a token (RFC 9110 §5.6.2), or
    /// a word of ours.
    fn word(&mut self, key: &[u8], value: &str) {
        if !value.is_empty() {
            self.raw(key);
            self.raw(value.as_bytes());
            self.raw(b"\"");
        }
    }

    fn bytes(&mut self, key: &[u8], value: &[u8]) {
        if !value.is_empty() {
            self.raw(key);
            text::json_bytes(self.out, value);
            self.raw(b"\"");
        }
    }

    fn number(&mut self, key: &[u8], value: u64) {
        self.raw(key);
        text::number(self.out, value);
    }

    /// A member that ends with `0.000000`, which its seconds are written over. One copy of a
    /// length that is known, as nearly all are below a second.
    fn seconds<const N: usize>(&mut self, member: &[u8; N], value: Duration) {
        let mut member = *member;
        let Some((key, zero)) = member.split_last_chunk_mut() else {
            return;
        };
        if text::fraction(zero, value) {
            self.raw(&member);
        } else {
            self.raw(key);
            text::seconds(self.out, value);
        }
    }
}
