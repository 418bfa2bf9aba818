//! Our side towards clients: the settings of sessions, and their beginning.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
use tokio::time::timeout;

use super::certificate::Certificate;
use super::choice::Choice;
use super::key_log::KeyLogging;
use super::room::Room;
use crate::net::{Secure, Stream};

/// What a listener's sessions are made with.
pub struct Server {
    /// Replaced when certificates are renewed, which happens without a new snapshot.
    shown: ArcSwap<Shown>,
    tickets: Arc<dyn ProducesTickets>,
    settings: Settings,
    room: Arc<Room>,
}

/// What clients are shown.
struct Shown {
    config: Arc<ServerConfig>,
    certificates: Box<[Certificate]>,
}

/// What a listener's author decides.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The least version that is spoken.
    pub min_version: Version,
    /// Handshakes under way at once. More wait, and those that take long give way to them.
    pub max_handshakes: u32,
    /// The longest that one may take, its waiting included.
    pub handshake: Duration,
    /// Whether secrets of sessions are written down.
    pub key_logging: KeyLogging,
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
    /// It took long while others waited.
    #[error("the client took long, and others waited to begin")]
    Shed,
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
        let same = |before: &&Self| before.settings.max_handshakes == settings.max_handshakes;
        let room = match before.filter(same) {
            Some(before) => Arc::clone(&before.room),
            None => Arc::new(Room::new(settings.max_handshakes)),
        };
        let shown = Shown::new(certificates, settings, &tickets)?;
        Ok(Self {
            shown: ArcSwap::from_pointee(shown),
            tickets,
            settings,
            room,
        })
    }

    /// Shows these certificates from now on. Sessions that have begun go on.
    pub fn renew(&self, certificates: Vec<Certificate>) -> Result<(), rustls::Error> {
        let shown = Shown::new(certificates, self.settings, &self.tickets)?;
        self.shown.store(Arc::new(shown));
        Ok(())
    }

    /// Its certificates, in their order.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.shown.load().certificates.to_vec()
    }

    /// Begins a session on a connection that was accepted.
    pub async fn accept(&self, stream: Stream) -> Result<Stream, HandshakeError> {
        let Ok(result) = timeout(self.settings.handshake, self.shake_hands(stream)).await else {
            return Err(HandshakeError::TimedOut);
        };
        result
    }

    async fn shake_hands(&self, stream: Stream) -> Result<Stream, HandshakeError> {
        let ready = poll_fn(|cx| stream.poll_read_ready(cx)).await;
        ready.map_err(HandshakeError::Lost)?;
        let mut place = self.room.enter().await;
        let config = Arc::clone(&self.shown.load().config);
        let session = ServerConnection::new(config);
        let session = session.map_err(|error| HandshakeError::Refused(io::Error::other(error)))?;
        let secure = Secure::new(stream, session);
        let agreed = tokio::select! {
            biased;
            agreed = poll_fn(|cx| secure.poll_handshake(cx)) => agreed,
            () = place.ended() => return Err(HandshakeError::Shed),
        };
        match agreed {
            Ok(()) => Ok(Stream::Tls(secure)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(HandshakeError::Refused(error))
            }
            Err(error) => Err(HandshakeError::Lost(error)),
        }
    }
}

impl Shown {
    fn new(
        certificates: Vec<Certificate>,
        settings: Settings,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, rustls::Error> {
        let versions: &[_] = match settings.min_version {
            Version::V1_2 => &[&TLS13, &TLS12],
            Version::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Choice::new(&certificates)));
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        // All of them are strong; ours come first so that what is agreed on is known in advance.
        config.ignore_client_order = true;
        config.key_log = settings.key_logging.log();
        config.ticketer = Arc::clone(tickets);
        // Tickets alone: what one worker remembered, another would not know.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 2;
        Ok(Self {
            config: Arc::new(config),
            certificates: certificates.into(),
        })
    }
}

impl fmt::Debug for Server {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.certificates();
        let files = certificates.iter().map(|one| &one.file);
        f.debug_struct("Server")
            .field("certificates", &files.collect::<Vec<_>>())
            .finish_non_exhaustive()
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
