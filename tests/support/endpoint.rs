//! Endpoints that behave as told, badly most of the time, and remember what they were sent.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::clock::{PATIENCE, eventually, pause};
use super::message::{Body, Broken, End, Framing, Head, Wire};

/// A server on a port of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    record: Arc<Record>,
    /// Held where the port must refuse: bound, and not listening.
    _bound: Option<Socket>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: Head,
    pub(crate) body: Body,
    /// Whether the body was framed in chunks.
    pub(crate) chunked: bool,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

/// One connection, in the hands of a behaviour.
#[derive(Debug)]
pub(crate) struct Peer {
    number: usize,
    stream: TcpStream,
    wire: Wire<Tap>,
    record: Arc<Record>,
}

/// What an endpoint was sent, and what it was told meanwhile.
#[derive(Debug, Default)]
struct Record {
    ended: AtomicBool,
    released: Mutex<Option<Vec<u8>>>,
    connections: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Request>>,
    raw: Mutex<Vec<Vec<u8>>>,
    broken: Mutex<Vec<Broken>>,
}

/// Reads a connection and keeps every byte.
#[derive(Debug)]
struct Tap {
    number: usize,
    stream: TcpStream,
    record: Arc<Record>,
}

/// How endpoints are made.
impl Endpoint {
    /// An endpoint that does with each connection what it is told.
    pub(crate) fn start(behaviour: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), behaviour)
    }

    /// The same at an address.
    pub(crate) fn start_at(
        address: SocketAddr,
        behaviour: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let record = Arc::new(Record::default());
        let accepting = Arc::clone(&record);
        thread::spawn(move || accept(&listener, &accepting, &Arc::new(behaviour)));
        Self {
            address,
            record,
            _bound: None,
        }
    }

    /// Answers every request with 200 and, as the body, the request's own bytes.
    pub(crate) fn echo() -> Self {
        Self::start(|peer| while peer.echo() {})
    }

    /// Answers every request with these bytes, and keeps the connection.
    pub(crate) fn answers(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            while peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    /// Answers with these bytes, and closes the connection.
    pub(crate) fn answers_and_closes(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&bytes);
            }
        })
    }

    /// Answers with these bytes as soon as it has read the head, whatever body follows, and reads
    /// on to the end of the connection.
    pub(crate) fn answers_early(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            if peer.head().is_some() {
                peer.send(&bytes);
                peer.drain();
            }
        })
    }

    /// Answers with these bytes, one at a time.
    pub(crate) fn answers_slowly(bytes: impl AsRef<[u8]>, step: Duration) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            while peer.request().is_some() {
                for byte in &bytes {
                    peer.send([*byte]);
                    pause(step);
                }
            }
        })
    }

    /// Sends these bytes, which are a head or the beginning of a message, and nothing more.
    pub(crate) fn stalls_after(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&bytes);
                peer.drain();
            }
        })
    }

    /// Sends these bytes, and resets the connection.
    pub(crate) fn resets_after(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref().to_vec();
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&bytes);
                // The reset must not overtake what was sent.
                pause(Duration::from_millis(50));
                peer.reset();
            }
        })
    }

    /// Answers requests like `echo`, and closes a connection that has been idle for so long.
    pub(crate) fn closes_idle_after(idle: Duration) -> Self {
        Self::start(move |peer| {
            peer.wait_at_most(idle);
            while peer.echo() {}
        })
    }

    /// Answers one request on each connection like `echo`, then closes without having said so.
    pub(crate) fn closes_after_each() -> Self {
        Self::start(|peer| {
            peer.echo();
        })
    }

    /// Reads a request, and closes without a byte of an answer.
    pub(crate) fn closes_unanswered() -> Self {
        Self::start(|peer| {
            peer.request();
        })
    }

    /// Accepts connections, and reads nothing.
    pub(crate) fn never_reads() -> Self {
        Self::start(|peer| peer.wait_for_end())
    }

    /// Accepts connections, and closes them at once.
    pub(crate) fn closes_after_accept() -> Self {
        Self::start(Peer::reset)
    }

    /// Grants every upgrade with 101 and this protocol, then sends all bytes back.
    pub(crate) fn upgrades_to(protocol: &str) -> Self {
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n"
        );
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&answer);
                peer.send_all_back();
            }
        })
    }

    /// Sends all bytes back, whatever they are.
    pub(crate) fn sends_back() -> Self {
        Self::start(Peer::send_all_back)
    }

    /// Answers every request with 200 and this body.
    pub(crate) fn says(body: &str) -> Self {
        let length = body.len();
        Self::answers(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Refuses connections.
    pub(crate) fn refuses() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        socket.bind(&any.into()).expect("a free port");
        let address = socket.local_addr().expect("a bound address").as_socket();
        Self {
            address: address.expect("an IPv4 address"),
            record: Arc::new(Record::default()),
            _bound: Some(socket),
        }
    }
}

/// What endpoints were sent.
impl Endpoint {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets a behaviour go on that waits for it.
    pub(crate) fn release(&self, bytes: impl AsRef<[u8]>) {
        *held(&self.record.released) = Some(bytes.as_ref().to_vec());
    }

    /// The requests that arrived whole, in the order in which they did.
    pub(crate) fn requests(&self) -> Vec<Request> {
        held(&self.record.requests).clone()
    }

    /// The only request that arrived.
    ///
    /// # Panics
    /// When there were none or several.
    pub(crate) fn request(&self) -> Request {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "one request in {requests:?}");
        requests.into_iter().next().expect("one was counted")
    }

    /// Every byte that arrived, by connection.
    pub(crate) fn raw(&self) -> Vec<Vec<u8>> {
        held(&self.record.raw).clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        held(&self.record.raw).len()
    }

    /// How connections ended: `Broken::Closed` between requests, otherwise within one.
    pub(crate) fn ends(&self) -> Vec<Broken> {
        held(&self.record.broken).clone()
    }

    /// Waits until a connection has ended, and says how.
    pub(crate) fn wait_for_end(&self) -> Broken {
        eventually("the proxy closes its connection to the endpoint", || {
            self.ends().first().cloned()
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.record.ended.store(true, Ordering::Release);
        for stream in held(&self.record.connections).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the thread that accepts, if there is one, so that it sees the end.
        drop(TcpStream::connect(self.address));
    }
}

impl Request {
    /// The method.
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    /// The target as it was written.
    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }
}

impl Peer {
    /// Waits for the next whole request. `None` when the connection ends instead.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let head = self.head()?;
        let request = head
            .request_framing()
            .and_then(|framing| self.wire.body(framing).map(|body| (framing, body)))
            .map(|(framing, body)| Request {
                head,
                body,
                chunked: framing == Framing::Chunked,
                connection: self.number,
            });
        match request {
            Ok(request) if request.body.end == End::Framed => {
                held(&self.record.requests).push(request.clone());
                Some(request)
            }
            Ok(request) => self.end(Broken::Truncated(request.body.text())),
            Err(broken) => self.end(broken),
        }
    }

    /// Waits for the head of a request, its body left to be read.
    pub(crate) fn head(&mut self) -> Option<Head> {
        match self.wire.head() {
            Ok(head) => Some(head),
            Err(broken) => self.end(broken),
        }
    }

    /// Sends bytes; the proxy may have gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Sends bytes, and says whether all were taken.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The connection itself; what is read from it is not remembered.
    pub(crate) fn socket(&self) -> TcpStream {
        self.stream.try_clone().expect("a spare descriptor")
    }

    /// Reads this many bytes of a body whose head was taken.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.wire.bytes(length).unwrap_or_default()
    }

    /// Waits for `Endpoint::release`, and returns what it brings.
    pub(crate) fn wait_for_release(&self) -> Vec<u8> {
        eventually("the test releases the endpoint", || {
            held(&self.record.released).take()
        })
    }

    /// What comes next; `None` when nothing more does.
    pub(crate) fn some(&mut self) -> Option<Vec<u8>> {
        self.wire.some().ok()
    }

    /// Everything until the proxy sends no more.
    pub(crate) fn remainder(&mut self) -> Vec<u8> {
        self.wire.remainder()
    }

    /// Reads until the connection ends.
    pub(crate) fn drain(&mut self) {
        let rest = self.wire.remainder();
        self.end::<()>(if rest.is_empty() {
            Broken::Closed
        } else {
            Broken::Truncated(super::message::text(&rest))
        });
    }

    /// Says that no more will be sent, and goes on reading.
    pub(crate) fn finish(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(&mut self) {
        SockRef::from(&self.stream)
            .set_linger(Some(Duration::ZERO))
            .expect("a socket option");
    }

    /// Waits until nothing more comes, and tells whether the connection was ended or cut.
    pub(crate) fn tell_end(&mut self) {
        let end = self.stream.read(&mut [0; 1]);
        self.end::<()>(match end {
            Ok(0) => Broken::Closed,
            Ok(_) => Broken::Malformed("something more comes".to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                Broken::Truncated(String::new())
            }
            Err(error) => Broken::Silent(error.to_string()),
        });
    }

    /// Sends back whatever comes.
    pub(crate) fn send_all_back(&mut self) {
        while let Ok(bytes) = self.wire.some() {
            self.send(bytes);
        }
        self.end::<()>(Broken::Closed);
    }

    /// Reads a request and answers with its bytes. `false` when the connection ended instead.
    fn echo(&mut self) -> bool {
        let before = held(&self.record.raw)[self.number].len();
        let Some(request) = self.request() else {
            return false;
        };
        let raw = held(&self.record.raw)[self.number][before..].to_vec();
        let length = raw.len();
        self.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
        ));
        if request.method() != "HEAD" {
            self.send(raw);
        }
        true
    }

    /// Holds the connection, unread, until the endpoint ends.
    pub(crate) fn wait_for_end(&self) {
        while !self.record.ended.load(Ordering::Acquire) {
            pause(Duration::from_millis(20));
        }
    }

    fn wait_at_most(&self, limit: Duration) {
        self.stream
            .set_read_timeout(Some(limit))
            .expect("a timeout");
    }

    fn end<T>(&self, how: Broken) -> Option<T> {
        held(&self.record.broken).push(how);
        None
    }
}

impl Read for Tap {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.stream.read(buffer)?;
        held(&self.record.raw)[self.number].extend_from_slice(&buffer[..length]);
        Ok(length)
    }
}

fn accept(
    listener: &TcpListener,
    record: &Arc<Record>,
    behaviour: &Arc<impl Fn(&mut Peer) + Send + Sync + 'static>,
) {
    for stream in listener.incoming() {
        if record.ended.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let mut peer = Peer::new(stream, record);
        let behaviour = Arc::clone(behaviour);
        thread::spawn(move || behaviour(&mut peer));
    }
}

impl Peer {
    fn new(stream: TcpStream, record: &Arc<Record>) -> Self {
        let clone = || stream.try_clone().expect("a spare descriptor");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut raw = held(&record.raw);
        let number = raw.len();
        raw.push(Vec::new());
        held(&record.connections).push(clone());
        let tap = Tap {
            number,
            stream: clone(),
            record: Arc::clone(record),
        };
        Self {
            number,
            wire: Wire::new(tap),
            record: Arc::clone(record),
            stream,
        }
    }
}

/// Closes the connection for both sides, which a drop alone would not do while the record holds
/// its own descriptor.
impl Drop for Peer {
    fn drop(&mut self) {
        let lingers = SockRef::from(&self.stream).linger().ok().flatten();
        if lingers.is_none() {
            drop(self.stream.shutdown(Shutdown::Both));
        }
        held(&self.record.connections)
            .retain(|stream| stream.peer_addr().ok() != self.stream.peer_addr().ok());
    }
}

/// A thread that failed has failed its own test; what it recorded is still good.
fn held<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
