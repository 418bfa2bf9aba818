//! TLS of a listener: what its sessions are made with, and what is measured about them.

use std::sync::OnceLock;

use tokio::time::Instant;

use super::expiries::{gauge_of, tell};
use super::http2::Spoken;
use super::timeouts::tls_handshake;
use crate::config;
use crate::net::Stream;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};
use crate::tls::{
    Certificate, ClientRule, Credentials, Digest, HandshakeError, KeyLogging, Server, Settings,
    Version,
};

/// Where TLS ends.
#[derive(Debug)]
pub struct Termination {
    server: Server,
    /// Handshakes that came to an end, by their version.
    ok: [Counter; 2],
    timed_out: Counter,
    shed: Counter,
    lost: Counter,
    refused: Counter,
    client_certificate: Counter,
    registry: Registry,
    /// When each certificate expires, in their order; told from when it is in force on.
    expiries: OnceLock<Box<[Gauge]>>,
}

impl Termination {
    /// What a listener's author wrote, with what was read for it.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        (written, of_listener, defaults): (&config::Tls, &config::Listener, &config::Timeouts),
        key_logging: KeyLogging,
        credentials: Credentials,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let settings = Settings {
            min_version: Version::from(written.min_version),
            max_handshakes: written.max_handshakes.unwrap_or(MAX_HANDSHAKES),
            handshake: tls_handshake([&of_listener.timeouts, defaults]),
            key_logging,
            alpn: alpn(written, of_listener),
        };
        let before = before.map(|before| &before.server);
        let server = Server::new(credentials, settings, before);
        let count = |version, result| {
            let labels = [
                ("listener", listener),
                ("version", version),
                ("result", result),
            ];
            registry.counter(&HANDSHAKES, &labels)
        };
        Ok(Self {
            server: server.map_err(|error| error.to_string())?,
            ok: [Version::V1_2, Version::V1_3].map(|version| count(version.as_str(), "ok")),
            timed_out: count("", "timeout"),
            shed: count("", "shed"),
            lost: count("", "client_closed"),
            refused: count("", "refused"),
            client_certificate: count("", "client_certificate"),
            registry: registry.clone(),
            expiries: OnceLock::new(),
        })
    }

    /// Tells when its certificates expire. Once it is in force: what is only built may be refused.
    pub(super) fn tell_expiries(&self) {
        let certificates = self.server.certificates();
        let gauge = |one: &Certificate| {
            let file = one.file.to_string_lossy();
            gauge_of(&self.registry, &file)
        };
        let gauges = self
            .expiries
            .get_or_init(|| certificates.iter().map(gauge).collect());
        for (gauge, certificate) in gauges.iter().zip(&certificates) {
            tell(gauge, certificate);
        }
    }

    /// The certificates that clients are shown, the default first.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.server.certificates()
    }

    /// What tells whether their files have changed, in the same order.
    pub fn digests(&self) -> Vec<Digest> {
        let certificates = self.server.certificates();
        certificates.iter().map(|one| one.digest).collect()
    }

    /// What clients are asked for.
    pub fn client_rules(&self) -> Vec<ClientRule> {
        self.server.client_rules()
    }

    /// What tells whether the files of its authorities have changed, by rule.
    pub fn client_digests(&self) -> Vec<Digest> {
        let rules = self.server.client_rules();
        rules.iter().map(|rule| rule.authorities.digest).collect()
    }

    /// Uses these credentials from now on, which were read from the same files.
    pub fn renew(&self, credentials: Credentials) -> Result<(), String> {
        let renewed = self.server.renew(credentials);
        renewed.map_err(|error| error.to_string())?;
        self.tell_expiries();
        Ok(())
    }

    /// Begins a session on a connection that was accepted; `None` if none comes about.
    pub async fn accept(&self, stream: Stream) -> Option<Stream> {
        let result = self.server.accept(stream).await;
        self.begun(result)
    }

    /// As [`Termination::accept`], on a connection of which this was received already.
    pub async fn accept_begun(
        &self,
        stream: Stream,
        received: Vec<u8>,
        end: Instant,
    ) -> Option<Stream> {
        let result = self.server.accept_begun(stream, received, end).await;
        self.begun(result)
    }

    fn begun(&self, result: Result<Stream, HandshakeError>) -> Option<Stream> {
        match result {
            Ok(stream) => {
                if let Some(version) = Version::of(&stream) {
                    self.ok[version as usize].inc();
                }
                Some(stream)
            }
            Err(error) => {
                tracing::debug!(why = %error, "no TLS session");
                match error {
                    HandshakeError::TimedOut => &self.timed_out,
                    HandshakeError::Shed => &self.shed,
                    HandshakeError::Lost(_) => &self.lost,
                    HandshakeError::Refused(_) | HandshakeError::PlainText => &self.refused,
                    HandshakeError::ClientCertificate(_) => &self.client_certificate,
                }
                .inc();
                None
            }
        }
    }
}

/// What clients are offered within TLS: what is spoken, or, where bytes are relayed unread, what
/// was written that endpoints speak.
fn alpn(written: &config::Tls, listener: &config::Listener) -> Vec<Vec<u8>> {
    if listener.relays() {
        let names = written.alpn.iter();
        return names.map(|name| name.as_bytes().to_vec()).collect();
    }
    let spoken = Spoken::of(listener).alpn();
    spoken.iter().map(|name| name.to_vec()).collect()
}

/// Whether a configuration has secrets of sessions written down.
pub(super) fn key_logging(log: &config::Log) -> KeyLogging {
    if log.tls_keys == Some(true) {
        KeyLogging::On
    } else {
        KeyLogging::Off
    }
}

/// A handshake holds some 20 KiB, and a core does some thousands in a second.
const MAX_HANDSHAKES: u32 = 256;

static HANDSHAKES: Family = Family {
    name: "evenkeel_tls_handshakes_total",
    help: "TLS handshakes with clients, by how they ended.",
    kind: Kind::Counter,
    buckets: None,
};
