//! Endpoints that speak HTTP/2 as they are told.
//!
//! ```text
//! let endpoint = H2Endpoint::start(&[], |peer| {
//!     while let Some(request) = peer.request() {
//!         peer.answer(request.id, 200, &[], b"hello");
//!     }
//! });
//! ```

use std::any::Any;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::connect_unspec;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::frame::{Frame, PREFACE, kind};
use super::{H2, Message, StreamEnd};
use crate::support::clock::{PATIENCE, eventually, pause};
use crate::support::message::{Body, Head, Wire, text};
use crate::support::tls::Certified;

/// A server on a port of its own, which ends with this value. What a behaviour found wrong by then
/// fails the test.
#[derive(Debug)]
pub(crate) struct H2Endpoint {
    address: SocketAddr,
    record: Arc<Record>,
}

/// One connection, in the hands of a behaviour.
pub(crate) type H2Peer = H2<Transport>;

/// What a connection goes over: a socket, or a session of TLS on one.
pub(crate) struct Transport {
    stream: Box<dyn Duplex>,
    socket: TcpStream,
    record: Arc<Record>,
    waits: Arc<AtomicBool>,
    /// Which connection it is, counted from 0.
    pub(crate) number: usize,
}

/// Bytes in both directions.
trait Duplex: Read + Write + Send {
    /// The protocol that a handshake agrees on, once it is over. Empty where there is none.
    fn agree(&mut self) -> std::io::Result<String>;
}

impl Duplex for TcpStream {
    fn agree(&mut self) -> std::io::Result<String> {
        Ok(String::new())
    }
}

impl Duplex for StreamOwned<ServerConnection, TcpStream> {
    fn agree(&mut self) -> std::io::Result<String> {
        while self.conn.is_handshaking() {
            self.conn.complete_io(&mut self.sock)?;
        }
        Ok(text(self.conn.alpn_protocol().unwrap_or_default()))
    }
}

#[derive(Debug, Default)]
struct Record {
    ended: AtomicBool,
    released: Mutex<usize>,
    connections: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Message>>,
    /// What was agreed on within TLS, connection by connection.
    protocols: Mutex<Vec<String>>,
    /// Requests of HTTP/1.1.
    old_requests: Mutex<Vec<(Head, Body)>>,
    behaviours: Mutex<Vec<Behaviour>>,
}

/// What is done with a connection.
#[derive(Debug)]
struct Behaviour {
    thread: JoinHandle<()>,
    /// It waits, for bytes or for the test.
    waits: Arc<AtomicBool>,
}

impl H2Endpoint {
    /// Sends these settings, then does with each connection what it is told.
    pub(crate) fn start(
        settings: &[(u16, u32)],
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let settings = Frame::settings_of(settings).bytes();
        Self::serve(None, settings, None, behaviour)
    }

    /// Answers every request with 200 and this body, at an address.
    pub(crate) fn says_at(address: SocketAddr, body: &str) -> Self {
        let settings = Frame::settings_of(&[]).bytes();
        Self::serve_at(address, None, (settings, None), says(body))
    }

    /// Leaves its SETTINGS to the behaviour.
    pub(crate) fn start_unsettled(behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static) -> Self {
        Self::serve(None, Vec::new(), None, behaviour)
    }

    /// The same within TLS: shows this certificate and agrees on `h2` alone.
    pub(crate) fn start_within_tls(
        certified: &Certified,
        settings: &[(u16, u32)],
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let settings = Frame::settings_of(settings).bytes();
        Self::serve(Some(config(certified, &["h2"])), settings, None, behaviour)
    }

    /// The same, but agrees on `http/1.1` as well, if that alone is offered: then every request is
    /// answered with 200 and this body.
    pub(crate) fn start_in_either(
        certified: &Certified,
        old: &str,
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let tls = config(certified, &["h2", "http/1.1"]);
        let settings = Frame::settings_of(&[]).bytes();
        Self::serve(Some(tls), settings, Some(old.to_owned()), behaviour)
    }

    /// Answers every request with 200 and this body.
    pub(crate) fn says(body: &str) -> Self {
        Self::start(&[], says(body))
    }

    /// The same within TLS.
    pub(crate) fn says_within_tls(certified: &Certified, body: &str) -> Self {
        Self::start_within_tls(certified, &[], says(body))
    }

    fn serve(
        tls: Option<Arc<ServerConfig>>,
        settings: Vec<u8>,
        old: Option<String>,
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        Self::serve_at(address, tls, (settings, old), behaviour)
    }

    fn serve_at(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        (settings, old): (Vec<u8>, Option<String>),
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let record = Arc::new(Record::default());
        let kept = Arc::clone(&record);
        let behaviour = Arc::new((old, behaviour));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if kept.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let transport = Transport::new(stream, tls.as_ref(), &kept);
                let (settings, behaviour) = (settings.clone(), Arc::clone(&behaviour));
                let waits = Arc::clone(&transport.waits);
                // Held before it begins: what it does may be the last that the test waits for.
                let mut behaviours = held(&kept.behaviours);
                let thread = thread::spawn(move || {
                    let (old, behaviour) = &*behaviour;
                    begin(transport, &settings, old.as_deref(), behaviour);
                });
                behaviours.push(Behaviour { thread, waits });
            }
        });
        Self { address, record }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        held(&self.record.connections).len()
    }

    /// The requests that arrived, in the order in which behaviours took them.
    pub(crate) fn requests(&self) -> Vec<Message> {
        held(&self.record.requests).clone()
    }

    /// The only request that arrived.
    ///
    /// # Panics
    /// When there were none or several.
    pub(crate) fn request(&self) -> Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request in {requests:?}");
        requests.into_iter().next().expect("one was counted")
    }

    /// What was agreed on within TLS, connection by connection.
    pub(crate) fn protocols(&self) -> Vec<String> {
        held(&self.record.protocols).clone()
    }

    /// The requests of HTTP/1.1 that arrived.
    pub(crate) fn old_requests(&self) -> Vec<(Head, Body)> {
        held(&self.record.old_requests).clone()
    }

    /// Lets one behaviour go on that waits for it.
    pub(crate) fn release(&self) {
        *held(&self.record.released) += 1;
    }
}

impl Drop for H2Endpoint {
    fn drop(&mut self) {
        self.record.ended.store(true, Ordering::Release);
        let failed = self.record.failed();
        for stream in held(&self.record.connections).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        // It may be in a namespace that is not ours.
        drop(TcpStream::connect_timeout(&self.address, PATIENCE));
        if let Some(failed) = failed.filter(|_| !thread::panicking()) {
            resume_unwind(failed);
        }
    }
}

impl Record {
    /// What a behaviour failed with. Those that wait for what may never come, because the test is
    /// over, are not waited for long; one that is at work is, since it may be telling of a failure.
    fn failed(&self) -> Option<Box<dyn Any + Send>> {
        let behaviours = std::mem::take(&mut *held(&self.behaviours));
        for looks in 0..MOST_LOOKS {
            let over = |behaviour: &Behaviour| {
                let is_late = looks > LOOKS && behaviour.waits.load(Ordering::Acquire);
                behaviour.thread.is_finished() || is_late
            };
            if behaviours.iter().all(over) {
                break;
            }
            pause(A_MOMENT);
        }
        let threads = behaviours.into_iter().map(|behaviour| behaviour.thread);
        let mut ended = threads.filter(JoinHandle::is_finished);
        ended.find_map(|thread| thread.join().err())
    }
}

impl H2<Transport> {
    /// The head of the next request, its body left to be read. `None` when the connection ends
    /// instead, or says that it will.
    pub(crate) fn head(&mut self) -> Option<Frame> {
        let next = self.frame_that(|frame| matches!(frame.kind, kind::HEADERS | kind::GOAWAY));
        next.ok().filter(|frame| frame.kind == kind::HEADERS)
    }

    /// The next request with its body. `None` when the connection ends instead.
    pub(crate) fn request(&mut self) -> Option<Message> {
        let head = self.head()?;
        let id = head.stream;
        self.kept.push_front(head);
        let message = self.message(id);
        if message.end == StreamEnd::Closed {
            return None;
        }
        held(&self.stream.record.requests).push(message.clone());
        Some(message)
    }

    /// Answers a stream with a head and, unless it is empty, a body.
    pub(crate) fn answer(
        &mut self,
        stream: u32,
        status: u16,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) {
        let body = body.as_ref();
        self.begin_answer(stream, status, fields, body.is_empty());
        if !body.is_empty() {
            self.send(&Frame::data(stream, body, true));
        }
    }

    /// Sends the head of an answer.
    pub(crate) fn begin_answer(
        &mut self,
        stream: u32,
        status: u16,
        fields: &[(&str, &str)],
        ends: bool,
    ) {
        let status = status.to_string();
        let mut head = vec![(":status", status.as_str())];
        head.extend(fields);
        self.send(&Frame::headers(stream, &head, ends));
    }

    /// Waits for `H2Endpoint::release`.
    pub(crate) fn wait_for_release(&self) {
        self.stream.waits.store(true, Ordering::Release);
        eventually("the test releases the endpoint", || {
            let mut released = held(&self.stream.record.released);
            *released = released.checked_sub(1)?;
            Some(())
        });
        self.stream.waits.store(false, Ordering::Release);
    }

    /// Which connection it is, counted from 0.
    pub(crate) fn number(&self) -> usize {
        self.stream.number
    }

    /// Reads until the connection ends.
    pub(crate) fn drain(&mut self) {
        while self.read().is_ok() {}
    }

    fn takes_preface(&mut self) -> bool {
        while self.buffer.len() < PREFACE.len() {
            if self.fill().is_err() {
                return false;
            }
        }
        let preface: Vec<u8> = self.buffer.drain(..PREFACE.len()).collect();
        preface == PREFACE
    }
}

impl Transport {
    fn new(socket: TcpStream, tls: Option<&Arc<ServerConfig>>, record: &Arc<Record>) -> Self {
        let clone = || socket.try_clone().expect("a spare descriptor");
        socket.set_nodelay(true).expect("a socket option");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut connections = held(&record.connections);
        let number = connections.len();
        connections.push(clone());
        let stream: Box<dyn Duplex> = match tls {
            None => Box::new(clone()),
            Some(config) => {
                let session = ServerConnection::new(Arc::clone(config));
                let session = session.expect("a sound configuration");
                Box::new(StreamOwned::new(session, clone()))
            }
        };
        Self {
            stream,
            socket,
            record: Arc::clone(record),
            waits: Arc::default(),
            number,
        }
    }

    /// Ends the connection without a word.
    pub(crate) fn close(&self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }

    /// Ends the connection by a reset, although others hold its socket as well.
    pub(crate) fn reset(&self) {
        connect_unspec(&self.socket).expect("a socket lets go of its peer");
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.waits.store(true, Ordering::Release);
        let read = self.stream.read(buffer);
        self.waits.store(false, Ordering::Release);
        read
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {}", self.number)
    }
}

fn begin(
    mut transport: Transport,
    settings: &[u8],
    old: Option<&str>,
    behaviour: &impl Fn(&mut H2Peer),
) {
    // Whoever breaks the handshake off is somebody else's to judge.
    let Ok(protocol) = transport.stream.agree() else {
        return;
    };
    held(&transport.record.protocols).push(protocol.clone());
    if let Some(body) = old.filter(|_| protocol == "http/1.1") {
        return answer_all(transport, body);
    }
    let mut peer = H2::over(transport);
    peer.send_bytes(settings);
    if peer.takes_preface() {
        behaviour(&mut peer);
    }
}

/// HTTP/1.1: 200 and this body, whatever is asked.
fn answer_all(transport: Transport, body: &str) {
    let mut wire = Wire::new(transport);
    while let Ok(head) = wire.head() {
        let framing = head.request_framing().expect("a request that is framed");
        let taken = wire.body(framing).expect("its body");
        held(&wire.source().record.old_requests).push((head, taken));
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        if wire.source_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn says(body: &str) -> impl Fn(&mut H2Peer) + Send + Sync + 'static {
    let body = body.to_owned();
    move |peer| {
        while let Some(request) = peer.request() {
            peer.answer(request.id, 200, &[], &body);
        }
    }
}

fn config(certified: &Certified, protocols: &[&str]) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_slice(certified.cert.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that are known")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key);
    let mut config = config.expect("a key of the certificate");
    let protocols = protocols.iter();
    config.alpn_protocols = protocols.map(|one| one.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// How often, and how long, a behaviour is looked at that waits for what may still be on its way;
/// and one that is at work, whose backtrace takes its time.
const LOOKS: usize = 40;
const MOST_LOOKS: usize = 12_000;
const A_MOMENT: Duration = Duration::from_millis(5);

/// A thread that failed has failed its own test; what it recorded is still good.
fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
