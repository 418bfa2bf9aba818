//! A client that sends exactly the bytes it is given.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;

use super::clock::{PATIENCE, SILENCE};
use super::message::{Body, Broken, End, Head, Wire};

/// One connection to the proxy: a socket, or a session of TLS on one.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    wire: Wire<S>,
}

/// A response as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl<S: Read + Write> Client<S> {
    /// A connection on which nothing has been sent.
    pub(crate) fn over(stream: S) -> Self {
        Self {
            wire: Wire::new(stream),
        }
    }

    /// What it goes over.
    pub(crate) fn stream(&self) -> &S {
        self.wire.source()
    }

    /// What it goes over, on its own: what was read ahead is lost.
    pub(crate) fn into_stream(self) -> S {
        self.wire.into_source()
    }

    /// What it goes over, to be changed.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        self.wire.source_mut()
    }

    /// Sends bytes. That the proxy has closed already is not an error here: it shows in what it
    /// answered, and a refusal may overtake the rest of what it refuses.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        drop(self.wire.source_mut().write_all(bytes.as_ref()));
        self
    }

    /// Asks for a path, and returns the answer.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.response()
    }

    /// The next response, to a request other than HEAD.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// The next response, to a request with this method.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn response_to(&mut self, method: &str) -> Response {
        match self.try_response_to(method) {
            Ok(response) => response,
            Err(broken) => panic!("no response: {broken:?}"),
        }
    }

    /// The next response, or why there is none.
    pub(crate) fn try_response_to(&mut self, method: &str) -> Result<Response, Broken> {
        let head = self.head()?;
        let status = head.status()?;
        let body = self.wire.body(head.response_framing(method)?)?;
        Ok(Response { status, head, body })
    }

    /// The next head, its body left to be read.
    pub(crate) fn head(&mut self) -> Result<Head, Broken> {
        self.wire.head()
    }

    /// This many bytes.
    ///
    /// # Panics
    /// When they do not come.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        self.try_bytes(length).expect("the bytes come")
    }

    /// This many bytes, or why they do not come.
    pub(crate) fn try_bytes(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        self.wire.bytes(length)
    }

    /// Everything until the proxy closes.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        self.wire.remainder()
    }

    /// Whether the proxy closes the connection, with nothing further on it.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.wire.some() {
            Ok(_) | Err(Broken::Silent(_) | Broken::Malformed(_)) => false,
            Err(Broken::Closed | Broken::Truncated(_)) => true,
        }
    }

    /// Whether the proxy ends the connection with a reset.
    pub(crate) fn is_reset(&mut self) -> bool {
        matches!(self.wire.some(), Err(Broken::Truncated(_)))
    }
}

/// What only a bare socket can do.
impl Client {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::over(connected(address))
    }

    /// Sends as much as is taken without a pause of `limit`, and returns how much that was.
    pub(crate) fn send_until_blocked(&mut self, bytes: &[u8], limit: Duration) -> usize {
        let stream = self.wire.source_mut();
        stream.set_write_timeout(Some(limit)).expect("a timeout");
        let mut sent = 0;
        while sent < bytes.len() {
            match stream.write(&bytes[sent..]) {
                Ok(length) => sent += length,
                Err(_) => break,
            }
        }
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        sent
    }

    /// Says that no more will be sent, and goes on reading.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let ended = self.wire.source().shutdown(Shutdown::Write);
        ended.expect("an open connection");
        self
    }

    /// Goes away with a reset.
    pub(crate) fn abort(self) {
        SockRef::from(self.wire.source())
            .set_linger(Some(Duration::ZERO))
            .expect("a socket option");
    }

    /// The same connection once more, to send from another thread.
    pub(crate) fn twin(&self) -> Self {
        let clone = self.wire.source().try_clone();
        Self::over(clone.expect("a spare descriptor"))
    }

    /// Whether nothing comes and the connection stays open.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.wait_at_most(SILENCE);
        let quiet = matches!(self.wire.some(), Err(Broken::Silent(_)));
        self.wait_at_most(PATIENCE);
        quiet
    }

    fn wait_at_most(&mut self, limit: Duration) {
        let set = self.wire.source().set_read_timeout(Some(limit));
        set.expect("a timeout");
    }
}

impl Response {
    /// Whether the whole body came.
    pub(crate) fn is_whole(&self) -> bool {
        self.body.end != End::Truncated
    }
}

/// A socket that waits for no longer than an awaited thing may take.
pub(crate) fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the proxy accepts");
    stream.set_nodelay(true).expect("a socket option");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}
