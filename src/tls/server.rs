//! Our side towards clients: the settings of sessions, and their beginning.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::certificate::Certificate;
use super::choice::Choice;
use crate::net::{Secure, Stream};

/// What a listener's sessions are made with.
pub struct Server {
    config: Arc<ServerConfig>,
    certificates: Box<[Certificate]>,
    tickets: Arc<dyn ProducesTickets>,
    room: Semaphore,
    handshake: Duration,
}

/// What a listener's author decides.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The least version that is spoken.
    pub min_version: Version,
    /// Handshakes under way at once; more wait.
    pub max_handshakes: u32,
    /// The longest that one may take, its waiting included.
    pub handshake: Duration,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long.
    #[error("the client did not finish the handshake in time")]
    TimedOut,
    /// The client went away.
    #[error("the connection ended during the handshake: {0}")]
    Lost(io::Error),
    /// What the client said is no TLS, or none that is taken here; or it refused what we said.
    #[error("{0}")]
    Refused(io::Error),
}

impl Server {
    /// A server with these certificates, of which the first is the default. Tickets of a server
    /// before this one stay good, so that a reload costs no client its session.
    pub fn new(
        certificates: Vec<Certificate>,
        settings: Settings,
        before: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let tickets = match before {
            Some(before) => Arc::clone(&before.tickets),
            None => aws_lc_rs::Ticketer::new()?,
        };
        let versions: &[_] = match settings.min_version {
            Version::V1_2 => &[&TLS13, &TLS12],
            Version::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let choice = Arc::new(Choice::new(&certificates));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(choice);
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.ticketer = Arc::clone(&tickets);
        // Tickets alone: what one worker remembered, another would not know.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 2;
        Ok(Self {
            config: Arc::new(config),
            certificates: certificates.into(),
            tickets,
            room: Semaphore::new(settings.max_handshakes as usize),
            handshake: settings.handshake,
        })
    }

    /// Its certificates, in their order.
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Begins a session on a connection that was accepted.
    pub async fn accept(&self, stream: Stream) -> Result<Stream, HandshakeError> {
        let Ok(result) = timeout(self.handshake, self.shake_hands(stream)).await else {
            return Err(HandshakeError::TimedOut);
        };
        result.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => HandshakeError::Refused(error),
            _ => HandshakeError::Lost(error),
        })
    }

    async fn shake_hands(&self, stream: Stream) -> io::Result<Stream> {
        // Nobody closes it.
        let _room = self.room.acquire().await.map_err(io::Error::other)?;
        let session = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        let secure = Secure::new(stream, session);
        poll_fn(|cx| secure.poll_handshake(cx)).await?;
        Ok(Stream::Tls(secure))
    }
}

impl fmt::Debug for Server {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.certificates.iter().map(|one| &one.file);
        f.debug_struct("Server")
            .field("certificates", &files.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl HandshakeError {
    /// The word for it in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Lost(_) => "client_closed",
            Self::Refused(_) => "refused",
        }
    }
}

impl Version {
    /// The word for it in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }

    /// The version of a session, once that is agreed on.
    pub fn of(stream: &Stream) -> Option<Self> {
        match stream.tls_version()? {
            ProtocolVersion::TLSv1_2 => Some(Self::V1_2),
            ProtocolVersion::TLSv1_3 => Some(Self::V1_3),
            _ => None,
        }
    }
}
