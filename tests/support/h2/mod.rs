//! HTTP/2 as raw frames (RFC 9113): whatever a test wants said is said, right or wrong.
//!
//! It shares nothing with the program: frames, flags and heads are its own. One type plays both
//! roles, over a socket or a session of TLS. A well-behaved client:
//!
//! ```text
//! let mut client = H2::client(connected(proxy.address("web")));
//! let answer = client.get("/");
//! assert_eq!((answer.status, answer.end), (200, StreamEnd::Whole));
//! ```
//!
//! A bad one sends frames and says what it expects:
//!
//! ```text
//! client.send(&Frame::new(kind::PING, 0, 0, b"short"));
//! client.expect_goaway(code::FRAME_SIZE_ERROR);
//! ```
//!
//! An endpoint is told frame by frame what to do with each connection: see [`H2Endpoint`].

pub(crate) mod client;
pub(crate) mod endpoint;
pub(crate) mod frame;
pub(crate) mod hpack;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

use self::frame::{Frame, flag, kind, setting};
use self::hpack::{Decoder, Fields};
use super::message::{Broken, text};

/// One connection, in either role.
#[derive(Debug)]
pub(crate) struct H2<S> {
    stream: S,
    buffer: Vec<u8>,
    decoder: Decoder,
    /// Frames that came and that nobody has asked for yet.
    kept: VecDeque<Frame>,
    next_id: u32,
    /// Whether SETTINGS and PING are acknowledged and windows given back by themselves.
    pub(crate) is_polite: bool,
    /// What the other end has set.
    pub(crate) settings: Vec<(u16, u32)>,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// With `END_STREAM`.
    Whole,
    /// With `RST_STREAM` and this code.
    Reset(u32),
    /// With the connection, or GOAWAY with a lower number.
    Closed,
}

/// A request or a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u32,
    /// Heads of status 1xx that came first.
    pub(crate) interim: Vec<Fields>,
    /// 0 in a request.
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    pub(crate) end: StreamEnd,
}

impl<S: Read + Write> H2<S> {
    /// A connection on which nothing has been sent.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            decoder: Decoder::new(),
            kept: VecDeque::new(),
            next_id: 1,
            is_polite: true,
            settings: Vec::new(),
        }
    }

    /// What it goes over.
    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends bytes; that the other end has gone shows in what it said.
    pub(crate) fn send_bytes(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        drop(self.stream.write_all(bytes.as_ref()));
        drop(self.stream.flush());
        self
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, frame: &Frame) -> &mut Self {
        self.send_bytes(frame.bytes())
    }

    /// Sends frames in one write.
    pub(crate) fn send_all(&mut self, frames: &[Frame]) -> &mut Self {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.send_bytes(bytes)
    }

    /// The next frame, whatever it is. A head has its fields, and the frames that it came in are
    /// one.
    pub(crate) fn frame(&mut self) -> Result<Frame, Broken> {
        match self.kept.pop_front() {
            Some(frame) => Ok(frame),
            None => self.read(),
        }
    }

    /// The next frame for which this holds; those before are kept.
    pub(crate) fn frame_that(
        &mut self,
        mut holds: impl FnMut(&Frame) -> bool,
    ) -> Result<Frame, Broken> {
        if let Some(place) = self.kept.iter().position(&mut holds) {
            return Ok(self.kept.remove(place).expect("it was found there"));
        }
        loop {
            let frame = self.read()?;
            if holds(&frame) {
                return Ok(frame);
            }
            self.kept.push_back(frame);
        }
    }

    /// The next frame of this kind and stream.
    ///
    /// # Panics
    /// When none comes; what came instead is told.
    pub(crate) fn expect(&mut self, kind: u8, stream: u32) -> Frame {
        let found = self.frame_that(|frame| frame.kind == kind && frame.stream == stream);
        found.unwrap_or_else(|broken| {
            panic!(
                "no frame of kind {kind} on stream {stream}: {broken:?} after {:?}",
                self.kept
            )
        })
    }

    /// GOAWAY with this code; returns the last stream that it names and its text.
    ///
    /// # Panics
    /// When none comes, or one with another code.
    pub(crate) fn expect_goaway(&mut self, code: u32) -> (u32, String) {
        let frame = self.expect(kind::GOAWAY, 0);
        let got = frame.number_at(4);
        let said = text(frame.payload.get(8..).unwrap_or_default());
        assert_eq!(got, code, "GOAWAY with another code: {said}");
        (frame.number_at(0) & 0x7fff_ffff, said)
    }

    /// `RST_STREAM` of this stream with this code.
    ///
    /// # Panics
    /// When none comes, or one with another code.
    pub(crate) fn expect_reset(&mut self, stream: u32, code: u32) {
        let frame = self.expect(kind::RST_STREAM, stream);
        assert_eq!(frame.number_at(0), code, "RST_STREAM with another code");
    }

    /// Sends a PING and waits until it is answered: everything before it has been seen then.
    ///
    /// # Panics
    /// When it is not.
    pub(crate) fn sync(&mut self) {
        self.send(&Frame::ping(*b"in order"));
        let answer =
            self.frame_that(|frame| frame.kind == kind::PING && frame.flags & flag::ACK != 0);
        assert_eq!(answer.expect("PING is answered").payload, b"in order");
    }

    /// Whether the other end closes the connection, whatever it says before.
    pub(crate) fn is_closed(&mut self) -> bool {
        loop {
            match self.read() {
                Ok(frame) => self.kept.push_back(frame),
                Err(Broken::Closed | Broken::Truncated(_)) => return true,
                Err(Broken::Silent(_) | Broken::Malformed(_)) => return false,
            }
        }
    }

    /// The rest of the message on this stream, from its head on.
    pub(crate) fn message(&mut self, id: u32) -> Message {
        let mut message = Message::new(id);
        while !message.is_ended() {
            let found = self.frame_that(|frame| {
                frame.stream == id && frame.kind != kind::WINDOW_UPDATE
                    || frame.kind == kind::GOAWAY && (frame.number_at(0) & 0x7fff_ffff) < id
            });
            match found {
                Ok(frame) => message.take(frame),
                Err(_) => return message,
            }
        }
        message
    }

    /// Reads a frame and is polite about it.
    fn read(&mut self) -> Result<Frame, Broken> {
        let mut frame = self.read_raw()?;
        if frame.kind == kind::HEADERS {
            while frame.flags & flag::END_HEADERS == 0 {
                let more = self.read_raw()?;
                if more.kind != kind::CONTINUATION || more.stream != frame.stream {
                    return Err(Broken::Malformed(format!("{more:?} within a head")));
                }
                frame.payload.extend(more.payload);
                frame.flags |= more.flags & flag::END_HEADERS;
            }
            let fields = self.decoder.decode(frame.block());
            frame.fields = fields.map_err(Broken::Malformed)?;
        }
        let is_ack = frame.flags & flag::ACK != 0;
        if frame.kind == kind::SETTINGS && !is_ack {
            self.settings.extend(frame.settings());
        }
        if self.is_polite {
            match frame.kind {
                kind::SETTINGS if !is_ack => {
                    self.send(&Frame::new(kind::SETTINGS, flag::ACK, 0, b""));
                }
                kind::PING if !is_ack => {
                    self.send(&Frame::new(kind::PING, flag::ACK, 0, &frame.payload));
                }
                kind::DATA if !frame.payload.is_empty() => {
                    let length = u32::try_from(frame.payload.len()).expect("24 bits");
                    self.send(&Frame::window_update(0, length));
                    if frame.flags & flag::END_STREAM == 0 {
                        self.send(&Frame::window_update(frame.stream, length));
                    }
                }
                _ => {}
            }
        }
        Ok(frame)
    }

    fn read_raw(&mut self) -> Result<Frame, Broken> {
        loop {
            if let Some((frame, length)) = Frame::parse(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut piece = [0; 16 * 1024];
        loop {
            return match self.stream.read(&mut piece) {
                Ok(0) if self.buffer.is_empty() => Err(Broken::Closed),
                Ok(0) => Err(Broken::Truncated(text(&self.buffer))),
                Ok(length) => {
                    self.buffer.extend_from_slice(&piece[..length]);
                    Ok(())
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        Err(Broken::Silent(text(&self.buffer)))
                    }
                    _ => Err(Broken::Truncated(text(&self.buffer))),
                },
            };
        }
    }

    /// What the other end has set this to.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let set = self.settings.iter().rev();
        set.clone()
            .find(|(other, _)| *other == id)
            .map(|(_, value)| *value)
    }

    /// Streams that may be open at once, as the other end has said.
    pub(crate) fn max_streams(&self) -> Option<u32> {
        self.setting(setting::MAX_CONCURRENT_STREAMS)
    }
}

impl Message {
    /// One of which nothing has come.
    pub(crate) fn new(id: u32) -> Self {
        Self {
            id,
            interim: Vec::new(),
            status: 0,
            fields: Fields::new(),
            body: Vec::new(),
            trailers: Fields::new(),
            end: StreamEnd::Closed,
        }
    }

    /// The value of the first field with this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        value(&self.fields, name)
    }

    /// The value of the first trailer with this name.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        value(&self.trailers, name)
    }

    /// The body, one character per byte.
    pub(crate) fn text(&self) -> String {
        text(&self.body)
    }

    /// Whether its stream has ended, by itself or by a reset.
    pub(crate) fn is_ended(&self) -> bool {
        self.end != StreamEnd::Closed
    }

    /// Adds the next frame of its stream.
    pub(crate) fn take(&mut self, frame: Frame) {
        match frame.kind {
            kind::HEADERS if self.fields.is_empty() => {
                let status = value(&frame.fields, ":status").and_then(|text| text.parse().ok());
                match status {
                    Some(100..200) => self.interim.push(frame.fields),
                    status => {
                        self.status = status.unwrap_or(0);
                        self.fields = frame.fields;
                    }
                }
            }
            kind::HEADERS => self.trailers = frame.fields,
            kind::DATA => self.body.extend_from_slice(frame.bytes_of_data()),
            kind::RST_STREAM => self.end = StreamEnd::Reset(frame.number_at(0)),
            _ => {}
        }
        let may_end = matches!(frame.kind, kind::HEADERS | kind::DATA);
        if may_end && frame.flags & flag::END_STREAM != 0 {
            self.end = StreamEnd::Whole;
        }
    }
}

/// The value of the first field with this name.
pub(crate) fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value.as_str())
}
