//! What the two instances of an upgrade say to each other.
//!
//! Each message is one packet: a byte that says which it is, and its content as JSON, but for live
//! state, which is bytes. Descriptors travel beside packets (`channel`). The two may be of
//! different versions, so the first message says which form of all others is spoken, and nothing is
//! read from one of another form.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::net::Description;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// Old to new: who hands over.
    Hello(Hello),
    /// Old to new: listening sockets, with descriptors beside it.
    Socket(Offer),
    /// Old to new: that was all.
    Offered,
    /// New to old: everything that can fail has succeeded.
    Ready(Ready),
    /// New to old: it ends, for this reason.
    Failed(String),
    /// Old to new: a piece of the live state, or of what was counted.
    State(Vec<u8>),
    /// Old to new: those were counts, to be added.
    Counted,
    /// Old to new: serve.
    Commit,
    /// New to old: it accepts.
    Serving,
    /// Old to new: it is yours; tell the service manager.
    Done,
    /// Old to new: the service is to end, which the old one alone was told.
    End,
}

/// Who hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The form of what is said: [`PROTOCOL`].
    pub(super) protocol: u32,
    /// Version of its program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The number of its configuration, to go on from.
    pub generation: u64,
    /// Its data-plane threads: each has sockets with connections in their queues.
    pub workers: usize,
}

/// Sockets that are handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// By which the new one says that it takes them.
    pub number: u32,
    /// What they are for.
    pub purpose: Purpose,
    /// What they are.
    pub description: Description,
    /// Whether there are further descriptors of them in a message of the same number.
    pub more: bool,
}

/// What sockets are for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A listener, by its name and its address as it was written.
    Listener {
        /// Its name.
        name: String,
        /// `bind` as it was written.
        bind: String,
    },
    /// Whatever listener wants them: they came from systemd, which keeps them open, so they are
    /// handed on for ever.
    Activated {
        /// The name that systemd gave.
        name: String,
    },
    /// The admin API.
    Admin {
        /// Its address as it was written.
        bind: String,
    },
}

/// What a new instance says once all that can fail has succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Version of its program.
    pub version: String,
    /// The sockets that it takes, by their numbers.
    pub takes: Vec<u32>,
    /// What is to be known beside it.
    pub notes: Vec<String>,
}

/// Why a packet is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It has nothing in it.
    #[error("an empty message")]
    Empty,
    /// No message begins like this.
    #[error("a message of kind {0}, which this version does not know")]
    Kind(u8),
    /// Its content is no such message's.
    #[error("a message that cannot be read: {0}")]
    Content(#[from] serde_json::Error),
}

impl Frame {
    /// The packet.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => with(HELLO, hello),
            Self::Socket(offer) => with(SOCKET, offer),
            Self::Offered => vec![OFFERED],
            Self::Ready(ready) => with(READY, ready),
            Self::Failed(why) => with(FAILED, why),
            Self::State(bytes) => [&[STATE], bytes.as_slice()].concat(),
            Self::Counted => vec![COUNTED],
            Self::Commit => vec![COMMIT],
            Self::Serving => vec![SERVING],
            Self::Done => vec![DONE],
            Self::End => vec![END],
        }
    }

    /// What a packet says.
    pub(super) fn decode(packet: &[u8]) -> Result<Self, FrameError> {
        let (kind, content) = packet.split_first().ok_or(FrameError::Empty)?;
        Ok(match *kind {
            HELLO => Self::Hello(read(content)?),
            SOCKET => Self::Socket(read(content)?),
            OFFERED => Self::Offered,
            READY => Self::Ready(read(content)?),
            FAILED => Self::Failed(read(content)?),
            STATE => Self::State(content.to_vec()),
            COUNTED => Self::Counted,
            COMMIT => Self::Commit,
            SERVING => Self::Serving,
            DONE => Self::Done,
            END => Self::End,
            kind => return Err(FrameError::Kind(kind)),
        })
    }

    /// The live state in pieces that fit into packets.
    pub(super) fn state(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.chunks(PIECE).map(|piece| Self::State(piece.to_vec()))
    }
}

fn with(kind: u8, content: &impl Serialize) -> Vec<u8> {
    let mut packet = vec![kind];
    // Plain data with names for keys: there is nothing that JSON could not say.
    let written = serde_json::to_writer(&mut packet, content);
    debug_assert!(written.is_ok(), "{written:?}");
    packet
}

fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, FrameError> {
    Ok(serde_json::from_slice(content)?)
}

/// The form of all messages. It is counted up when an older instance could not read a newer one.
pub(super) const PROTOCOL: u32 = 1;

/// No packet is larger. The kernel takes some 200 KiB at once.
pub(super) const PACKET: usize = 128 * 1024;

/// Of live state.
const PIECE: usize = 64 * 1024;

const HELLO: u8 = b'h';
const SOCKET: u8 = b's';
const OFFERED: u8 = b'o';
const READY: u8 = b'r';
const FAILED: u8 = b'f';
const STATE: u8 = b'l';
const COUNTED: u8 = b'e';
const COMMIT: u8 = b'c';
const SERVING: u8 = b'a';
const DONE: u8 = b'd';
const END: u8 = b'x';

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hello = Hello {
            protocol: PROTOCOL,
            version: "1.2.3".to_owned(),
            pid: 7,
            generation: 41,
            workers: 2,
        };
        let offer = Offer {
            number: 3,
            purpose: Purpose::Listener {
                name: "web".to_owned(),
                bind: ":0".to_owned(),
            },
            description: Description::of(listener.as_fd()).unwrap(),
            more: false,
        };
        let ready = Ready {
            takes: vec![1, 3],
            notes: vec!["a note".to_owned()],
            ..Ready::default()
        };
        let frames = [
            Frame::Hello(hello),
            Frame::Socket(offer),
            Frame::Offered,
            Frame::Ready(ready),
            Frame::Failed("why \u{fc}".to_owned()),
            Frame::State(vec![0, 255]),
            Frame::Counted,
            Frame::Commit,
            Frame::Serving,
            Frame::Done,
            Frame::End,
        ];
        for frame in frames {
            assert_eq!(Frame::decode(&frame.encode()).unwrap(), frame);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(Frame::decode(b""), Err(FrameError::Empty)));
        assert!(matches!(Frame::decode(b"?"), Err(FrameError::Kind(b'?'))));
        assert!(matches!(Frame::decode(b"h{}"), Err(FrameError::Content(_))));
        assert!(matches!(Frame::decode(b"r"), Err(FrameError::Content(_))));
    }

    #[test]
    fn state_of_any_size_fits_into_packets() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * PIECE + 1).collect();
        let pieces: Vec<Frame> = Frame::state(&bytes).collect();
        assert!(pieces.iter().all(|piece| piece.encode().len() <= PACKET));
        let joined: Vec<u8> = pieces
            .into_iter()
            .flat_map(|piece| match piece {
                Frame::State(bytes) => bytes,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(joined, bytes);
    }

    proptest! {
        #[test]
        fn nothing_that_comes_causes_a_panic(packet in proptest::collection::vec(any::<u8>(), 0..64)) {
            drop(Frame::decode(&packet));
        }
    }
}
