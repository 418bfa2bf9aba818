//! A client of frames.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::frame::{Frame, PREFACE};
use super::{H2, Message};
use crate::support::client::connected;
use crate::support::tls::{Hello, Session};

impl H2<std::net::TcpStream> {
    /// A client of a plain socket there.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::client(connected(address))
    }
}

impl H2<Session> {
    /// A client within TLS there, that speaks only HTTP/2.
    ///
    /// # Panics
    /// When no session comes about, or another protocol is agreed on.
    pub(crate) fn begin(hello: &Hello<'_>, address: SocketAddr) -> Self {
        let hello = Hello {
            protocols: &["h2"],
            ..hello.clone()
        };
        let client = hello.begin(address);
        assert_eq!(client.protocol().as_deref(), Some("h2"));
        Self::client(client.into_stream())
    }
}

impl<S: Read + Write> H2<S> {
    /// A client that has said its preface and set nothing.
    pub(crate) fn client(stream: S) -> Self {
        Self::client_with(stream, &[])
    }

    /// The same with these settings.
    pub(crate) fn client_with(stream: S, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::over(stream);
        let mut begin = PREFACE.to_vec();
        begin.extend(Frame::settings_of(settings).bytes());
        client.send_bytes(begin);
        client
    }

    /// A number for a stream that has not been used.
    pub(crate) fn next_stream(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 2;
        id
    }

    /// Opens a stream with this head.
    pub(crate) fn open<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        fields: &[(N, V)],
        ends: bool,
    ) -> u32 {
        let id = self.next_stream();
        self.send(&Frame::headers(id, fields, ends));
        id
    }

    /// Asks for a path, and returns the number of the stream.
    pub(crate) fn ask(&mut self, path: &str) -> u32 {
        self.open(&request("GET", path), true)
    }

    /// Asks for a path, and returns the answer.
    pub(crate) fn get(&mut self, path: &str) -> Message {
        let id = self.ask(path);
        self.message(id)
    }

    /// Sends a body to a path in one frame, and returns the answer.
    pub(crate) fn post(&mut self, path: &str, body: impl AsRef<[u8]>) -> Message {
        let id = self.open(&request("POST", path), false);
        self.send(&Frame::data(id, body, true));
        self.message(id)
    }
}

/// The pseudo-fields of a request to the host `a`.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> [(&'static str, &'a str); 4] {
    [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ]
}

/// The same with more fields.
pub(crate) fn request_with<'a>(
    method: &'a str,
    path: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<(&str, &str)> = request(method, path).to_vec();
    fields.extend(more);
    fields
}
