//! An endpoint that speaks HTTP/1.1 and h2c, whichever its peer begins with, so that an upstream
//! may change its mind about the protocol.
//!
//! What it does is told by the end of the path: `/talk` sends every message back, `/upload` counts
//! what it gets and says so in the end, `/download` sends numbered lines until it is told to
//! finish, and all else is answered at once with `hello`.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::clock::{PATIENCE, Pace, pause};
use crate::support::h2::frame::{Frame, PREFACE, code, flag, kind};
use crate::support::h2::{H2, value};
use crate::support::message::{Broken, Wire};

/// A running endpoint, which ends with this value.
#[derive(Debug)]
pub(super) struct Service {
    address: SocketAddr,
    facts: Arc<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    ended: AtomicBool,
    /// Whether downloads are to end, now and from now on.
    finished: AtomicBool,
    /// Connections that began with this version.
    of_http1: AtomicUsize,
    of_http2: AtomicUsize,
    /// How long each request over HTTP/2 takes, if they are told of.
    work: Option<Duration>,
}

/// A request over HTTP/2 that is under way.
#[derive(Debug)]
struct Served {
    what: What,
    taken: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Hello,
    Talk,
    Upload,
    Download,
}

impl Service {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Self::serve(listener.expect("a free port"), Facts::default())
    }

    /// One that takes its time, and writes the path of each POST for `hello` to the standard output
    /// before it answers.
    pub(super) fn telling(listener: TcpListener) -> Self {
        let facts = Facts {
            work: Some(Duration::from_millis(2)),
            ..Facts::default()
        };
        Self::serve(listener, facts)
    }

    fn serve(listener: TcpListener, facts: Facts) -> Self {
        let address = listener.local_addr().expect("a bound address");
        let facts = Arc::new(facts);
        let kept = Arc::clone(&facts);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if kept.ended.load(Ordering::Acquire) {
                    return;
                }
                let facts = Arc::clone(&kept);
                thread::spawn(move || facts.serve(stream));
            }
        });
        Self { address, facts }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has all downloads end in good order.
    pub(super) fn finish(&self) {
        self.facts.finished.store(true, Ordering::Release);
    }

    /// Lets nobody in any more, and says GOAWAY on every connection of HTTP/2.
    pub(super) fn leave(&self) {
        self.facts.ended.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
    }

    /// Connections that began as HTTP/1.1, and as HTTP/2.
    pub(super) fn connections(&self) -> [usize; 2] {
        [&self.facts.of_http1, &self.facts.of_http2].map(|count| count.load(Ordering::Acquire))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.finish();
        self.leave();
    }
}

impl What {
    fn asked_by(path: &str) -> Self {
        match path.rsplit('/').next() {
            Some("talk") => Self::Talk,
            Some("upload") => Self::Upload,
            Some("download") => Self::Download,
            _ => Self::Hello,
        }
    }
}

impl Facts {
    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(IDLE))?;
        // PRI, not POST; both come in one piece, since their senders write heads as a whole.
        let mut first = [0; 3];
        stream.peek(&mut first)?;
        if first == PREFACE[..3] {
            self.of_http2.fetch_add(1, Ordering::AcqRel);
            return self.serve_http2(stream);
        }
        self.of_http1.fetch_add(1, Ordering::AcqRel);
        let mut wire = Wire::new(stream);
        while self.answer(&mut wire).is_ok() {}
        Ok(())
    }

    /// All streams of a connection, in one loop: what comes, and now and then the next line of
    /// every download.
    fn serve_http2(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface)?;
        stream.set_read_timeout(Some(TICK))?;
        let mut peer = H2::over(stream);
        peer.send(&Frame::settings_of(&[]));
        let mut served = BTreeMap::new();
        let mut pace = Pace::new(TICK, TICK);
        let mut last = 0;
        while !self.ended.load(Ordering::Acquire) {
            match peer.frame() {
                Ok(frame) => {
                    last = last.max(frame.stream);
                    self.tell(&frame);
                    take(&mut peer, &mut served, &frame);
                }
                Err(Broken::Silent(_)) => {}
                Err(_) => return Ok(()),
            }
            if pace.is_due() {
                self.send_lines(&mut peer, &mut served);
            }
        }
        // Requests are answered as they come: there are none that are begun, and none beyond these
        // will be.
        peer.send(&Frame::goaway(last, code::NO_ERROR, "leaving"));
        while matches!(peer.frame(), Ok(_) | Err(Broken::Silent(_))) {}
        Ok(())
    }

    fn tell(&self, frame: &Frame) {
        let (Some(work), kind::HEADERS) = (self.work, frame.kind) else {
            return;
        };
        pause(work);
        let field = |name| value(&frame.fields, name).unwrap_or_default();
        if field(":method") == "POST" {
            // In one write, whole or not at all, and there even if this process ends right behind.
            let line = format!("{TOLD}{}\n", field(":path"));
            drop(io::stdout().write_all(line.as_bytes()));
        }
    }

    fn send_lines(&self, peer: &mut H2<TcpStream>, served: &mut BTreeMap<u32, Served>) {
        let ends = self.finished.load(Ordering::Acquire);
        for (&id, request) in served.iter_mut() {
            if request.what == What::Download {
                let line = format!("{}\n", request.taken);
                peer.send(&Frame::data(id, if ends { "" } else { &line }, ends));
                request.taken += 1;
            }
        }
        served.retain(|_, request| !(ends && request.what == What::Download));
    }

    /// One request over HTTP/1.1.
    fn answer(&self, wire: &mut Wire<TcpStream>) -> Result<(), Broken> {
        let head = wire.head()?;
        let path = head.start.split(' ').nth(1).unwrap_or_default();
        match What::asked_by(path) {
            What::Talk => {
                say(wire, format!("{CHUNKED}{GRPC}\r\n"));
                loop {
                    let message = wire.chunk()?;
                    if message.is_empty() {
                        say(wire, "0\r\ngrpc-status: 0\r\n\r\n");
                        return Ok(());
                    }
                    say(wire, chunk(&message));
                }
            }
            What::Upload => {
                let taken = wire.body(head.request_framing()?)?.data.len();
                say(wire, format!("{CHUNKED}\r\n"));
                say(wire, chunk(taken.to_string().as_bytes()));
                say(wire, "0\r\n\r\n");
            }
            What::Download => {
                say(wire, format!("{CHUNKED}\r\n"));
                let mut pace = Pace::new(TICK, Duration::ZERO);
                let mut number = 0;
                while !self.finished.load(Ordering::Acquire) {
                    pace.wait();
                    say(wire, chunk(format!("{number}\n").as_bytes()));
                    number += 1;
                }
                say(wire, "0\r\n\r\n");
            }
            What::Hello => {
                wire.body(head.request_framing()?)?;
                say(wire, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            }
        }
        Ok(())
    }
}

/// Does what a frame asks for.
fn take(peer: &mut H2<TcpStream>, served: &mut BTreeMap<u32, Served>, frame: &Frame) {
    let id = frame.stream;
    match frame.kind {
        kind::HEADERS => {
            let what = What::asked_by(value(&frame.fields, ":path").unwrap_or_default());
            served.insert(id, Served { what, taken: 0 });
            let mut head = vec![(":status", "200")];
            head.extend((what == What::Talk).then_some(("content-type", "application/grpc")));
            if matches!(what, What::Talk | What::Download) {
                peer.send(&Frame::headers(id, &head, false));
            }
        }
        kind::DATA => {
            if let Some(request) = served.get_mut(&id) {
                request.taken += frame.payload.len();
                if request.what == What::Talk && !frame.payload.is_empty() {
                    peer.send(&Frame::data(id, &frame.payload, false));
                }
            }
        }
        kind::RST_STREAM => {
            served.remove(&id);
        }
        _ => {}
    }
    let may_end = matches!(frame.kind, kind::HEADERS | kind::DATA);
    if may_end && frame.flags & flag::END_STREAM != 0 {
        end(peer, served, id);
    }
}

/// Answers what could be answered only at the end of its request.
fn end(peer: &mut H2<TcpStream>, served: &mut BTreeMap<u32, Served>, id: u32) {
    let Some(request) = served.remove(&id) else {
        return;
    };
    let head = Frame::headers(id, &[(":status", "200")], false);
    match request.what {
        What::Hello => {
            peer.send_all(&[head, Frame::data(id, "hello", true)]);
        }
        What::Upload => {
            let taken = request.taken.to_string();
            peer.send_all(&[head, Frame::data(id, taken, true)]);
        }
        What::Talk => {
            peer.send(&Frame::headers(id, &[("grpc-status", "0")], true));
        }
        What::Download => {
            served.insert(
                id,
                Served {
                    taken: 0,
                    ..request
                },
            );
        }
    }
}

/// The proxy may have gone, which the next read tells.
fn say(wire: &mut Wire<TcpStream>, bytes: impl AsRef<[u8]>) {
    drop(wire.source_mut().write_all(bytes.as_ref()));
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend(bytes);
    chunk.extend(b"\r\n");
    chunk
}

/// What a line begins with that tells of a request.
pub(super) const TOLD: &str = "served ";
/// The head of an answer, to which fields may be added.
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
const GRPC: &str = "Content-Type: application/grpc\r\nTrailer: grpc-status\r\n";
/// Between two lines of a download.
const TICK: Duration = Duration::from_millis(50);
/// A connection may rest for longer than anything that is awaited.
const IDLE: Duration = PATIENCE.saturating_mul(10);
