//! TLS of a listener: what its sessions are made with, and what is measured about them.

use std::time::UNIX_EPOCH;

use super::timeouts::tls_handshake;
use crate::config;
use crate::net::Stream;
use crate::telemetry::metrics::{Counter, Family, Gauge, Kind, Registry};
use crate::tls::{Certificate, HandshakeError, Server, Settings, Version};

/// Where TLS ends.
#[derive(Debug)]
pub struct Termination {
    server: Server,
    /// Handshakes that came to an end, by their version.
    ok: [Counter; 2],
    timed_out: Counter,
    lost: Counter,
    refused: Counter,
    /// Held, so that the certificates are told of.
    _expiries: Box<[Gauge]>,
}

impl Termination {
    /// What a listener's author wrote, with the certificates that were read for it.
    pub(super) fn new(
        registry: &Registry,
        listener: &str,
        (written, timeouts): (&config::Tls, [&config::Timeouts; 2]),
        certificates: Vec<Certificate>,
        before: Option<&Self>,
    ) -> Result<Self, String> {
        let settings = Settings {
            min_version: match written.min_version {
                None | Some(config::TlsVersion::V1_2) => Version::V1_2,
                Some(config::TlsVersion::V1_3) => Version::V1_3,
            },
            max_handshakes: written.max_handshakes.unwrap_or(MAX_HANDSHAKES),
            handshake: tls_handshake(timeouts),
        };
        let expiries = certificates.iter().map(|one| expiry(registry, one));
        let expiries = expiries.collect();
        let before = before.map(|before| &before.server);
        let server = Server::new(certificates, settings, before);
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
            lost: count("", "client_closed"),
            refused: count("", "refused"),
            _expiries: expiries,
        })
    }

    /// The certificates that clients are shown, the default first.
    pub fn certificates(&self) -> &[Certificate] {
        self.server.certificates()
    }

    /// Begins a session on a connection that was accepted; `None` if none comes about.
    pub async fn accept(&self, stream: Stream) -> Option<Stream> {
        match self.server.accept(stream).await {
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
                    HandshakeError::Lost(_) => &self.lost,
                    HandshakeError::Refused(_) => &self.refused,
                }
                .inc();
                None
            }
        }
    }
}

fn expiry(registry: &Registry, certificate: &Certificate) -> Gauge {
    let file = certificate.file.to_string_lossy();
    let gauge = registry.gauge(&EXPIRY, &[("cert", &*file)]);
    let after_epoch = certificate.not_after.duration_since(UNIX_EPOCH);
    gauge.set_f64(after_epoch.unwrap_or_default().as_secs_f64());
    gauge
}

/// A handshake holds some 20 KiB, and a core does some thousands in a second.
const MAX_HANDSHAKES: u32 = 256;

static HANDSHAKES: Family = Family {
    name: "evenkeel_tls_handshakes_total",
    help: "TLS handshakes with clients, by how they ended.",
    kind: Kind::Counter,
    buckets: None,
};

static EXPIRY: Family = Family {
    name: "evenkeel_tls_cert_expiry_timestamp_seconds",
    help: "When a certificate that clients are shown expires.",
    kind: Kind::Gauge,
    buckets: None,
};
