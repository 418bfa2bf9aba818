//! A stream within TLS, behind the same calls as a socket.
//!
//! rustls keeps the state and does no I/O; here it is fed from the socket and emptied into it, so
//! that a session follows the same rule of readiness as a plain stream. What is received is read
//! into memory of the thread, so a session that waits owns none but what rustls keeps.

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, BufRead as _, IoSlice, Write};
use std::mem;
use std::task::{Context, Poll, ready};

use rustls::{Connection, ProtocolVersion};

use self::records::Session;
use super::alpn::Alpn;
use super::client::ClientFacts;
use super::stream::Stream;

mod records;

/// A session and the socket that carries it.
#[derive(Debug)]
pub struct Secure {
    socket: Stream,
    session: RefCell<Session>,
    /// Whether a read would return without the socket.
    readable: Cell<bool>,
    /// Whether it was said that nothing more comes, or never will be: the end is a cut.
    has_said_goodbye: Cell<bool>,
    /// Whether our direction of the socket has ended.
    has_ended: Cell<bool>,
    /// Bytes that the socket has taken.
    sent: Cell<u64>,
    /// Nothing where the client was asked for no certificate.
    client: Option<Box<ClientFacts>>,
}

/// The socket, as what the session writes to.
struct Sink<'a>(&'a Stream);

impl Secure {
    /// A session that begins on this socket.
    pub fn new(socket: Stream, connection: impl Into<Connection>) -> Box<Self> {
        Self::begun(socket, connection, Vec::new())
    }

    /// The same, where these bytes of the session were read from the socket before.
    pub fn begun(
        socket: Stream,
        connection: impl Into<Connection>,
        received: Vec<u8>,
    ) -> Box<Self> {
        Box::new(Self {
            socket,
            session: RefCell::new(Session::new(connection.into(), received)),
            readable: Cell::new(false),
            has_said_goodbye: Cell::new(false),
            has_ended: Cell::new(false),
            sent: Cell::new(0),
            client: None,
        })
    }

    /// Ready once the handshake is over.
    pub fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut session = self.session.borrow_mut();
            let sent = self.flush(&mut session);
            if !session.connection.is_handshaking() {
                // The last words may still be under way: whoever reads or writes sends them.
                return Poll::Ready(sent.or_else(unless_blocked));
            }
            let has_received = session.taken < session.left.len();
            drop(session);
            if let Err(error) = sent {
                unless_blocked(error)?;
                ready!(self.socket.poll_write_ready(cx))?;
                continue;
            }
            if !has_received {
                ready!(self.socket.poll_read_ready(cx))?;
            }
            match self.receive(&mut self.session.borrow_mut()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => unless_blocked(error)?,
            }
        }
    }

    /// The version that was agreed on.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.session.borrow().connection.protocol_version()
    }

    /// Runs a question to rustls.
    pub(super) fn with_connection<T>(&self, ask: impl FnOnce(&Connection) -> T) -> T {
        ask(&self.session.borrow().connection)
    }

    /// Whether the protocol that was agreed on is one of these, or none was.
    pub fn speaks(&self, protocols: &[&[u8]]) -> bool {
        let session = self.session.borrow();
        let agreed = session.connection.alpn_protocol();
        agreed.is_none_or(|agreed| protocols.contains(&agreed))
    }

    /// The protocol that was agreed on.
    pub(super) fn alpn(&self) -> Alpn {
        match self.session.borrow().connection.alpn_protocol() {
            None => Alpn::None,
            Some(b"h2") => Alpn::Http2,
            Some(_) => Alpn::Other,
        }
    }

    /// Whether this protocol was agreed on.
    pub fn has_agreed_on(&self, protocol: &[u8]) -> bool {
        let session = self.session.borrow();
        session.connection.alpn_protocol() == Some(protocol)
    }

    /// The certificate that the other side has shown.
    pub fn shown(&self) -> Option<Vec<u8>> {
        let session = self.session.borrow();
        let chain = session.connection.peer_certificates();
        Some(chain?.first()?.to_vec())
    }

    /// Keeps what is known of the client.
    pub fn keep_client(&mut self, facts: ClientFacts) {
        self.client = Some(Box::new(facts));
    }

    /// What is known of the client, where it was asked for a certificate.
    pub(super) fn client(&self) -> Option<&ClientFacts> {
        self.client.as_deref()
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &Stream {
        &self.socket
    }

    /// The same, to be changed.
    pub(super) fn socket_mut(&mut self) -> &mut Stream {
        &mut self.socket
    }

    /// As [`Stream::poll_read_ready`]. Sends what is left to be sent, too: who waits for an answer
    /// has nothing more to write, but it may not have left.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error is told by the read, which knows more: the other side may have said why it left.
        drop(self.poll_flushed(cx));
        if self.readable.get() {
            // As a socket does: a stream that never runs dry must not keep the worker to itself.
            ready!(tokio::task::coop::poll_proceed(cx)).made_progress();
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// As [`Stream::try_read`].
    pub(super) fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        for _ in 0..ROUNDS {
            match session.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable.set(false);
                }
                result => return result,
            }
            self.receive(&mut session)?;
        }
        self.come_back()
    }

    /// As [`Stream::try_peek`].
    pub(super) fn try_peek(&self) -> io::Result<Option<u8>> {
        let mut session = self.session.borrow_mut();
        for _ in 0..ROUNDS {
            match session.connection.reader().fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) => unless_blocked(error)?,
            }
            self.readable.set(false);
            self.receive(&mut session)?;
        }
        self.come_back()
    }

    /// Much has come, and nothing of it was for us: records may be empty. Whoever reads comes back
    /// when others have had their turn.
    fn come_back<T>(&self) -> io::Result<T> {
        self.readable.set(true);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Takes bytes into the session, unless there is still something to be sent.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        self.flush(&mut session)?;
        let mut writer = session.connection.writer();
        let count = match slices {
            [slice] => writer.write(slice)?,
            slices => writer.write_vectored(slices)?,
        };
        self.flush(&mut session).or_else(unless_blocked)?;
        Ok(count)
    }

    /// Ready once everything that was taken has left.
    pub(super) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.flush(&mut self.session.borrow_mut());
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.socket.poll_write_ready(cx))?;
        }
    }

    /// Says that nothing more comes (RFC 8446 §6.1), and ends this direction of the socket once
    /// that has left.
    pub(super) fn poll_shutdown_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.say_goodbye();
        ready!(self.poll_flushed(cx))?;
        if !self.has_ended.replace(true) {
            ready!(self.socket.poll_shutdown_write(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets the end look like a cut: what was written still arrives.
    pub fn say_no_goodbye(&self) {
        self.has_said_goodbye.set(true);
    }

    /// From here on the other side must take the end for a cut.
    pub(super) fn cut(&self) {
        self.say_no_goodbye();
        self.socket.reset_on_close();
    }

    /// Bytes that have left, of what was written and of the protocol's own.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    fn say_goodbye(&self) {
        if !self.has_said_goodbye.replace(true) {
            self.session.borrow_mut().connection.send_close_notify();
        }
    }

    /// Sends what the session has to send; behind the end there is nothing to be said.
    fn flush(&self, session: &mut Session) -> io::Result<()> {
        if self.has_ended.get() {
            return Ok(());
        }
        while session.connection.wants_write() {
            let count = session.connection.write_tls(&mut Sink(&self.socket))?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent.set(self.sent.get() + count as u64);
        }
        Ok(())
    }

    /// Gives the session what the socket has. 0 at its end; otherwise some number.
    fn receive(&self, session: &mut RefMut<'_, Session>) -> io::Result<usize> {
        let session = &mut **session;
        let mut count = session.left.len() - session.taken;
        if count == 0 {
            session.left = SCRATCH.take();
            session.left.clear();
            session.left.reserve(SCRATCH_SIZE);
            session.taken = 0;
            count = self.socket.try_read(&mut session.left).inspect_err(|_| {
                SCRATCH.set(mem::take(&mut session.left));
                session.rest();
            })?;
        }
        let fed = session.feed();
        if session.taken == session.left.len() {
            SCRATCH.set(mem::take(&mut session.left));
            session.taken = 0;
        }
        // Answers of the protocol's own: alerts, updates of keys. That they cannot leave is told to
        // whoever writes, and takes nothing from what was received.
        drop(self.flush(session));
        self.readable.set(fed?);
        Ok(count)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.say_goodbye();
        // A socket that takes nothing more has a peer that does not listen.
        drop(self.flush(&mut self.session.borrow_mut()));
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An error, unless it says that there is nothing to be done now.
fn unless_blocked(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

thread_local! {
    /// What is received, until it is decrypted.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads without a byte for us, until others have their turn.
const ROUNDS: usize = 4;

/// Two records, and what belongs to them (RFC 8446 §5.2).
const SCRATCH_SIZE: usize = 2 * (16 * 1024 + 256 + 5);
