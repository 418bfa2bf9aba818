//! Tables of cases: one message each, sent over a connection of its own.
//!
//! A table reports all its failures at once, by name, with the bytes on both sides: a proxy that
//! gets one case wrong usually gets its neighbours wrong too, and the pattern is the diagnosis.

use crate::support::client::Client;
use crate::support::endpoint::{Endpoint, Request};
use crate::support::evenkeel::Evenkeel;
use crate::support::message::{Broken, text};

/// A message, by name.
pub(crate) type Case<'a> = (&'a str, Vec<u8>);

/// A message that is refused, and the statuses that say so.
pub(crate) type Refusal<'a> = (&'a str, Vec<u8>, &'a [u16]);

/// A message that is forwarded: its name, its bytes, and the lines that the endpoint gets (start
/// line first, names in lower case, without what the proxy adds), the fields in any order.
pub(crate) type Forwarded<'a> = (&'a str, Vec<u8>, &'a [&'a str]);

/// A request line with the least that it needs.
pub(crate) fn line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat()
}

/// A GET with these lines among its fields.
pub(crate) fn get(lines: impl AsRef<[u8]>) -> Vec<u8> {
    message("GET / HTTP/1.1\r\nHost: a", lines.as_ref(), b"")
}

/// A POST with these lines among its fields, and what follows the head.
pub(crate) fn post(lines: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Vec<u8> {
    message("POST / HTTP/1.1\r\nHost: a", lines.as_ref(), rest.as_ref())
}

/// A POST whose body is in chunks, with these bytes as that body.
pub(crate) fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked", body)
}

/// A response with these lines among its fields, and what follows the head.
pub(crate) fn ok(lines: impl AsRef<[u8]>, rest: impl AsRef<[u8]>) -> Vec<u8> {
    message("HTTP/1.1 200 OK", lines.as_ref(), rest.as_ref())
}

fn message(start: &str, lines: &[u8], rest: &[u8]) -> Vec<u8> {
    let separator = if lines.is_empty() { "" } else { "\r\n" };
    [
        start.as_bytes(),
        separator.as_bytes(),
        lines,
        b"\r\n\r\n",
        rest,
    ]
    .concat()
}

/// Every message is refused with one of its statuses, its connection is closed, no part of it
/// reaches the endpoint, and nothing that was sent behind it runs.
pub(crate) fn assert_refused(cases: &[Refusal<'_>]) {
    assert_all_refused(cases, |endpoint| endpoint.raw().concat().len());
}

/// Like `assert_refused`, for faults in a body: its head may have been forwarded by the time at
/// which they show, but the endpoint never holds a whole message.
pub(crate) fn assert_body_refused(cases: &[Refusal<'_>]) {
    assert_all_refused(cases, |endpoint| endpoint.requests().len());
}

fn assert_all_refused(cases: &[Refusal<'_>], forwarded: impl Fn(&Endpoint) -> usize) {
    let endpoint = Endpoint::echo();
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut faults = Faults::default();
    for (name, bytes, statuses) in cases {
        let before = forwarded(&endpoint);
        let mut client = proxy.client();
        client.send(bytes);
        client.send("GET /behind HTTP/1.1\r\nHost: a\r\n\r\n");
        let outcome = refusal(&mut client, statuses);
        faults.check(name, bytes, outcome);
        if forwarded(&endpoint) != before {
            let raw = endpoint.raw().pop().unwrap_or_default();
            faults.check(name, bytes, Err(format!("forwarded {:?}", text(&raw))));
        }
    }
    faults.report();
}

/// What is wrong with the answer to a message that must be refused.
fn refusal(client: &mut Client, statuses: &[u16]) -> Result<(), String> {
    let response = client
        .try_response_to("POST")
        .map_err(|broken| format!("no answer: {broken:?}"))?;
    if !statuses.contains(&response.status) {
        return Err(format!("answered {response:?}"));
    }
    if response.head.list("connection") != ["close"] {
        return Err(format!("did not say that it closes: {response:?}"));
    }
    if !client.is_closed() {
        return Err("did not close, or answered what came behind".to_owned());
    }
    Ok(())
}

/// Every message is answered, and the endpoint gets exactly these lines.
pub(crate) fn assert_forwarded(cases: &[Forwarded<'_>]) {
    let mut faults = Faults::default();
    for (name, bytes, lines) in cases {
        faults.check(name, bytes, forwarded(bytes, lines));
    }
    faults.report();
}

fn forwarded(bytes: &[u8], lines: &[&str]) -> Result<(), String> {
    let endpoint = Endpoint::answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let proxy = Evenkeel::forwarding_to(&endpoint);
    let mut client = proxy.client();
    client.send(bytes);
    let response = client
        .try_response_to("HEAD")
        .map_err(|broken| format!("no answer: {broken:?}"))?;
    if response.status != 200 {
        return Err(format!("answered {response:?}"));
    }
    let mut got = sent_lines(&endpoint.request());
    let mut wanted: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    // Only fields of the same name have an order.
    got[1..].sort_by(|left, right| field_name(left).cmp(field_name(right)));
    wanted[1..].sort_by(|left, right| field_name(left).cmp(field_name(right)));
    if got == wanted {
        Ok(())
    } else {
        Err(format!("forwarded {got:#?}, not {wanted:#?}"))
    }
}

/// What a request says end to end: its start line and fields without those that the proxy adds.
pub(crate) fn sent_lines(request: &Request) -> Vec<String> {
    let added = ["via", "x-request-id"];
    let mut lines = vec![request.head.start.clone()];
    for (name, value) in &request.head.fields {
        let name = name.to_ascii_lowercase();
        if !added.contains(&name.as_str()) && !name.starts_with("x-forwarded-") {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines
}

fn field_name(line: &str) -> &str {
    line.split(':').next().unwrap_or_default()
}

/// What happened to a response on its way to the client.
#[derive(Debug)]
pub(crate) enum Relayed {
    /// A whole response: status and body.
    Whole(u16, String),
    /// A response that its recipient can see to be cut.
    Cut,
}

/// Sends a GET through the proxy to an endpoint, and says what came of its response.
pub(crate) fn relay(endpoint: &Endpoint) -> Result<Relayed, String> {
    let proxy = Evenkeel::forwarding_to(endpoint);
    let mut client = proxy.client();
    client.send(get("X-A: b"));
    loop {
        return match client.try_response_to("GET") {
            Ok(response) if response.status < 200 => continue,
            Ok(response) if response.is_whole() => {
                Ok(Relayed::Whole(response.status, response.body.text()))
            }
            Ok(_) | Err(Broken::Closed | Broken::Truncated(_)) => Ok(Relayed::Cut),
            Err(broken) => Err(format!("{broken:?}")),
        };
    }
}

/// Failures of a table.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<String>);

impl Faults {
    pub(crate) fn check(&mut self, name: &str, bytes: &[u8], outcome: Result<(), String>) {
        if let Err(fault) = outcome {
            // Long inputs are long in one place only; both ends tell which case it is.
            let mut shown = text(bytes);
            if shown.len() > 300 {
                let cut = text(&bytes[bytes.len() - 100..]);
                shown = format!("{} […] {cut}", text(&bytes[..100]));
            }
            self.0.push(format!("{name}: {fault}\n    sent {shown:?}"));
        }
    }

    pub(crate) fn report(self) {
        let count = self.0.len();
        assert!(count == 0, "{count} faults:\n{}", self.0.join("\n"));
    }
}
