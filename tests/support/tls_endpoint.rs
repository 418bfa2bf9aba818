//! An endpoint within TLS, which tells with every answer what it knows of its session.
//!
//! ```text
//! let endpoint = TlsEndpoint::start(&Shown::by(&certified));
//! // … a proxy in front of it …
//! let told = client.get("/").text();
//! assert!(told.contains("name=api.test\n"));
//! ```

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::tls::{Authority, Certified};

/// What it shows and wants.
#[derive(Debug, Clone)]
pub(crate) struct Shown<'a> {
    pub(crate) certified: &'a Certified,
    /// Who has to certify its clients; `None` asks for no certificate.
    pub(crate) clients_of: Option<&'a Authority>,
    pub(crate) versions: &'a [&'static SupportedProtocolVersion],
    pub(crate) protocols: &'a [&'a str],
}

/// A running endpoint.
#[derive(Debug)]
pub(crate) struct TlsEndpoint {
    address: SocketAddr,
    facts: Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    config: Arc<ServerConfig>,
    ended: AtomicBool,
    /// Connections that were accepted, and sessions that came about on them.
    connections: AtomicUsize,
    sessions: AtomicUsize,
}

type Session = StreamOwned<ServerConnection, TcpStream>;

impl<'a> Shown<'a> {
    /// A server with this certificate and everything else as usual.
    pub(crate) fn by(certified: &'a Certified) -> Self {
        Self {
            certified,
            clients_of: None,
            versions: ALL_VERSIONS,
            protocols: &["http/1.1"],
        }
    }

    fn config(&self) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_protocol_versions(self.versions)
            .expect("versions that are known");
        let builder = match self.clients_of {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let pem = authority.pem();
                let mut roots = RootCertStore::empty();
                let root = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
                roots.add(root).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::from_pem_slice(self.certified.key.as_bytes()).expect("PEM");
        let chain = CertificateDer::pem_slice_iter(self.certified.cert.as_bytes());
        let chain = chain.map(|one| one.expect("PEM")).collect();
        let mut config = builder.with_single_cert(chain, key).expect("a pair");
        let protocols = self.protocols.iter();
        config.alpn_protocols = protocols.map(|one| one.as_bytes().to_vec()).collect();
        config
    }
}

impl TlsEndpoint {
    /// Starts one.
    pub(crate) fn start(shown: &Shown<'_>) -> Self {
        Self::start_at("127.0.0.1:0", shown)
    }

    /// Starts one at this address.
    pub(crate) fn start_at(address: &str, shown: &Shown<'_>) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let facts = Arc::new(Facts {
            config: Arc::new(shown.config()),
            ended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
        });
        let kept = Arc::clone(&facts);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if kept.ended.load(Ordering::SeqCst) {
                    return;
                }
                let facts = Arc::clone(&kept);
                let number = facts.connections.fetch_add(1, Ordering::SeqCst);
                // Whoever goes away is what many tests are about.
                thread::spawn(move || stream.and_then(|stream| facts.serve(stream, number)));
            }
        });
        Self { address, facts }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.facts.connections.load(Ordering::SeqCst)
    }

    /// Sessions that came about.
    pub(crate) fn sessions(&self) -> usize {
        self.facts.sessions.load(Ordering::SeqCst)
    }
}

impl Drop for TlsEndpoint {
    fn drop(&mut self) {
        self.facts.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

impl Facts {
    fn serve(&self, stream: TcpStream, number: usize) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let connection = ServerConnection::new(Arc::clone(&self.config));
        let mut session = Session::new(connection.map_err(io::Error::other)?, stream);
        while session.conn.is_handshaking() {
            session.conn.complete_io(&mut session.sock)?;
        }
        self.sessions.fetch_add(1, Ordering::SeqCst);
        let told = told(&session.conn, number);
        let mut session = BufReader::new(session);
        while answer(&mut session, &told)? {}
        Ok(())
    }
}

/// What is known of a session.
fn told(session: &ServerConnection, number: usize) -> String {
    let text =
        |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    format!(
        "connection={number}\nname={}\nprotocol={}\nversion={:?}\nkind={:?}\nclient={}\n",
        session.server_name().unwrap_or_default(),
        text(session.alpn_protocol()),
        session.protocol_version().expect("a session"),
        session.handshake_kind().expect("a session"),
        session.peer_certificates().map_or(0, <[_]>::len),
    )
}

/// Answers one request; whether there may be another.
fn answer(session: &mut BufReader<Session>, told: &str) -> io::Result<bool> {
    let mut target = String::new();
    let (mut length, mut host) = (0, String::new());
    loop {
        let mut line = String::new();
        if session.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if target.is_empty() {
            let second = line.split(' ').nth(1);
            second.unwrap_or_default().clone_into(&mut target);
        } else if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().map_err(io::Error::other)?;
        } else if let Some(value) = line.strip_prefix("host: ") {
            value.clone_into(&mut host);
        }
    }
    let taken = io::copy(&mut session.by_ref().take(length), &mut io::sink())?;
    let mut body = format!("{told}host={host}\ntaken={taken}\n");
    if target == "/large" || target == "/cut" {
        body = "x".repeat(LARGE);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let session = session.get_mut();
    session.write_all(head.as_bytes())?;
    session.write_all(body.as_bytes())?;
    session.flush()?;
    if target == "/cut" {
        // Without a word of TLS.
        session.sock.shutdown(Shutdown::Write)?;
        io::copy(&mut session.sock, &mut io::sink())?;
    }
    Ok(target != "/cut")
}

/// The length of `/large` and of `/cut`, which ends the connection as a cable would.
pub(crate) const LARGE: usize = 3 * 1024 * 1024;
