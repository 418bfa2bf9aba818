//! A stream within TLS, behind the same calls as a socket.
//!
//! rustls keeps the state and does no I/O; here it is fed from the socket and emptied into it, so
//! that a session follows the same rule of readiness as a plain stream. What is received is read
//! into memory of the thread, so a session that waits owns none but its keys.

use std::cell::{Cell, RefCell, RefMut};
use std::io::{self, BufRead, IoSlice, Write};
use std::mem;
use std::task::{Context, Poll, ready};

use rustls::{Connection, ProtocolVersion};

use super::stream::Stream;

/// A session and the socket that carries it.
#[derive(Debug)]
pub struct Secure {
    socket: Stream,
    session: RefCell<Session>,
    /// Whether a read would return without the socket.
    readable: Cell<bool>,
    /// Whether the end of the socket is to be seen as a cut.
    is_cut: Cell<bool>,
}

#[derive(Debug)]
struct Session {
    connection: Connection,
    /// What was received and the session has no room for yet.
    left: Vec<u8>,
    /// Bytes of it that it has taken.
    taken: usize,
}

/// The socket, as what the session writes to.
struct Sink<'a>(&'a Stream);

impl Secure {
    /// A session that begins on this socket.
    pub fn new(socket: Stream, connection: impl Into<Connection>) -> Box<Self> {
        Box::new(Self {
            socket,
            session: RefCell::new(Session {
                connection: connection.into(),
                left: Vec::new(),
                taken: 0,
            }),
            readable: Cell::new(false),
            is_cut: Cell::new(false),
        })
    }

    /// Ready once the handshake is over.
    pub fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut session = self.session.borrow_mut();
            let sent = session.flush(&self.socket);
            if !session.connection.is_handshaking() {
                // The last words may still be under way: whoever reads or writes sends them.
                return Poll::Ready(sent.or_else(unless_blocked));
            }
            drop(session);
            if let Err(error) = sent {
                unless_blocked(error)?;
                ready!(self.socket.poll_write_ready(cx))?;
                continue;
            }
            ready!(self.socket.poll_read_ready(cx))?;
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

    /// The socket below.
    pub(super) fn socket(&self) -> &Stream {
        &self.socket
    }

    /// As [`Stream::poll_read_ready`]. Sends what is left to be sent, too: who waits for an answer
    /// has nothing more to write, but it may not have left.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error is told by the read, which knows more: the other side may have said why it left.
        drop(self.poll_flushed(cx));
        if self.readable.get() {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// As [`Stream::try_read`].
    pub(super) fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        loop {
            match session.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable.set(false);
                }
                result => return result,
            }
            self.receive(&mut session)?;
        }
    }

    /// As [`Stream::try_peek`].
    pub(super) fn try_peek(&self) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        loop {
            match session.connection.reader().fill_buf() {
                Ok(bytes) => return Ok(bytes.len().min(1)),
                Err(error) => unless_blocked(error)?,
            }
            self.receive(&mut session)?;
        }
    }

    /// Takes bytes into the session, unless there is still something to be sent.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        session.flush(&self.socket)?;
        let mut writer = session.connection.writer();
        let count = match slices {
            [slice] => writer.write(slice)?,
            slices => writer.write_vectored(slices)?,
        };
        session.flush(&self.socket).or_else(unless_blocked)?;
        Ok(count)
    }

    /// Ready once everything that was taken has left.
    pub(super) fn poll_flushed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let sent = self.session.borrow_mut().flush(&self.socket);
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.socket.poll_write_ready(cx))?;
        }
    }

    /// Says that nothing more comes (RFC 8446 §6.1), and ends this direction of the socket.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.say_goodbye();
        self.socket.shutdown_write()
    }

    /// From here on the other side must take the end for a cut.
    pub(super) fn cut(&self) {
        self.is_cut.set(true);
        self.socket.reset_on_close();
    }

    fn say_goodbye(&self) {
        // Once: another would be an error of the session's.
        if !self.is_cut.replace(true) {
            let mut session = self.session.borrow_mut();
            session.connection.send_close_notify();
            // A socket that takes nothing more has a peer that does not listen.
            drop(session.flush(&self.socket));
        }
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
            })?;
        }
        let fed = session.feed();
        if session.taken == session.left.len() {
            SCRATCH.set(mem::take(&mut session.left));
            session.taken = 0;
        }
        if session.connection.wants_write() {
            // Answers of the protocol's own: alerts, updates of keys.
            session.flush(&self.socket).or_else(unless_blocked)?;
        }
        self.readable.set(fed?);
        Ok(count)
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

impl Session {
    /// Moves what was decrypted into the buffer.
    fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut reader = self.connection.reader();
        let mut moved = 0;
        while buffer.len() < buffer.capacity() {
            let bytes = match reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(_) if moved > 0 => break,
                Err(error) => return Err(error),
            };
            let count = bytes.len().min(buffer.capacity() - buffer.len());
            if count == 0 {
                break;
            }
            buffer.extend_from_slice(&bytes[..count]);
            reader.consume(count);
            moved += count;
        }
        Ok(moved)
    }

    /// Decrypts what was received, as far as there is room. Whether a read would return something.
    fn feed(&mut self) -> io::Result<bool> {
        loop {
            let mut bytes = &self.left[self.taken..];
            // At the end of the socket there are none, which is how the session learns of it.
            let count = self.connection.read_tls(&mut bytes)?;
            self.taken += count;
            let state = self.connection.process_new_packets();
            let state = state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() || count == 0 {
                return Ok(true);
            }
            if self.taken == self.left.len() {
                return Ok(false);
            }
        }
    }

    /// Sends what the session has to send.
    fn flush(&mut self, socket: &Stream) -> io::Result<()> {
        while self.connection.wants_write() {
            if self.connection.write_tls(&mut Sink(socket))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
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

/// Two records, and what belongs to them (RFC 8446 §5.2).
const SCRATCH_SIZE: usize = 2 * (16 * 1024 + 256 + 5);
