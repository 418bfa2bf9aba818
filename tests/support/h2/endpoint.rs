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

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::frame::{Frame, PREFACE, kind};
use super::{H2, Message, StreamEnd};
use crate::support::clock::{PATIENCE, eventually, pause};
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
    /// Which connection it is, counted from 0.
    pub(crate) number: usize,
}

/// Bytes in both directions.
trait Duplex: Read + Write + Send {}

impl<S: Read + Write + Send> Duplex for S {}

#[derive(Debug, Default)]
struct Record {
    ended: AtomicBool,
    released: Mutex<usize>,
    connections: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Message>>,
    behaviours: Mutex<Vec<JoinHandle<()>>>,
}

impl H2Endpoint {
    /// Sends these settings, then does with each connection what it is told.
    pub(crate) fn start(
        settings: &[(u16, u32)],
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        Self::serve(None, Frame::settings_of(settings).bytes(), behaviour)
    }

    /// Leaves its SETTINGS to the behaviour.
    pub(crate) fn start_unsettled(behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static) -> Self {
        Self::serve(None, Vec::new(), behaviour)
    }

    /// The same within TLS: shows this certificate and agrees on `h2` alone.
    pub(crate) fn start_within_tls(
        certified: &Certified,
        settings: &[(u16, u32)],
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let settings = Frame::settings_of(settings).bytes();
        Self::serve(Some(config(certified)), settings, behaviour)
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
        behaviour: impl Fn(&mut H2Peer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let record = Arc::new(Record::default());
        let kept = Arc::clone(&record);
        let behaviour = Arc::new(behaviour);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if kept.ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let transport = Transport::new(stream, tls.as_ref(), &kept);
                let (settings, behaviour) = (settings.clone(), Arc::clone(&behaviour));
                // Held before it begins: what it does may be the last that the test waits for.
                let mut behaviours = held(&kept.behaviours);
                behaviours.push(thread::spawn(move || {
                    begin(transport, settings, &*behaviour);
                }));
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
        drop(TcpStream::connect(self.address));
        if let Some(failed) = failed.filter(|_| !thread::panicking()) {
            resume_unwind(failed);
        }
    }
}

impl Record {
    /// What a behaviour failed with. Those that wait for what may never come, because the test is
    /// over, are not waited for.
    fn failed(&self) -> Option<Box<dyn Any + Send>> {
        let behaviours = std::mem::take(&mut *held(&self.behaviours));
        let over = || behaviours.iter().all(JoinHandle::is_finished);
        for _ in 0..LOOKS {
            if over() {
                break;
            }
            pause(A_MOMENT);
        }
        let mut ended = behaviours.into_iter().filter(JoinHandle::is_finished);
        ended.find_map(|behaves| behaves.join().err())
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
        eventually("the test releases the endpoint", || {
            let mut released = held(&self.stream.record.released);
            *released = released.checked_sub(1)?;
            Some(())
        });
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
            number,
        }
    }

    /// Ends the connection without a word.
    pub(crate) fn close(&self) {
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(buffer)
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

fn begin(transport: Transport, settings: Vec<u8>, behaviour: &impl Fn(&mut H2Peer)) {
    let mut peer = H2::over(transport);
    peer.send_bytes(settings);
    if peer.takes_preface() {
        behaviour(&mut peer);
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

fn config(certified: &Certified) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_slice(certified.cert.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions that are known")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key);
    let mut config = config.expect("a key of the certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// How often, and how long, a behaviour that is about to find something wrong is waited for.
const LOOKS: usize = 40;
const A_MOMENT: Duration = Duration::from_millis(5);

/// A thread that failed has failed its own test; what it recorded is still good.
fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
