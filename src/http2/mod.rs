//! HTTP/2 on the wire (RFC 9113), on both sides: one connection, many streams.
//!
//! Problem: what HTTP/1.1 says with one connection after the other, HTTP/2 says in one: many
//! requests at once, each with a window of its own, over state that both ends must keep alike. A
//! general library hides that state, and with it who abuses it; a proxy has to know.
//!
//! So the engine is ours. `hpack`, `frame`, `head` and `session` are pure: bytes in, facts and
//! bytes out. Only `connection` touches a socket. A connection is driven by one task, which reads
//! and writes for all; what happens on a stream happens in a task of its own, through a
//! [`Stream`], which takes what has come and leaves what is to be sent.
//!
//! Use: [`Connection::server`] or [`Connection::client`], then [`Connection::poll_drive`] until the
//! connection ends. A server is given each request with its [`Stream`]; a client opens one with
//! [`Connection::open`]. A [`Sending`] carries a head and a body to the other end.

mod budget;
mod connection;
mod driven;
mod error;
mod frame;
mod head;
mod hpack;
mod inbox;
mod send;
mod session;
mod settings;
mod stream;
mod window;

pub use connection::Connection;
pub use driven::{Driven, Ended, HeldUp, Moved, OpenError, Opening, State};
pub use error::{Abuse, ErrorCode, StreamError};
pub use head::{
    HeadError, RequestHead, RequestReader, ResponseHead, ResponseReader, TrailersReader,
    write_request, write_response, write_trailers,
};
pub use hpack::{Decoder, Encoder, HpackError};
pub use send::{SendError, Sending};
pub use settings::Settings;
pub use stream::{NextFrame, Stream};
