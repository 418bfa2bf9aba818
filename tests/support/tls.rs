//! TLS as a client sees it: an authority that certifies, and sessions that tell what was agreed on.
//!
//! The certificates are made for each test and trusted by it alone. A client is rustls with its
//! usual settings, and what a test wants otherwise is a field of [`Hello`]:
//!
//! ```text
//! let authority = Authority::new();
//! let shop = authority.certify(&["shop.test"]);
//! let proxy = Evenkeel::start_among(&shop.files("a"), &listener(endpoint.address(), &["a"], ""));
//! let mut client = Hello::to("shop.test", &authority).begin(proxy.address("web"));
//! assert_eq!(client.get("/").status, 200);
//! assert!(client.says_goodbye());
//! ```

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, RevokedCertParams, date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, AlertDescription, CertificateError, ClientConfig, ClientConnection,
    DigitallySignedStruct, Error, HandshakeKind, ProtocolVersion, RootCertStore, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use socket2::SockRef;

use super::client::{Client, connected};

/// Whoever certifies servers.
#[derive(Debug)]
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub(crate) struct Certified {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// What a client says first.
#[derive(Debug, Clone)]
pub(crate) struct Hello<'a> {
    pub(crate) trust: &'a Authority,
    /// The server's name, which its certificate must be for.
    pub(crate) name: &'a str,
    /// Whether the name is told to the server.
    pub(crate) sends_name: bool,
    /// Whether a certificate for another name will do.
    pub(crate) takes_any_name: bool,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
    /// The kinds of signatures that it takes; all if there are none.
    pub(crate) signatures: &'a [SignatureScheme],
    /// The words for the groups of its key exchange; all if there are none.
    pub(crate) groups: &'a [&'a str],
    /// What it shows if it is asked.
    pub(crate) certificate: Option<&'a Certified>,
}

/// A client that says the same each time, and remembers its sessions.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// A session on a socket.
pub(crate) type Session = StreamOwned<ClientConnection, TcpStream>;

/// Trusts one authority, and forgives as told.
#[derive(Debug)]
struct Judge {
    strict: Arc<WebPkiServerVerifier>,
    takes_any_name: bool,
    signatures: Vec<SignatureScheme>,
}

impl Authority {
    /// One that nobody else knows.
    pub(crate) fn new() -> Self {
        Self::named("authority")
    }

    /// The same, of this name.
    pub(crate) fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certified = CertifiedIssuer::self_signed(authority(name), key);
        Self(certified.expect("a certificate"))
    }

    /// Another one, certified by this one.
    pub(crate) fn deputy(&self) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = authority("deputy");
        params.serial_number = Some(DEPUTY.into());
        let certified = CertifiedIssuer::signed_by(params, key, &self.0);
        Self(certified.expect("a certificate"))
    }

    /// Its own certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its key, as PEM.
    pub(crate) fn key_pem(&self) -> String {
        self.0.key().serialize_pem()
    }

    /// A server with these names and a key for ECDSA.
    pub(crate) fn certify(&self, names: &[&str]) -> Certified {
        self.sign(names, &KeyPair::generate().expect("a key"), |_| {})
    }

    /// A server with these names and a key for RSA.
    pub(crate) fn certify_rsa(&self, names: &[&str]) -> Certified {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256);
        self.sign(names, &key.expect("a key"), |_| {})
    }

    /// A server with these names and a certificate that has these facts of its own.
    pub(crate) fn certify_with(
        &self,
        names: &[&str],
        facts: impl FnOnce(&mut CertificateParams),
    ) -> Certified {
        self.sign(names, &KeyPair::generate().expect("a key"), facts)
    }

    /// What it has revoked, as PEM: the certificates with these numbers. There should be a newer
    /// list in this year.
    pub(crate) fn revokes(&self, numbers: &[u64], year: i32) -> String {
        let revoked = numbers.iter().map(|&number| RevokedCertParams {
            serial_number: number.into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.0).expect("a list");
        list.pem().expect("PEM")
    }

    fn sign(
        &self,
        names: &[&str],
        key: &KeyPair,
        facts: impl FnOnce(&mut CertificateParams),
    ) -> Certified {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params
            .distinguished_name
            .push(DnType::CommonName, "a server");
        facts(&mut params);
        let cert = params.signed_by(key, &self.0).expect("a certificate");
        Certified {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Certified {
    /// The names of its two files and what stands in them.
    pub(crate) fn files(&self, name: &str) -> [(String, String); 2] {
        [
            (format!("{name}.pem"), self.cert.clone()),
            (format!("{name}.key"), self.key.clone()),
        ]
    }

    /// The server's certificate as it is sent.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("PEM")
    }
}

impl<'a> Hello<'a> {
    /// To this server, with everything else as usual.
    pub(crate) fn to(name: &'a str, trust: &'a Authority) -> Self {
        Self {
            trust,
            name,
            sends_name: true,
            takes_any_name: false,
            versions: ALL_VERSIONS,
            protocols: &[],
            signatures: &[],
            groups: &[],
            certificate: None,
        }
    }

    /// Begins a session there.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin(&self, address: SocketAddr) -> Client<Session> {
        self.caller().begin(address)
    }

    /// Why no session comes about there.
    ///
    /// # Panics
    /// When one does.
    pub(crate) fn refusal(&self, address: SocketAddr) -> io::Error {
        let begun = self.caller().try_begin(address);
        begun.expect_err("the session is refused")
    }

    /// A client that says this.
    pub(crate) fn caller(&self) -> Caller {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups.retain(|group| {
            let name = format!("{:?}", group.name());
            self.groups.is_empty() || self.groups.contains(&name.as_str())
        });
        let provider = Arc::new(provider);
        let judge = Judge::new(self, &provider);
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions that are known")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge));
        let mut config = match self.certificate {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).expect("PEM");
                let config = config.with_client_auth_cert(vec![shown.der()], key);
                config.expect("a key of this certificate")
            }
        };
        config.enable_sni = self.sends_name;
        let protocols = self.protocols.iter();
        config.alpn_protocols = protocols.map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(self.name.to_owned());
        Caller {
            config: Arc::new(config),
            name: name.expect("a name"),
        }
    }
}

impl Caller {
    /// Begins a session there.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin(&self, address: SocketAddr) -> Client<Session> {
        let begun = self.try_begin(address);
        begun.unwrap_or_else(|error| panic!("no session: {error}"))
    }

    /// Begins a session there, to the end of the handshake.
    pub(crate) fn try_begin(&self, address: SocketAddr) -> io::Result<Client<Session>> {
        finished(Session::new(self.connection(), connected(address)))
    }

    /// Begins a session there behind these bytes, which leave in one piece with the hello.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin_behind(&self, before: &[u8], address: SocketAddr) -> Client<Session> {
        let mut session = Session::new(self.connection(), connected(address));
        let mut first = before.to_vec();
        let written = session.conn.write_tls(&mut first);
        written.expect("memory takes everything");
        session.sock.write_all(&first).expect("the proxy reads");
        let begun = finished(session);
        begun.unwrap_or_else(|error| panic!("no session: {error}"))
    }

    /// Begins a session there with a hello in pieces of this size, and does this after each.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin_in_pieces(
        &self,
        address: SocketAddr,
        size: usize,
        mut between: impl FnMut(),
    ) -> Client<Session> {
        let mut session = Session::new(self.connection(), connected(address));
        let mut hello = Vec::new();
        let written = session.conn.write_tls(&mut hello);
        written.expect("memory takes everything");
        for piece in hello.chunks(size) {
            session.sock.write_all(piece).expect("the proxy reads");
            between();
        }
        let begun = finished(session);
        begun.unwrap_or_else(|error| panic!("no session: {error}"))
    }

    /// Begins a session there with a hello in records of at most this size.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin_in_records(&self, address: SocketAddr, size: usize) -> Client<Session> {
        let mut session = Session::new(self.connection(), connected(address));
        let mut hello = Vec::new();
        let written = session.conn.write_tls(&mut hello);
        written.expect("memory takes everything");
        let sent = session.sock.write_all(&records(&hello[5..], size));
        sent.expect("the proxy reads");
        let begun = finished(session);
        begun.unwrap_or_else(|error| panic!("no session: {error}"))
    }

    /// Begins a session there whose first data, and all of it, leaves together with the last of
    /// the handshake.
    ///
    /// # Panics
    /// When none comes about.
    pub(crate) fn begin_with_all(&self, address: SocketAddr, data: &[u8]) -> Client<Session> {
        let mut session = Session::new(self.connection(), connected(address));
        let mut writer = session.conn.writer();
        writer.write_all(data).expect("memory takes everything");
        while session.conn.is_handshaking() {
            let mut socket = &session.sock;
            while session.conn.wants_write() && session.conn.is_handshaking() {
                session
                    .conn
                    .write_tls(&mut socket)
                    .expect("the proxy reads");
            }
            session
                .conn
                .read_tls(&mut socket)
                .expect("the proxy answers");
            session.conn.process_new_packets().expect("a sound answer");
        }
        session.conn.send_close_notify();
        let mut last = Vec::new();
        while session.conn.wants_write() {
            let written = session.conn.write_tls(&mut last);
            written.expect("memory takes everything");
        }
        session.sock.write_all(&last).expect("the proxy reads");
        drop(session.sock.shutdown(Shutdown::Write));
        Client::over(session)
    }

    /// The first bytes that it sends.
    pub(crate) fn first_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let written = self.connection().write_tls(&mut bytes);
        written.expect("memory takes everything");
        bytes
    }

    pub(super) fn connection(&self) -> ClientConnection {
        let config = Arc::clone(&self.config);
        ClientConnection::new(config, self.name.clone()).expect("a sound configuration")
    }
}

/// What only a session can do and tell.
impl Client<Session> {
    /// The version that was agreed on.
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.stream().conn.protocol_version()
    }

    /// The protocol that was agreed on.
    pub(crate) fn protocol(&self) -> Option<String> {
        let name = self.stream().conn.alpn_protocol()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// The word for the group that the keys were exchanged in.
    pub(crate) fn group(&self) -> String {
        let group = self.stream().conn.negotiated_key_exchange_group();
        group.map_or_else(String::new, |group| format!("{:?}", group.name()))
    }

    /// Whether the server showed this certificate.
    pub(crate) fn was_shown(&self, certified: &Certified) -> bool {
        let shown = self.stream().conn.peer_certificates();
        shown.and_then(<[_]>::first) == Some(&certified.der())
    }

    /// Whether the session goes on from one before.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream().conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// What the next read fails with.
    ///
    /// # Panics
    /// When it does not.
    pub(crate) fn read_error(&mut self) -> io::Error {
        let read = self.stream_mut().read(&mut [0]);
        read.expect_err("the session ends")
    }

    /// Says that no more will be sent, and goes on reading.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let session = self.stream_mut();
        session.conn.send_close_notify();
        // It may have gone.
        drop(session.flush());
        drop(session.sock.shutdown(Shutdown::Write));
        self
    }

    /// Ends the sending side of the socket as a cable would: without a word.
    pub(crate) fn cut(&mut self) -> &mut Self {
        let ended = self.stream().sock.shutdown(Shutdown::Write);
        ended.expect("an open connection");
        self
    }

    /// Has the keys replaced, on both sides, with the next bytes.
    pub(crate) fn renew_keys(&mut self) {
        let asked = self.stream_mut().conn.refresh_traffic_keys();
        asked.expect("TLS 1.3");
    }

    /// Goes away with a reset.
    pub(crate) fn abort(self) {
        SockRef::from(&self.stream().sock)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket option");
    }

    /// Sends bytes on the socket itself, where only records should be.
    pub(crate) fn send_below(&mut self, bytes: &[u8]) {
        let sent = self.stream_mut().sock.write_all(bytes);
        sent.expect("an open connection");
    }

    /// Whether the session ends with a `close_notify`, and nothing before it.
    pub(crate) fn says_goodbye(&mut self) -> bool {
        matches!(self.stream_mut().read(&mut [0]), Ok(0))
    }

    /// Whether the session ends without a `close_notify`, and nothing before that.
    pub(crate) fn is_cut(&mut self) -> bool {
        let read = self.stream_mut().read(&mut [0]);
        let waits = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
        read.is_err_and(|error| !waits.contains(&error.kind()))
    }
}

impl Judge {
    fn new(hello: &Hello<'_>, provider: &Arc<CryptoProvider>) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(hello.trust.0.der().clone())
            .expect("an authority's certificate");
        let strict = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
        Self {
            strict: strict.build().expect("a trusted authority"),
            takes_any_name: hello.takes_any_name,
            signatures: hello.signatures.to_vec(),
        }
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .strict
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.takes_any_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.strict.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        if self.signatures.is_empty() {
            return self.strict.supported_verify_schemes();
        }
        self.signatures.clone()
    }
}

/// A message of a handshake in records of at most this size (RFC 8446 §5.1).
pub(crate) fn records(message: &[u8], size: usize) -> Vec<u8> {
    let head = |part: &[u8]| {
        let length = u16::try_from(part.len()).expect("a record").to_be_bytes();
        [&[22, 3, 1][..], &length].concat()
    };
    let records = message
        .chunks(size)
        .flat_map(|part| [&head(part), part].concat());
    records.collect()
}

/// The session once its handshake is over.
pub(super) fn finished(mut session: Session) -> io::Result<Client<Session>> {
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    Ok(Client::over(session))
}

/// The alert that the server refused with.
pub(crate) fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// The listener `web` before the endpoint there, with the certificates `{name}.pem` and
/// `{name}.key`, the first of them the default, and these lines in its table `tls`.
pub(crate) fn listener(endpoint: SocketAddr, names: &[&str], lines: &str) -> String {
    let certificates: Vec<String> = names
        .iter()
        .map(|name| format!("{{ cert = \"{name}.pem\", key = \"{name}.key\" }}"))
        .collect();
    let certificates = certificates.join(", ");
    format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{endpoint}\"]\n\
         [listener.web.tls]\ncertificates = [{certificates}]\n{lines}\n"
    )
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Signatures of keys for ECDSA.
/// The number of a deputy's certificate.
pub(crate) const DEPUTY: u64 = 100;

pub(crate) const ECDSA: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

/// Signatures of keys for RSA, in both versions of TLS.
pub(crate) const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA256,
];
