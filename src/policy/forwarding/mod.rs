//! Who asks: the forwarding fields, and whom to believe.
//!
//! Problem: every client can write `X-Forwarded-For: 127.0.0.1`, and applications believe it. So
//! what comes from a peer outside `trusted_proxies` is removed and written afresh; what comes from
//! a trusted one is kept and continued. The client's address is the first untrusted one from the
//! right: everything left of it was written by somebody unknown (RFC 7239 §8.1).
//!
//! | field | peer not trusted | peer trusted |
//! |---|---|---|
//! | `X-Forwarded-For` | the peer | the peer is appended |
//! | `X-Forwarded-Proto`, `X-Forwarded-Host` | ours | kept, else ours |
//! | `Forwarded` (RFC 7239) | removed; ours by option | kept; ours is appended by option |
//! | `X-Request-Id` | a new one | kept if well-formed, else a new one |
//! | other fields of the family (`X-Forwarded-Port`, `X-Real-IP`, …) | removed | kept |
//! | `X-Client-Cert-*`, `Client-Cert`, `Client-Cert-Chain` | removed; ours, if it showed one | kept, unless it showed one |
//! | `Evenkeel-Attempt` | removed | kept; a further attempt says its own |
//! | twins of any of these, as `X_Forwarded_For` | removed | removed |
//!
//! Twins go even where the peer is trusted: CGI and its children spell both `HTTP_X_FORWARDED_FOR`,
//! and a proxy that passes unknown fields on passes its client's twins on too.
//!
//! Where a proxy in front has said that it comes for a client, and not for whom, the peer is that
//! proxy, and is not trusted: the words are the client's.
//!
//! Where a trusted peer sends both `X-Forwarded-For` and `Forwarded`, the former counts. A peer
//! that came by a Unix socket has no address. It is trusted where `trusted_proxies` has `unix`; to
//! `X-Forwarded-For` it adds nothing, for applications read addresses there, and in `Forwarded` it
//! is `unknown` (RFC 7239 §6.2).
//!
//! `traceparent` and `tracestate` pass through untouched, whoever sends them.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use http::{HeaderName, HeaderValue, header};

use crate::config;
use crate::message::{Fields, PreparedLine, PreparedName, Value};
use crate::net::{TrustedPeers, UNNAMED, dotted};

mod certificate;
mod chain;
mod names;
mod request_id;
mod rfc7239;

pub use self::certificate::tell_certificate;
use self::names::Standing;
pub use self::request_id::RequestId;

/// How a listener treats the forwarding fields.
#[derive(Debug, Clone)]
pub struct Forwarding {
    trusted: TrustedPeers,
    forwarded: bool,
}

/// How a request came, as its connection tells it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// The other end.
    pub peer: SocketAddr,
    /// Whether the peer may be one of those that are trusted: it is he who speaks, and not somebody
    /// of whom he has said nothing.
    pub may_be_believed: bool,
    /// By what it came: `http` or `https`.
    pub scheme: &'static str,
    /// The name that a proxy in front has given what it opened the connection for.
    pub id: Option<&'a [u8]>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The client's address, behind all trusted proxies.
    pub client: IpAddr,
    /// The request's id, which is also in its fields.
    pub request_id: RequestId,
    /// Whether the peer is one of `trusted_proxies`, and so may see more of our inside.
    pub peer_is_trusted: bool,
    /// The scheme that the client used, as far as a trusted peer says so.
    pub scheme: &'static str,
}

impl Forwarding {
    /// The treatment that a listener's settings ask for.
    pub fn new(written: &config::Listener) -> Self {
        Self {
            trusted: TrustedPeers::new(&written.trusted_proxies),
            forwarded: written.forwarded.unwrap_or(false),
        }
    }

    /// Rewrites the forwarding fields of a request.
    pub fn apply(
        &self,
        headers: &mut Fields,
        arrival: Arrival<'_>,
        random: &mut fastrand::Rng,
    ) -> Identity {
        // A listener for both families sees IPv4 peers as ::ffff:192.0.2.1.
        let peer = arrival.peer.ip().to_canonical();
        let peer_is_trusted = arrival.may_be_believed && self.trusted.trusts(peer);
        remove_spoofed(headers, peer_is_trusted);
        let client = if peer_is_trusted {
            self.client(headers, peer)
        } else {
            peer
        };
        let scheme = set_scheme(headers, arrival.scheme);
        headers.copy_if_missing(&header::HOST, &X_FORWARDED_HOST);
        if self.forwarded {
            let element = rfc7239::element(peer, headers.get(header::HOST), scheme);
            if let Some(element) = Value::new(element.as_bytes()) {
                append(headers, &FORWARDED, element);
            }
        }
        set_chain(headers, peer, client);
        let request_id = request_id::set(headers, peer_is_trusted, arrival.id, random);
        Identity {
            client,
            request_id,
            peer_is_trusted,
            scheme,
        }
    }

    /// The first untrusted address from the right; the leftmost where all are trusted. What is no
    /// address ends the search: nothing left of it can be placed.
    fn client(&self, headers: &Fields, peer: IpAddr) -> IpAddr {
        let hops = if headers.contains_key(&X_FORWARDED_FOR) {
            chain::x_forwarded_for(headers)
        } else {
            rfc7239::chain(headers)
        };
        let mut client = peer;
        for hop in hops {
            let Some(address) = hop else { break };
            client = address;
            if !self.trusted.trusts(address) {
                break;
            }
        }
        client
    }
}

/// Takes out what would be believed wrongly.
fn remove_spoofed(headers: &mut Fields, peer_is_trusted: bool) {
    let is_spoofed = |name: &[u8]| match names::standing(name) {
        Standing::Stranger => false,
        Standing::Family => !peer_is_trusted,
        Standing::Twin => true,
    };
    headers.remove_if(names::INITIALS, is_spoofed);
    for name in names::LOOKED_FOR {
        headers.remove_if_alike(name, is_spoofed);
    }
}

/// What is still there at this point came from a trusted peer.
fn set_scheme(headers: &mut Fields, scheme: &'static str) -> &'static str {
    match headers.get(&X_FORWARDED_PROTO).map(Value::as_bytes) {
        None => {
            if scheme == "http" {
                headers.append_prepared(&HTTP);
            } else {
                headers.append(&X_FORWARDED_PROTO, &HeaderValue::from_static(scheme));
            }
            scheme
        }
        // Schemes are the same in any case (RFC 3986 §3.1).
        Some(said) if said.eq_ignore_ascii_case(b"http") => "http",
        Some(said) if said.eq_ignore_ascii_case(b"https") => "https",
        Some(_) => scheme, // a list or another word: kept for the endpoint, no basis for ours
    }
}

/// Continues the chain of addresses. Where a trusted peer told the client by `Forwarded` alone, the
/// client is put in front, so that applications that read only this field learn it.
fn set_chain(headers: &mut Fields, peer: IpAddr, client: IpAddr) {
    if client != peer && !headers.contains_key(&X_FORWARDED_FOR) {
        append(
            headers,
            &X_FORWARDED_FOR_NAME,
            Value::of_ascii(client.to_string().as_bytes()),
        );
        // Behind the client, which is there now.
    }
    append_address(headers, peer);
}

/// Whether it stands for a peer that came by a Unix socket.
fn has_no_address(peer: IpAddr) -> bool {
    peer == UNNAMED.ip()
}

/// Appends an address to the chain.
fn append_address(headers: &mut Fields, address: IpAddr) {
    if has_no_address(address) {
        return;
    }
    match address {
        IpAddr::V4(address) => {
            let (text, length) = dotted(address);
            append(
                headers,
                &X_FORWARDED_FOR_NAME,
                Value::of_ascii(&text[..length]),
            );
        }
        IpAddr::V6(address) => {
            let text = address.to_string();
            append(
                headers,
                &X_FORWARDED_FOR_NAME,
                Value::of_ascii(text.as_bytes()),
            );
        }
    }
}

/// Appends an element to a list, on one line: some applications read only the first.
fn append(headers: &mut Fields, name: &PreparedName, element: Value<'_>) {
    let mut line = Vec::new();
    let others = headers.get_all(name.name().as_str());
    for value in others.filter(|value| !value.is_empty()) {
        line.extend_from_slice(value.as_bytes());
        line.extend_from_slice(b", ");
    }
    if line.is_empty() {
        return headers.insert_prepared(name, element);
    }
    line.extend_from_slice(element.as_bytes());
    // Made of other values and of what is allowed in one; so it always is one.
    if let Some(value) = Value::new(&line) {
        headers.insert_prepared(name, value);
    }
}

/// What nearly every request gets that does not come by TLS.
static HTTP: LazyLock<PreparedLine> =
    LazyLock::new(|| PreparedLine::new(&X_FORWARDED_PROTO, &HeaderValue::from_static("http")));

static X_FORWARDED_FOR_NAME: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&X_FORWARDED_FOR));

static FORWARDED: LazyLock<PreparedName> = LazyLock::new(|| PreparedName::new(&header::FORWARDED));

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The field of the request id, on requests and responses.
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same, for the lines that every message gets.
pub static X_REQUEST_ID_NAME: LazyLock<PreparedName> =
    LazyLock::new(|| PreparedName::new(&X_REQUEST_ID));

#[cfg(test)]
mod tests;
