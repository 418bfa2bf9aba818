//! Endpoints and clients that speak in datagrams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock::{PATIENCE, eventually};
use super::port::Port;

/// An endpoint for datagrams, which ends with this.
#[derive(Debug)]
pub(crate) struct UdpEndpoint {
    port: Port,
    address: SocketAddr,
    answer: Answer,
    ended: Arc<AtomicBool>,
    received: Arc<Mutex<Vec<Received>>>,
    thread: Option<JoinHandle<()>>,
}

/// What an endpoint was sent, and by whom.
type Received = (SocketAddr, Vec<u8>);

/// What an endpoint answers to a datagram.
type Answer = fn(u16, &[u8]) -> Vec<Vec<u8>>;

impl UdpEndpoint {
    /// One that sends back what it gets.
    pub(crate) fn sends_back() -> Self {
        Self::start(Port::reserve(), |_, bytes| vec![bytes.to_vec()])
    }

    /// One that answers with its port, and to `ping` with `pong`.
    pub(crate) fn tells_its_port() -> Self {
        Self::start(Port::reserve(), |port, bytes| {
            let answer = match bytes {
                b"ping" => "pong".to_owned(),
                _ => port.to_string(),
            };
            vec![answer.into_bytes()]
        })
    }

    /// One that answers `ping` with something else than `pong`, and all else with its port.
    pub(crate) fn tells_nonsense_of_its_health() -> Self {
        Self::start(Port::reserve(), |port, bytes| {
            let answer = match bytes {
                b"ping" => "pang".to_owned(),
                _ => port.to_string(),
            };
            vec![answer.into_bytes()]
        })
    }

    /// One that answers with its port, but never to what begins with `quiet`.
    pub(crate) fn keeps_quiet_if_asked() -> Self {
        Self::start(Port::reserve(), |port, bytes| {
            let is_quiet = bytes.starts_with(b"quiet");
            let answer = (!is_quiet).then(|| port.to_string().into_bytes());
            answer.into_iter().collect()
        })
    }

    /// One that answers with as many datagrams as it is asked for, numbered, each of a thousand
    /// bytes.
    pub(crate) fn sends_so_many() -> Self {
        Self::start(Port::reserve(), |_, bytes| {
            let text = String::from_utf8_lossy(bytes);
            let count = text.parse().expect("a number");
            let one = |number: u32| [&number.to_be_bytes()[..], &[7; 996]].concat();
            (0..count).map(one).collect()
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers with, if it tells its port.
    pub(crate) fn name(&self) -> String {
        self.address().port().to_string()
    }

    /// What it was sent so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panicked").clone()
    }

    /// Who sent to it, each once, in the order of their first datagram.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        let mut peers = Vec::new();
        for (peer, _) in self.received() {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        peers
    }

    /// Ends it: its port is closed, and whoever sends there is told so by the system.
    pub(crate) fn die(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return;
        };
        // So that it looks at once.
        let waker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        drop(waker.send_to(b"", self.address()));
        thread.join().expect("it ends");
    }

    /// Starts it again at its port, after `die`.
    pub(crate) fn restart(&mut self) {
        let ended = Arc::new(AtomicBool::new(false));
        let thread = serve(self.address, self.answer, &self.received, &ended);
        (self.ended, self.thread) = (ended, Some(thread));
    }

    /// One that sends back what it gets, at this address of the network that the thread is in.
    pub(crate) fn sends_back_at(address: SocketAddr) -> Self {
        let answer: Answer = |_, bytes| vec![bytes.to_vec()];
        Self::start_at(Port::reserve(), address, answer)
    }

    fn start(port: Port, answer: Answer) -> Self {
        let address = port.address();
        Self::start_at(port, address, answer)
    }

    fn start_at(port: Port, address: SocketAddr, answer: Answer) -> Self {
        let (ended, received) = (Arc::default(), Arc::default());
        let thread = serve(address, answer, &received, &ended);
        Self {
            port,
            address,
            answer,
            ended,
            received,
            thread: Some(thread),
        }
    }
}

fn serve(
    address: SocketAddr,
    answer: Answer,
    received: &Arc<Mutex<Vec<Received>>>,
    ended: &Arc<AtomicBool>,
) -> JoinHandle<()> {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_read_timeout(Some(SHORT)).expect("a limit");
    let (is_over, kept) = (Arc::clone(ended), Arc::clone(received));
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while !is_over.load(Ordering::Relaxed) {
            let Ok((length, peer)) = socket.recv_from(&mut buffer) else {
                continue; // it looks whether it has ended
            };
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let bytes = &buffer[..length];
            kept.lock()
                .expect("nobody panicked")
                .push((peer, bytes.to_vec()));
            for answer in answer(address.port(), bytes) {
                drop(socket.send_to(&answer, peer));
            }
        }
    })
}

impl Drop for UdpEndpoint {
    fn drop(&mut self) {
        self.die();
    }
}

/// A client for datagrams: what others than the listener send to it, it does not take.
#[derive(Debug)]
pub(crate) struct UdpClient {
    socket: UdpSocket,
}

impl UdpClient {
    /// One that sends to this address.
    pub(crate) fn of(listener: SocketAddr) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, listener)
    }

    /// One with an address of its own.
    pub(crate) fn from(own: impl Into<IpAddr>, listener: SocketAddr) -> Self {
        let own = own.into();
        let socket = UdpSocket::bind((own, 0)).expect("an address of the loopback network");
        socket.connect(listener).expect("a way there");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        Self { socket }
    }

    /// Its own address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Sends a datagram.
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.socket.send(bytes.as_ref()).expect("it leaves");
    }

    /// The next datagram.
    ///
    /// # Panics
    /// When none comes.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).expect("an answer");
        buffer.truncate(length);
        buffer
    }

    /// What is answered to this.
    pub(crate) fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes);
        String::from_utf8(self.receive()).expect("text")
    }

    /// The same; `None` where nothing comes.
    pub(crate) fn try_ask(&self, bytes: impl AsRef<[u8]>) -> Option<String> {
        self.send(bytes);
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).ok()?;
        String::from_utf8(buffer[..length].to_vec()).ok()
    }

    /// The same, asking again as a client does whose datagram was lost.
    pub(crate) fn ask_until_answered(&self, bytes: impl AsRef<[u8]>) -> String {
        let patient = self.socket.try_clone().expect("another descriptor");
        patient.set_read_timeout(Some(SHORT)).expect("a limit");
        let answer = eventually("an answer comes", || {
            self.send(bytes.as_ref());
            let mut buffer = [0; 2_000];
            let length = patient.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        patient.set_read_timeout(Some(PATIENCE)).expect("a limit");
        answer
    }
}

/// After which a client asks again.
const SHORT: Duration = Duration::from_millis(100);
