//! Our side towards clients: the settings of sessions, and their beginning.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{Accepted, Acceptor, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, ServerConnection};
use tokio::time::{Instant, timeout_at};

use super::certificate::Certificate;
use super::choice::Choice;
use super::clients::{ClientRule, Credentials, Way, Ways};
use super::identity;
use super::key_log::KeyLogging;
use super::plain;
use super::room::Room;
use super::version::{Version, versions};
use crate::net::{ClientFacts, Secure, Stream};

/// What a listener's sessions are made with.
pub struct Server {
    /// Replaced when certificates are renewed, which happens without a new snapshot.
    shown: ArcSwap<Shown>,
    settings: Settings,
    room: Arc<Room>,
}

/// What clients are shown, and asked for.
struct Shown {
    ways: Ways,
    credentials: Credentials,
}

/// What a listener's author decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The least version that is spoken.
    pub min_version: Version,
    /// Handshakes under way at once. More wait, and those that take long give way to them.
    pub max_handshakes: u32,
    /// The longest that one may take, its waiting included.
    pub handshake: Duration,
    /// Whether secrets of sessions are written down.
    pub key_logging: KeyLogging,
    /// What is offered to be spoken within (RFC 7301), the best first. A client that asks for other
    /// protocols only is refused, unless there are none.
    pub alpn: Vec<Vec<u8>>,
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
    /// The client does not speak TLS, but HTTP.
    #[error("the client asked in plain text")]
    PlainText,
    /// The client has no certificate that is taken here.
    #[error("{0}")]
    ClientCertificate(io::Error),
}

impl Server {
    /// A server with these credentials. Tickets of a server before this one stay good where clients
    /// are judged as there, so that a reload costs no client its session.
    pub fn new(
        credentials: Credentials,
        settings: Settings,
        before: Option<&Self>,
    ) -> Result<Self, rustls::Error> {
        let same = |before: &&Self| before.settings.max_handshakes == settings.max_handshakes;
        let room = match before.filter(same) {
            Some(before) => Arc::clone(&before.room),
            None => Arc::new(Room::new(settings.max_handshakes)),
        };
        let before = before.map(|before| before.shown.load());
        let before = before.as_ref().map(|before| &before.ways);
        let shown = Shown::new(credentials, &settings, before)?;
        Ok(Self {
            shown: ArcSwap::from_pointee(shown),
            settings,
            room,
        })
    }

    /// Uses these credentials from now on. Sessions that have begun go on.
    pub fn renew(&self, credentials: Credentials) -> Result<(), rustls::Error> {
        let before = self.shown.load();
        let shown = Shown::new(credentials, &self.settings, Some(&before.ways))?;
        self.shown.store(Arc::new(shown));
        Ok(())
    }

    /// Its certificates, in their order.
    pub fn certificates(&self) -> Vec<Certificate> {
        self.shown.load().credentials.certificates.clone()
    }

    /// What it asks clients for.
    pub fn client_rules(&self) -> Vec<ClientRule> {
        self.shown.load().credentials.rules.clone()
    }

    /// Begins a session on a connection that was accepted.
    pub async fn accept(&self, stream: Stream) -> Result<Stream, HandshakeError> {
        let end = Instant::now() + self.settings.handshake;
        self.accept_begun(stream, Vec::new(), end).await
    }

    /// Begins a session on a connection of which this was received already, up to a time.
    pub async fn accept_begun(
        &self,
        stream: Stream,
        received: Vec<u8>,
        end: Instant,
    ) -> Result<Stream, HandshakeError> {
        let Ok(result) = timeout_at(end, self.shake_hands(stream, received)).await else {
            return Err(HandshakeError::TimedOut);
        };
        result
    }

    async fn shake_hands(
        &self,
        stream: Stream,
        mut received: Vec<u8>,
    ) -> Result<Stream, HandshakeError> {
        if received.is_empty() {
            let first = first_byte(&stream).await.map_err(HandshakeError::Lost)?;
            if first.is_some_and(plain::is_no_record) {
                received.reserve(HELLO_SIZE);
                let read = poll_fn(|cx| stream.poll_read_into(cx, &mut received)).await;
                read.map_err(HandshakeError::Lost)?;
            }
        }
        if plain::is_request(&received) {
            // It may have gone.
            drop(plain::answer(&stream).await);
            return Err(HandshakeError::PlainText);
        }
        let mut place = self.room.enter().await;
        let shown = self.shown.load_full();
        tokio::select! {
            biased;
            begun = begin(&shown.ways, stream, received) => begun,
            () = place.ended() => Err(HandshakeError::Shed),
        }
    }
}

/// Waits for the first byte, which stays; none at the end of the stream.
async fn first_byte(stream: &Stream) -> io::Result<Option<u8>> {
    loop {
        poll_fn(|cx| stream.poll_read_ready(cx)).await?;
        match stream.try_peek() {
            // A socket may be called ready before there is anything.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result,
        }
    }
}

/// Begins a session in the way that the client's name asks for. The name is looked at first only
/// where it makes a difference.
async fn begin(ways: &Ways, stream: Stream, received: Vec<u8>) -> Result<Stream, HandshakeError> {
    let (way, mut secure) = if let Some(way) = ways.only() {
        let session = ServerConnection::new(Arc::clone(&way.config));
        let session = session.map_err(|error| refused(way, io::Error::other(error)))?;
        (way, Secure::begun(stream, session, received))
    } else {
        let (hello, left) = Box::pin(hello(&stream, received)).await?;
        let way = ways.of(hello.client_hello().server_name());
        let session = match hello.into_connection(Arc::clone(&way.config)) {
            Ok(session) => session,
            Err((error, mut alert)) => {
                tell(&stream, |to| alert.write_all(to));
                return Err(refused(way, io::Error::other(error)));
            }
        };
        (way, Secure::begun(stream, session, left))
    };
    let agreed = poll_fn(|cx| secure.poll_handshake(cx)).await;
    agreed.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => refused(way, error),
        _ => HandshakeError::Lost(error),
    })?;
    if let Some((rule, forwards)) = way.rule {
        let certificate = secure.shown();
        let certificate = certificate.map(|shown| identity::of(&shown, forwards));
        let certificate = certificate.transpose();
        secure.keep_client(ClientFacts {
            rule,
            certificate: certificate.map_err(HandshakeError::ClientCertificate)?,
        });
    }
    Ok(Stream::Tls(secure))
}

/// What the client says first, and what it has sent behind that.
async fn hello(
    stream: &Stream,
    mut received: Vec<u8>,
) -> Result<(Accepted, Vec<u8>), HandshakeError> {
    let mut acceptor = Acceptor::default();
    loop {
        while !received.is_empty() {
            let mut left = &received[..];
            let taken = acceptor.read_tls(&mut left);
            let taken = taken.map_err(HandshakeError::Refused)?;
            received.drain(..taken);
            match acceptor.accept() {
                Ok(Some(hello)) => return Ok((hello, received)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    tell(stream, |to| alert.write_all(to));
                    return Err(HandshakeError::Refused(io::Error::other(error)));
                }
            }
        }
        received.reserve(HELLO_SIZE);
        let count = poll_fn(|cx| stream.poll_read_into(cx, &mut received)).await;
        if count.map_err(HandshakeError::Lost)? == 0 {
            let gone = io::ErrorKind::UnexpectedEof;
            return Err(HandshakeError::Lost(gone.into()));
        }
    }
}

/// Tells the client why it is refused, as far as its socket takes that at once.
fn tell(stream: &Stream, write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) {
    let mut alert = Vec::new();
    // Memory takes everything, and a socket that takes nothing has a peer that does not listen.
    drop(write(&mut alert).and_then(|()| stream.try_write(&alert)));
}

/// Whether it is for the client's certificate that it is refused.
fn refused(way: &Way, error: io::Error) -> HandshakeError {
    let rustls = error.get_ref().and_then(|error| error.downcast_ref());
    let is_certificates = matches!(
        rustls,
        Some(
            rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertificate(_)
                | rustls::Error::InvalidCertRevocationList(_)
        )
    );
    if way.rule.is_some() && is_certificates {
        return HandshakeError::ClientCertificate(error);
    }
    HandshakeError::Refused(error)
}

impl Shown {
    fn new(
        credentials: Credentials,
        settings: &Settings,
        before: Option<&Ways>,
    ) -> Result<Self, rustls::Error> {
        let choice = Arc::new(Choice::new(&credentials.certificates));
        let ways = Ways::new(&credentials.rules, before, |rule| {
            let judge = match rule {
                None => WebPkiClientVerifier::no_client_auth(),
                Some(rule) => rule.judge()?,
            };
            config(Arc::clone(&choice), settings, judge)
        })?;
        Ok(Self { ways, credentials })
    }
}

fn config(
    choice: Arc<Choice>,
    settings: &Settings,
    judge: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(settings.min_version))?
        .with_client_cert_verifier(judge)
        .with_cert_resolver(choice);
    config.alpn_protocols.clone_from(&settings.alpn);
    // All of them are strong; ours come first so that what is agreed on is known in advance.
    config.ignore_client_order = true;
    config.key_log = settings.key_logging.log();
    // Tickets alone: what one worker remembered, another would not know.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 2;
    Ok(config)
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

/// Most hellos are smaller, those with keys against quantum computers included.
const HELLO_SIZE: usize = 4096;
