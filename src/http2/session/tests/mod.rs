use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Method, StatusCode, Version};

use super::{Event, Fault, Piece, Respond, Role, Session};
use crate::http2::driven::Opening;
use crate::http2::error::{Abuse, ErrorCode, StreamError};
use crate::http2::frame::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADER, HEADERS, HIGHEST_ID, Header,
    INITIAL_WINDOW_SIZE, MAX_FRAME, PADDED, PING, PREFACE, PRIORITY, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, write_header, write_settings,
};
use crate::http2::hpack::write_field;
use crate::http2::settings::Settings;
use crate::message::{Fields, RequestParts, ResponseParts};
use crate::time::Instant;

mod abuse;
mod both;
mod late;
mod rules;
mod stuck;
mod turns;

const SETTINGS_OF_TESTS: Settings = Settings {
    max_streams: 10,
    stream_window: 65_535,
    connection_window: 200_000,
    head: 16 * 1024,
    fields: 100,
    connect_protocol: false,
};

/// A server, and its client's half of the conversation, frame by frame.
struct Talk {
    server: Session,
    now: Instant,
    /// What the server said.
    said: Vec<(Header, Vec<u8>)>,
}

fn nobody() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Talk {
    fn begin() -> Self {
        Self::with(SETTINGS_OF_TESTS)
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        let mut talk = Self {
            server: Session::new(Role::Server, settings, now),
            now,
            said: Vec::new(),
        };
        let mut begin = PREFACE.to_vec();
        write_settings(&mut begin, &[]);
        talk.say(&begin).expect("a beginning");
        talk.said.clear();
        talk
    }

    /// Says these bytes, which are whole frames.
    fn say(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let taken = self.server.receive(bytes, self.now);
        if let Err(fault) = taken {
            self.server.end(fault);
        }
        self.listen();
        assert_eq!(taken?, bytes.len(), "whole frames are taken");
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        write_header(&mut bytes, payload.len(), kind, flags, id);
        bytes.extend_from_slice(payload);
        self.say(&bytes)
    }

    /// Opens a stream with a GET, or a POST whose body follows.
    fn open(&mut self, id: u32, ends: bool) -> Result<(), Fault> {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.frame(
            HEADERS,
            flags,
            id,
            &request(if ends { "GET" } else { "POST" }),
        )
    }

    fn listen(&mut self) {
        let output = self.server.output().to_vec();
        self.server.sent(output.len());
        let mut at = 0;
        while let Some(header) = Header::read(&output[at..]) {
            let end = at + HEADER + header.length;
            self.said.push((header, output[at + HEADER..end].to_vec()));
            at = end;
        }
        assert_eq!(at, output.len(), "whole frames are said");
    }

    /// Frames of a kind that the server said on a stream.
    fn heard(&mut self, kind: u8, id: u32) -> Vec<Vec<u8>> {
        self.listen();
        let is = |(header, _): &&(Header, Vec<u8>)| header.kind == kind && header.id == id;
        self.said
            .iter()
            .filter(is)
            .map(|(_, payload)| payload.clone())
            .collect()
    }

    /// The code with which a stream was reset.
    fn reset_code(&mut self, id: u32) -> Option<ErrorCode> {
        let code = |payload: &Vec<u8>| {
            let bytes = payload[..].try_into().expect("four bytes");
            ErrorCode(u32::from_be_bytes(bytes))
        };
        self.heard(RST_STREAM, id).last().map(code)
    }

    fn requests(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.server.next_event())
            .filter_map(|event| match event {
                Event::Request(id, _) => Some(id),
                Event::Refused(..) => None,
            })
            .collect()
    }

    fn answer(&mut self, id: u32, ends: bool) {
        let how = Respond {
            ends,
            length: None,
            bodiless: false,
        };
        self.server.respond(id, &response(200), how);
    }

    fn room(&mut self, id: u32) -> Poll<Result<usize, StreamError>> {
        self.server.poll_room(id, usize::MAX, &nobody())
    }
}

/// The block of a request.
fn request(method: &str) -> Vec<u8> {
    block(&[
        (":method", method),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
    ])
}

/// The block of a request whose body is five bytes long.
fn request_of_five() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a"),
        ("content-length", "5"),
    ])
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        write_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

fn response(status: u16) -> ResponseParts {
    ResponseParts {
        status: StatusCode::from_u16(status).expect("a status"),
        version: Version::HTTP_2,
        headers: Fields::new(),
    }
}

const MORE: Piece = Piece {
    ends: false,
    is_cut: false,
};
