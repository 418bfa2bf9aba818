//! A client with many streams on one connection: requests at a beat, and streams that last.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::figures::Tally;
use crate::support::clock::{Beat, Pace};
use crate::support::h2::client::{request, request_with};
use crate::support::h2::frame::{Frame, kind, setting};
use crate::support::h2::{H2, Message, StreamEnd};

/// One connection with its streams.
#[derive(Debug)]
pub(super) struct Many<S> {
    connection: H2<S>,
    streams: BTreeMap<u32, Stream>,
    /// What may be sent on the connection, all streams together.
    credit: i64,
    is_open: bool,
    seen: Seen,
}

/// What was seen on connections.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Of requests; a farewell is a GOAWAY.
    pub(super) tally: Tally,
    /// Of the streams that last: how much each has carried, or what went wrong.
    pub(super) streams: Vec<Result<usize, String>>,
    /// The last streams that GOAWAY named, in this order.
    pub(super) goaways: Vec<u32>,
    /// Requests that a GOAWAY said were not looked at: whoever sent them may ask somebody else.
    pub(super) unserved: usize,
}

/// Connections at work, each on a thread of its own.
#[derive(Debug)]
pub(super) struct Crowd {
    stop: Arc<AtomicBool>,
    connections: Vec<JoinHandle<Seen>>,
}

/// What each connection of a crowd does.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// Of requests, which are sent at each beat.
    pub(super) method: &'static str,
    /// By the number of the connection and of the beat.
    pub(super) paths: fn(u32, usize) -> Vec<String>,
    /// Below these paths, one stream each that lasts of every kind.
    pub(super) lasting: Vec<String>,
}

/// A stream that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasting {
    /// As gRPC does it: messages in both directions, and trailers.
    Talk,
    Upload,
    Download,
}

#[derive(Debug)]
struct Stream {
    what: What,
    path: String,
    sent: Vec<u8>,
    messages: usize,
    /// What the other end has added to its first window.
    granted: i64,
    got: Message,
}

#[derive(Debug, Clone, Copy)]
enum What {
    /// It was to be sent at this beat.
    Request(Beat),
    Lasting(Lasting),
    /// A request whose answer somebody waits for.
    Asked,
}

impl Lasting {
    pub(super) const ALL: [Self; 3] = [Self::Talk, Self::Upload, Self::Download];

    fn word(self) -> &'static str {
        match self {
            Self::Talk => "talk",
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

impl<S: Read + Write> Many<S> {
    pub(super) fn over(connection: H2<S>) -> Self {
        Self {
            connection,
            streams: BTreeMap::new(),
            credit: FIRST_WINDOW,
            is_open: true,
            seen: Seen::default(),
        }
    }

    /// Asks for a path, and returns the answer.
    pub(super) fn ask(&mut self, path: &str) -> Message {
        let id = self.begin(What::Asked, path);
        self.connection
            .send(&Frame::headers(id, &request("GET", path), true));
        while !self.streams[&id].got.is_ended() && self.read() {}
        self.streams.remove(&id).expect("it was begun").got
    }

    /// Begins a stream that lasts, below this path.
    pub(super) fn open(&mut self, lasting: Lasting, below: &str) -> u32 {
        let path = format!("{below}/{}", lasting.word());
        let id = self.begin(What::Lasting(lasting), &path);
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        let head = match lasting {
            Lasting::Talk => Frame::headers(id, &request_with("POST", &path, &grpc), false),
            Lasting::Upload => Frame::headers(id, &request("POST", &path), false),
            Lasting::Download => Frame::headers(id, &request("GET", &path), true),
        };
        self.connection.send(&head);
        id
    }

    /// Sends requests all at once, something on every stream that lasts, and waits for what is to
    /// come of it: answers, and messages that come back.
    pub(super) fn beat(&mut self, beat: Beat, method: &str, paths: &[String]) {
        let heads: Vec<Frame> = paths
            .iter()
            .map(|path| {
                let id = self.begin(What::Request(beat), path);
                Frame::headers(id, &request(method, path), true)
            })
            .collect();
        self.connection.send_all(&heads);
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            self.say_something(id);
        }
        while self.streams.values().any(Stream::is_awaited) && self.read() {}
    }

    /// Ends a stream that lasts in good order; a download ends by itself. How much it has carried,
    /// or what went wrong.
    pub(super) fn finish(&mut self, id: u32) -> Result<usize, String> {
        if !matches!(self.streams[&id].what, What::Lasting(Lasting::Download)) {
            self.connection.send(&Frame::data(id, "", true));
        }
        while !self.streams[&id].got.is_ended() && self.read() {}
        let stream = self.streams.remove(&id).expect("it is open");
        stream.verdict()
    }

    /// Ends all streams that last.
    pub(super) fn finish_all(&mut self) {
        while let Some(&id) = self.streams.keys().next() {
            let end = self.finish(id);
            self.seen.streams.push(end);
        }
    }

    /// Waits for a GOAWAY, counted from 0, and returns the last stream that it names.
    ///
    /// # Panics
    /// When none comes.
    pub(super) fn goaway(&mut self, which: usize) -> u32 {
        while self.seen.goaways.len() <= which {
            assert!(self.read(), "the connection ends without GOAWAY");
        }
        self.seen.goaways[which]
    }

    /// GOAWAYs that have come.
    pub(super) fn goaways(&self) -> &[u32] {
        &self.seen.goaways
    }

    /// The number of the last stream that was opened.
    pub(super) fn last_opened(&mut self) -> u32 {
        // Asking uses one up, which nobody misses.
        self.connection.next_stream() - 2
    }

    /// Whether the other end closes the connection.
    pub(super) fn is_closed(&mut self) -> bool {
        while self.read() {}
        !self.is_open && self.connection.is_closed()
    }

    pub(super) fn connection(&self) -> &H2<S> {
        &self.connection
    }

    pub(super) fn into_seen(self) -> Seen {
        self.seen
    }

    fn begin(&mut self, what: What, path: &str) -> u32 {
        let id = self.connection.next_stream();
        let stream = Stream {
            what,
            path: path.to_owned(),
            sent: Vec::new(),
            messages: 0,
            granted: 0,
            got: Message::new(id),
        };
        self.streams.insert(id, stream);
        id
    }

    fn say_something(&mut self, id: u32) {
        let stream = &self.streams[&id];
        let text = match stream.what {
            What::Lasting(Lasting::Talk) => {
                grpc_message(&format!("message {} of {}", stream.messages, stream.path))
            }
            What::Lasting(Lasting::Upload) => vec![b'x'; PIECE],
            What::Lasting(Lasting::Download) | What::Request(_) | What::Asked => return,
        };
        while !self.may_send(id, text.len()) {
            if !self.read() {
                return;
            }
        }
        self.connection.send(&Frame::data(id, &text, false));
        self.credit -= signed(text.len());
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.sent.extend(text);
            stream.messages += 1;
        }
    }

    fn may_send(&self, id: u32, length: usize) -> bool {
        let first = self.connection.setting(setting::INITIAL_WINDOW_SIZE);
        let first = first.map_or(FIRST_WINDOW, i64::from);
        let stream = &self.streams[&id];
        let window = first + stream.granted - signed(stream.sent.len());
        signed(length) <= window.min(self.credit)
    }

    /// Takes a frame. `false` when none comes any more.
    fn read(&mut self) -> bool {
        let frame = match self.connection.frame() {
            Ok(frame) => frame,
            Err(broken) => {
                self.is_open = false;
                self.give_up_beyond(0, |tally| tally.failures.push(format!("{broken:?}")));
                return false;
            }
        };
        let id = frame.stream;
        match frame.kind {
            kind::GOAWAY => self.take_goaway(frame.number_at(0) & MOST),
            kind::WINDOW_UPDATE if id == 0 => self.credit += i64::from(frame.number_at(0)),
            kind::WINDOW_UPDATE => {
                if let Some(stream) = self.streams.get_mut(&id) {
                    stream.granted += i64::from(frame.number_at(0));
                }
            }
            _ => self.take(id, frame),
        }
        true
    }

    fn take(&mut self, id: u32, frame: Frame) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.got.take(frame);
        if let (What::Request(beat), true) = (stream.what, stream.got.is_ended()) {
            let tally = &mut self.seen.tally;
            match stream.failure() {
                None => tally.latencies.push(beat.elapsed()),
                Some(failure) => tally.failures.push(failure),
            }
            self.streams.remove(&id);
        }
    }

    fn take_goaway(&mut self, last: u32) {
        self.seen.goaways.push(last);
        self.seen.tally.farewells += 1;
        let mut unserved = 0;
        self.give_up_beyond(last, |_| unserved += 1);
        self.seen.unserved += unserved;
    }

    /// Requests of later streams will not be answered.
    fn give_up_beyond(&mut self, last: u32, mut tell: impl FnMut(&mut Tally)) {
        let tally = &mut self.seen.tally;
        self.streams.retain(|&id, stream| {
            let is_lost = id > last && matches!(stream.what, What::Request(_));
            if is_lost {
                tell(tally);
            }
            !is_lost
        });
    }
}

impl Stream {
    /// Whether something is to come of what was sent.
    fn is_awaited(&self) -> bool {
        match self.what {
            What::Request(_) | What::Asked => true,
            What::Lasting(Lasting::Talk) => {
                !self.got.is_ended() && self.got.body.len() < self.sent.len()
            }
            What::Lasting(Lasting::Upload | Lasting::Download) => false,
        }
    }

    /// What is wrong with a response, if anything is.
    fn failure(&self) -> Option<String> {
        let Message { status, end, .. } = self.got;
        if status == 200 && end == StreamEnd::Whole {
            return None;
        }
        let why = self.got.field("proxy-status").unwrap_or_default();
        Some(format!("answered {status} ({why}), {end:?}"))
    }

    /// How much a stream that lasted has carried, or what is wrong with it.
    fn verdict(self) -> Result<usize, String> {
        let (path, text) = (&self.path, self.got.text());
        let wrong = |what: &str| Err(format!("{path}: {what}"));
        if let Some(failure) = self.failure() {
            return wrong(&failure);
        }
        match self.what {
            What::Request(_) | What::Asked => Ok(1),
            What::Lasting(Lasting::Talk) => {
                let status = self.got.trailer("grpc-status");
                if self.got.body != self.sent || status != Some("0") {
                    return wrong(&format!("grpc-status {status:?} after {text:?}"));
                }
                Ok(self.messages)
            }
            What::Lasting(Lasting::Upload) => {
                if text != self.sent.len().to_string() {
                    return wrong(&format!("{text} bytes of {} arrived", self.sent.len()));
                }
                Ok(self.messages)
            }
            What::Lasting(Lasting::Download) => {
                let mut lines = text.lines().enumerate();
                if !lines.all(|(at, line)| line == at.to_string()) {
                    return wrong(&format!("lines are missing in {text:?}"));
                }
                Ok(text.lines().count())
            }
        }
    }
}

impl Crowd {
    /// Starts this many connections, made like this, each with a beat of this length.
    pub(super) fn start<S: Read + Write>(
        connect: impl Fn() -> H2<S> + Clone + Send + 'static,
        connections: u32,
        every: Duration,
        task: &Task,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let connections = (0..connections).map(|number| {
            let (stop, connect, task) = (Arc::clone(&stop), connect.clone(), task.clone());
            let pace = Pace::new(every, every * number / connections);
            thread::spawn(move || task.run((Many::over(connect()), number), pace, &stop))
        });
        Self {
            connections: connections.collect(),
            stop,
        }
    }

    /// Ends the work after the beat that is under way, and the streams in good order.
    pub(super) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Release);
        let mut all = Seen::default();
        for connection in self.connections {
            all.add(connection.join().expect("a client does not fail"));
        }
        all.tally.latencies.sort_unstable();
        all
    }
}

impl Task {
    fn run<S: Read + Write>(
        &self,
        (mut client, number): (Many<S>, u32),
        mut pace: Pace,
        stop: &AtomicBool,
    ) -> Seen {
        for below in &self.lasting {
            for lasting in Lasting::ALL {
                client.open(lasting, below);
            }
        }
        for turn in 0.. {
            if stop.load(Ordering::Acquire) {
                break;
            }
            client.beat(pace.wait(), self.method, &(self.paths)(number, turn));
        }
        client.finish_all();
        client.into_seen()
    }
}

impl Seen {
    pub(super) fn add(&mut self, other: Self) {
        self.tally.latencies.extend(other.tally.latencies);
        self.tally.failures.extend(other.tally.failures);
        self.tally.farewells += other.tally.farewells;
        self.streams.extend(other.streams);
        self.goaways.extend(other.goaways);
        self.unserved += other.unserved;
    }

    /// What went wrong with streams that last.
    pub(super) fn cut(&self) -> Vec<&String> {
        let ends = self.streams.iter();
        ends.filter_map(|end| end.as_ref().err()).collect()
    }

    /// Messages, pieces and lines that they have carried.
    pub(super) fn carried(&self) -> usize {
        self.streams.iter().flatten().sum()
    }
}

/// A message as gRPC frames it.
fn grpc_message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    let mut message = vec![0];
    message.extend(length.to_be_bytes());
    message.extend(text.as_bytes());
    message
}

fn signed(length: usize) -> i64 {
    i64::try_from(length).expect("a short text")
}

/// The highest number of a stream: a GOAWAY that names it refuses nothing yet.
pub(super) const MOST: u32 = 0x7fff_ffff;
/// Of a connection, and of a stream unless SETTINGS say otherwise (RFC 9113 §6.9.2).
const FIRST_WINDOW: i64 = 65_535;
/// What an upload sends at each beat.
const PIECE: usize = 1000;
