//! Our side towards endpoints: the settings of sessions, and their beginning.
//!
//! Problem: what an endpoint has to show is decided in the configuration and in files that change,
//! while connections that were made before are kept for later requests. So each connection knows
//! what it was made with ([`Sessions`]), and is kept only as long as that is what new ones are made
//! with: a root that is taken out, or a name that is added, holds for the next request.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};

use super::certificate::{Certificate, Digest};
use super::key_log::KeyLogging;
use super::name::server_name;
use super::offer::{HTTP, HTTP_2, Offer};
use super::trust::Trust;
use super::verify::{Identity, Verifier};
use super::version::{Version, versions};
use crate::config::UpstreamTls;
use crate::net::{Secure, Stream};

/// What sessions with the endpoints of an upstream are made with.
pub struct Client {
    settings: ClientSettings,
    /// Replaced when files are renewed, which happens without a new snapshot.
    current: ArcSwap<Current>,
}

/// What is known of it now.
struct Current {
    config: ClientConfig,
    trust: Option<Trust>,
    certificate: Option<Certificate>,
    digest: Digest,
}

/// What an upstream's author decides.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientSettings {
    /// Where its files are, and whether endpoints have to prove who they are. Only compared.
    pub written: UpstreamTls,
    /// The least version that is spoken.
    pub min_version: Version,
    /// Who is asked for.
    pub name: Name,
    /// Who the endpoint has to be, if that is another than who is asked for: any of these.
    pub identities: Vec<Identity>,
    /// Whether secrets of sessions are written down.
    pub key_logging: KeyLogging,
    /// The protocols that are offered (RFC 7301), if not those that go without saying.
    pub alpn: Option<Vec<String>>,
    /// What is offered for requests.
    pub offer: Offer,
}

/// Who is asked for in the handshake, and has to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The endpoint, as it was written.
    OfEndpoint,
    /// The host that the request is for.
    OfRequest,
    /// This one.
    Fixed(ServerName<'static>),
}

/// What was read of files.
#[derive(Debug, Clone)]
pub struct Material {
    /// Whom the endpoint's certificate may come from; `None` for anybody.
    pub trust: Option<Trust>,
    /// What the endpoint is shown, if it asks.
    pub certificate: Option<Certificate>,
}

/// What one endpoint's sessions are made with. They are remembered by endpoint: another one, even
/// of the same name, has other keys for its tickets.
#[derive(Debug)]
pub struct Peer {
    client: Arc<Client>,
    name: Option<ServerName<'static>>,
    sessions: ArcSwapOption<Sessions>,
}

/// What sessions with one endpoint are made with, until something of it changes.
pub(super) struct Sessions {
    current: Arc<Current>,
    http: Arc<ClientConfig>,
    /// Where both could be, and only the older will do.
    http1: Option<Arc<ClientConfig>>,
    raw: Arc<ClientConfig>,
}

/// What is going to be spoken within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// HTTP, in a version that the upstream allows.
    Http,
    /// HTTP/1.1, where the upstream allows it: what HTTP/2 cannot carry.
    Http1,
    /// Bytes that are relayed.
    Raw,
}

/// How a session came about.
#[derive(Debug)]
pub struct Secured {
    sessions: Arc<Sessions>,
    /// Whom the session is with, where that depends on the request.
    name: Option<ServerName<'static>>,
    is_http2: bool,
}

impl Client {
    /// What sessions are made with: the same as `before` if nothing has changed, so that its
    /// connections are kept.
    pub fn new(
        settings: ClientSettings,
        material: &Material,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, rustls::Error> {
        let is_same = |before: &&Arc<Self>| {
            before.settings == settings && before.current.load().digest == material.digest()
        };
        if let Some(before) = before.filter(is_same) {
            return Ok(Arc::clone(before));
        }
        let current = Current::new(&settings, material)?;
        Ok(Arc::new(Self {
            settings,
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// Makes sessions with these from now on. Requests that are under way go on.
    pub fn renew(&self, material: &Material) -> Result<(), rustls::Error> {
        let current = Current::new(&self.settings, material)?;
        self.current.store(Arc::new(current));
        Ok(())
    }

    /// What tells whether files have changed.
    pub fn digest(&self) -> Digest {
        self.current.load().digest
    }

    /// What endpoints are shown, if they ask.
    pub fn certificate(&self) -> Option<Certificate> {
        self.current.load().certificate.clone()
    }

    /// Whether endpoints have to prove who they are.
    pub fn verifies(&self) -> bool {
        self.current.load().trust.is_some()
    }

    /// Whom the certificates of endpoints may come from; `None` for anybody.
    pub fn trust(&self) -> Option<Trust> {
        self.current.load().trust.clone()
    }

    /// Whether who is asked for depends on the request.
    pub fn asks_by_request(&self) -> bool {
        self.settings.name == Name::OfRequest
    }
}

impl Current {
    fn new(settings: &ClientSettings, material: &Material) -> Result<Self, rustls::Error> {
        let roots = material.trust.as_ref();
        let roots = roots.map(|trust| Arc::clone(&trust.roots));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.min_version))?
            .dangerous()
            .with_custom_certificate_verifier(Verifier::new(roots, &settings.identities));
        let mut config = match &material.certificate {
            None => config.with_no_client_auth(),
            Some(own) => {
                let own = SingleCertAndKey::from(Arc::clone(&own.key));
                config.with_client_cert_resolver(Arc::new(own))
            }
        };
        config.key_log = settings.key_logging.log();
        Ok(Self {
            config,
            trust: material.trust.clone(),
            certificate: material.certificate.clone(),
            digest: material.digest(),
        })
    }
}

impl Material {
    /// What tells it from any other.
    pub fn digest(&self) -> Digest {
        let trust = self.trust.as_ref();
        // Not like trust in a list that happens to be empty.
        let nobody = || Digest::of([&b"unverified"[..]]);
        let trust = trust.map_or_else(nobody, Trust::digest);
        let own = self.certificate.as_ref();
        trust.and(own.map_or(Digest::of([]), |own| own.digest))
    }
}

impl Peer {
    /// An endpoint that was written with this host, if it has one.
    pub fn new(client: &Arc<Client>, host: Option<&str>) -> Self {
        let name = match &client.settings.name {
            Name::Fixed(name) => Some(name.clone()),
            Name::OfEndpoint | Name::OfRequest => host.and_then(server_name),
        };
        Self {
            client: Arc::clone(client),
            name,
            sessions: ArcSwapOption::empty(),
        }
    }

    /// Whether another one would be the same, so that this one can go on with what it remembers.
    pub fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.name == other.name
    }

    /// Whether who is asked for depends on the request.
    pub fn asks_by_request(&self) -> bool {
        self.client.asks_by_request()
    }

    /// Whether a session that was made so would be made so again.
    #[inline]
    pub fn is_current(&self, secured: &Secured) -> bool {
        let (current, sessions) = (self.client.current.load(), self.sessions.load());
        let sessions = sessions.as_ref();
        Arc::ptr_eq(&secured.sessions.current, &current)
            && sessions.is_some_and(|sessions| Arc::ptr_eq(&secured.sessions, sessions))
    }

    /// Begins a session on a connection to the endpoint. `host` is that of the request, where
    /// there is one.
    pub async fn begin(
        &self,
        stream: Stream,
        purpose: Purpose,
        host: Option<&ServerName<'static>>,
    ) -> io::Result<(Stream, Secured)> {
        let by_request = host.filter(|_| self.asks_by_request());
        let Some(name) = by_request.or(self.name.as_ref()) else {
            let why = "there is no name to ask the endpoint for: set `server_name`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        let sessions = self.sessions();
        let config = Arc::clone(sessions.config(purpose));
        let connection = ClientConnection::new(config, name.clone());
        let secure = Secure::new(stream, connection.map_err(io::Error::other)?);
        let secure = shake_hands(secure).await?;
        let is_http2 = secure.has_agreed_on(HTTP_2);
        self.check_agreed(&secure, purpose, is_http2)?;
        let secured = Secured {
            sessions,
            name: by_request.cloned(),
            is_http2,
        };
        Ok((Stream::Tls(secure), secured))
    }

    /// Whether a session that stands is for what it was begun for.
    fn check_agreed(&self, secure: &Secure, purpose: Purpose, is_http2: bool) -> io::Result<()> {
        let offer = match purpose {
            Purpose::Raw => return Ok(()),
            Purpose::Http1 => Offer::Http1,
            Purpose::Http => self.client.settings.offer,
        };
        let why = match offer {
            Offer::Http2 if !is_http2 => "the endpoint did not agree on HTTP/2 (ALPN `h2`)",
            Offer::Http1 if !secure.speaks(&HTTP) => {
                "the endpoint chose a protocol other than HTTP/1.1"
            }
            Offer::Either if !is_http2 && !secure.speaks(&HTTP) => {
                "the endpoint chose a protocol other than HTTP"
            }
            Offer::Http1 | Offer::Http2 | Offer::Either => return Ok(()),
        };
        let error = rustls::Error::General(why.into());
        Err(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// What sessions are made with now.
    fn sessions(&self) -> Arc<Sessions> {
        let current = self.client.current.load_full();
        if let Some(sessions) = self.sessions.load_full()
            && Arc::ptr_eq(&sessions.current, &current)
        {
            return sessions;
        }
        // Another worker may do the same at the same time: then the one's sessions are forgotten.
        let sessions = Arc::new(Sessions::new(current, &self.client.settings));
        self.sessions.store(Some(Arc::clone(&sessions)));
        sessions
    }
}

impl Sessions {
    fn new(current: Arc<Current>, settings: &ClientSettings) -> Self {
        let names = match settings.name {
            Name::OfRequest => NAMES_OF_REQUESTS,
            Name::OfEndpoint | Name::Fixed(_) => 1,
        };
        let mut http = current.config.clone();
        http.resumption = Resumption::in_memory_sessions(names * TICKETS);
        let mut raw = http.clone();
        let bytes = |list: &[String]| list.iter().map(|one| one.as_bytes().to_vec()).collect();
        (http.alpn_protocols, raw.alpn_protocols) = match &settings.alpn {
            Some(written) => (bytes(written), bytes(written)),
            None => (settings.offer.protocols(), Vec::new()),
        };
        // A session with one protocol must not be resumed for the other.
        raw.resumption = Resumption::in_memory_sessions(names * TICKETS);
        let http1 = (settings.offer == Offer::Either).then(|| {
            let mut http1 = http.clone();
            http1.alpn_protocols = Offer::Http1.protocols();
            http1.resumption = Resumption::in_memory_sessions(names * TICKETS);
            Arc::new(http1)
        });
        Self {
            current,
            http: Arc::new(http),
            http1,
            raw: Arc::new(raw),
        }
    }

    fn config(&self, purpose: Purpose) -> &Arc<ClientConfig> {
        match purpose {
            Purpose::Http => &self.http,
            Purpose::Http1 => self.http1.as_ref().unwrap_or(&self.http),
            Purpose::Raw => &self.raw,
        }
    }
}

impl Secured {
    /// Whom the session is with, where that depends on the request.
    pub fn name(&self) -> Option<&ServerName<'static>> {
        self.name.as_ref()
    }

    /// Whether HTTP/2 was agreed on.
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }
}

/// Waits for the end of a handshake. It owns the session while it waits, so that probes, which may
/// move to another thread, can use it.
async fn shake_hands(secure: Box<Secure>) -> io::Result<Box<Secure>> {
    let mut secure = Some(secure);
    let over = poll_fn(move |cx| {
        if let Some(under_way) = &secure {
            ready!(under_way.poll_handshake(cx))?;
        }
        Poll::Ready(io::Result::Ok(secure.take()))
    });
    let over = over.await?;
    over.ok_or_else(|| io::ErrorKind::NotConnected.into())
}

impl fmt::Debug for Client {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

/// What rustls keeps for one name: a ticket is good for one session, and a pool opens several.
const TICKETS: usize = 8;

/// Names whose sessions are remembered where they come from requests.
const NAMES_OF_REQUESTS: usize = 32;
