//! The state that both ends of a connection keep alike: settings, windows, streams, compression.
//!
//! Bytes that came go in through [`Session::receive`], bytes to be sent pile up in
//! [`Session::output`], within bounds; nothing here touches a socket or a clock. What a stream's
//! task asks for is in `streams`, what the other end says in `receive`, `frames` and `late`.

mod block;
mod called;
mod entry;
mod facts;
mod frames;
mod heads;
mod late;
mod ours;
mod output;
mod receive;
mod streams;
mod stuck;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use self::block::Block;
use self::called::Called;
pub(super) use self::streams::{Piece, Respond};
use self::stuck::Patient;
use self::table::Table;
use super::budget::Budget;
use super::driven::Moved;
use super::error::{Abuse, ErrorCode, StreamError};
use super::frame::{
    DEFAULT_WINDOW, ENABLE_CONNECT_PROTOCOL, ENABLE_PUSH, HIGHEST_ID, INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS, MAX_FRAME, MAX_HEADER_LIST_SIZE, PREFACE, write_goaway, write_settings,
    write_window_update,
};
use super::head::{HeadError, RequestHead};
use super::hpack;
use super::settings::Settings;
use super::window::{ReceiveWindow, SendWindow};
use crate::net::Buffer;
use crate::time::Instant;

/// Both sides of a connection, as one of them knows it.
#[derive(Debug)]
pub(super) struct Session {
    role: Role,
    settings: Settings,
    peer: Peer,
    decoder: hpack::Decoder,
    encoder: hpack::Encoder,
    streams: Table,
    /// The highest number that the other end has opened.
    last: u32,
    /// The number of the stream that we open next.
    next: u32,
    send: SendWindow,
    receive: ReceiveWindow,
    output: Option<Buffer>,
    /// Bytes of the output that have left.
    left: usize,
    /// Bytes that have left since the beginning.
    left_ever: u64,
    /// Whether what is said does not leave any more.
    is_mute: bool,
    block: Option<Block>,
    phase: Phase,
    events: VecDeque<Event>,
    scratch: Vec<u8>,
    budget: Budget,
    /// Streams that wait to say a piece of a body, in their turn.
    queue: VecDeque<u32>,
    called: Called,
    /// Streams that wait to say a head or an end.
    heads: Vec<u32>,
    /// The last stream that we take, once we have said so.
    taken_until: Option<u32>,
    /// The last stream that the other end takes, once it opens or takes no more.
    left_after: Option<u32>,
    awaits_pong: bool,
    awaits_settings: bool,
    resets: Resets,
    /// What the endpoint gave as its reason to end the connection, until somebody tells it.
    goodbye: Option<(ErrorCode, Box<str>)>,
    waits: Waits,
    patient: Patient,
    moved: Moved,
}

/// Who waits for a window to grow.
#[derive(Debug, Default)]
struct Waits {
    /// Streams that do.
    starving: usize,
    /// Whether somebody does, or has a moment ago, although there is a little room.
    has_slivers: bool,
}

/// Streams that were reset, until somebody counts them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resets {
    pub(super) by_them: u32,
    pub(super) by_us: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// What the other end said of itself.
#[derive(Debug)]
struct Peer {
    max_frame: usize,
    initial_window: u32,
    max_streams: u32,
    connect_protocol: bool,
    is_settled: bool,
}

/// How far the other end has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So much of its preface came.
    Preface(usize),
    /// Its first SETTINGS are to come.
    Settings,
    Open,
    /// It broke a rule, or we end it: nothing that comes counts any more.
    Over,
}

/// What the owner of the connection is told.
#[derive(Debug)]
pub(super) enum Event {
    Request(u32, Box<RequestHead>),
    /// The stream is there if it may be answered.
    Refused(HeadError, Option<u32>),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    pub(super) why: &'static str,
    pub(super) abuse: Option<Abuse>,
}

impl Fault {
    fn protocol(why: &'static str) -> Self {
        Self::of(ErrorCode::PROTOCOL_ERROR, why)
    }

    pub(super) fn of(code: ErrorCode, why: &'static str) -> Self {
        Self {
            code,
            why,
            abuse: None,
        }
    }
}

impl From<Abuse> for Fault {
    fn from(abuse: Abuse) -> Self {
        Self {
            code: ErrorCode::ENHANCE_YOUR_CALM,
            why: abuse.word(),
            abuse: Some(abuse),
        }
    }
}

impl Session {
    /// A session that has said what it begins with.
    pub(super) fn new(role: Role, settings: Settings, now: Instant) -> Self {
        let mut session = Self {
            role,
            settings,
            peer: Peer {
                max_frame: MAX_FRAME,
                initial_window: DEFAULT_WINDOW,
                max_streams: match role {
                    Role::Server => 0,
                    Role::Client => ASSUMED_STREAMS,
                },
                connect_protocol: false,
                is_settled: false,
            },
            decoder: hpack::Decoder::new(HEADER_TABLE),
            encoder: hpack::Encoder::default(),
            streams: Table::new(settings.max_streams.max(ASSUMED_STREAMS)),
            last: 0,
            next: 1,
            send: SendWindow::new(DEFAULT_WINDOW),
            receive: ReceiveWindow::new(settings.connection_window),
            output: None,
            left: 0,
            left_ever: 0,
            is_mute: false,
            block: None,
            phase: match role {
                Role::Server => Phase::Preface(0),
                Role::Client => Phase::Settings,
            },
            events: VecDeque::new(),
            scratch: Vec::new(),
            budget: Budget::new(now),
            queue: VecDeque::new(),
            called: Called::default(),
            heads: Vec::new(),
            taken_until: None,
            left_after: None,
            awaits_pong: false,
            awaits_settings: true,
            resets: Resets::default(),
            goodbye: None,
            waits: Waits::default(),
            patient: Patient::new(now),
            moved: Moved::default(),
        };
        session.begin();
        session
    }

    /// Says our settings (RFC 9113 §3.4).
    fn begin(&mut self) {
        let Settings {
            max_streams,
            stream_window,
            connection_window,
            head,
            fields,
            connect_protocol,
        } = self.settings;
        // Counted with 32 bytes a line (RFC 9113 §6.5.2), and told so that clients need not guess.
        let list = head.saturating_add(fields.saturating_mul(LINE_OVERHEAD));
        let list = u32::try_from(list).unwrap_or(u32::MAX);
        let role = self.role;
        let out = self.out();
        let always = [
            (INITIAL_WINDOW_SIZE, stream_window),
            (MAX_HEADER_LIST_SIZE, list),
        ];
        match role {
            Role::Client => {
                out.extend_from_slice(PREFACE);
                write_settings(out, &[[(ENABLE_PUSH, 0)].as_slice(), &always].concat());
            }
            Role::Server => {
                let most = [(MAX_CONCURRENT_STREAMS, max_streams)];
                let connect = [(ENABLE_CONNECT_PROTOCOL, 1)];
                let connect = &connect[..usize::from(connect_protocol)];
                write_settings(out, &[&most, always.as_slice(), connect].concat());
            }
        }
        if let Some(more) = connection_window.checked_sub(DEFAULT_WINDOW)
            && more > 0
        {
            write_window_update(out, 0, more);
        }
    }

    /// The other end has done something that leads nowhere. An endpoint is taken at its word: what
    /// it does too much of, the limits of the requests to it end.
    fn spend(&mut self, kind: Abuse, now: Instant) -> Result<(), Fault> {
        match self.role {
            Role::Server => Ok(self.budget.spend(kind, now)?),
            Role::Client => Ok(()),
        }
    }

    pub(super) fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Whether nothing more will happen: no stream is left, and none will come.
    pub(super) fn is_finished(&self) -> bool {
        (self.taken_until.is_some_and(|last| last < HIGHEST_ID) || self.is_left())
            && self.streams.is_empty()
            && self.events.is_empty()
    }

    /// Whether one side has said that the end is near, or nothing can be said any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_over() || self.is_left() || self.taken_until.is_some() || self.is_mute
    }

    /// Whether the other end opens or takes no more streams.
    fn is_left(&self) -> bool {
        self.left_after.is_some()
    }

    /// Whether the other end has said which stream was its last, and others up to that are under
    /// way. Looks at each of them.
    pub(super) fn has_taken_some(&mut self) -> bool {
        let Some(last) = self.left_after.filter(|last| *last < HIGHEST_ID) else {
            return false;
        };
        let mut streams = self.streams.each();
        streams.any(|(id, entry)| id <= last && entry.error.is_none())
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Bytes of bodies that have moved.
    pub(super) fn moved(&self) -> Moved {
        self.moved
    }

    pub(super) fn is_beginning(&self) -> bool {
        matches!(self.phase, Phase::Preface(_) | Phase::Settings)
    }

    pub(super) fn has_half_a_head(&self) -> bool {
        self.block.is_some()
    }

    pub(super) fn awaits_pong(&self) -> bool {
        self.awaits_pong
    }

    pub(super) fn awaits_settings(&self) -> bool {
        self.awaits_settings
    }

    pub(super) fn is_settled(&self) -> bool {
        self.peer.is_settled
    }

    /// Streams that the other end allows at once.
    pub(super) fn max_streams(&self) -> u32 {
        self.peer.max_streams
    }

    pub(super) fn takes_connect_protocol(&self) -> bool {
        self.peer.connect_protocol
    }

    /// Streams that were reset since this was last asked.
    pub(super) fn take_resets(&mut self) -> Resets {
        std::mem::take(&mut self.resets)
    }

    /// Why the endpoint ends the connection, once.
    pub(super) fn take_goodbye(&mut self) -> Option<(ErrorCode, Box<str>)> {
        self.goodbye.take()
    }

    /// Ends the session: the other end is told why, and all streams break.
    pub(super) fn end(&mut self, fault: Fault) {
        if self.phase == Phase::Over {
            return;
        }
        let last = self.last;
        write_goaway(self.out(), last, fault.code, fault.why);
        self.abandon();
    }

    /// Nothing more comes, and nothing more can be said.
    pub(super) fn abandon(&mut self) {
        self.phase = Phase::Over;
        self.block = None;
        self.events.clear();
        self.queue.clear();
        self.heads.clear();
        // An endpoint that speaks HTTP/2, and never saw the head of a request.
        let is_unseen = self.is_mute && self.role == Role::Client && self.peer.is_settled;
        let left = self.left_ever;
        for (_, entry) in self.streams.each() {
            entry.fail(if is_unseen && entry.begins_at >= left {
                StreamError::Unprocessed
            } else {
                StreamError::Ended
            });
        }
    }
}

/// The table of the other end's encoder, of which we keep a copy: what everybody assumes.
const HEADER_TABLE: usize = 4096;

/// What RFC 9113 §6.5.2 counts for each line beside its text.
const LINE_OVERHEAD: usize = 32;

/// Streams that an endpoint is taken to allow before it has said how many: RFC 9113 §6.5.2 asks it
/// to allow no fewer.
const ASSUMED_STREAMS: u32 = 100;
