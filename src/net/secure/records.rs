//! What came from the socket, into rustls, and what it made of that.

use std::io::{self, BufRead as _, Read};

use rustls::Connection;

/// A session as rustls has it, and what it has not taken yet.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: Connection,
    /// What was received and the session has no room for yet.
    pub(super) left: Vec<u8>,
    /// Bytes of it that it has taken.
    pub(super) taken: usize,
}

/// A socket on which nothing has come.
struct Silence;

impl Session {
    /// One that begins with these bytes.
    pub(super) fn new(connection: Connection, received: Vec<u8>) -> Self {
        Self {
            connection,
            left: received,
            taken: 0,
        }
    }

    /// Moves what was decrypted into the buffer.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
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

    /// Nothing has come, and it may be long until something does. rustls gives up the room that it
    /// took for a large record when it is about to read again.
    pub(super) fn rest(&mut self) {
        drop(self.connection.read_tls(&mut Silence));
    }

    fn has_plaintext(&mut self) -> bool {
        let mut reader = self.connection.reader();
        reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Decrypts what was received, as far as there is room. Whether a read would return something.
    pub(super) fn feed(&mut self) -> io::Result<bool> {
        loop {
            let mut bytes = &self.left[self.taken..];
            // At the end of the socket there are none, which is how the session learns of it.
            let count = self.connection.read_tls(&mut bytes)?;
            self.taken += count;
            let state = match self.connection.process_new_packets() {
                Ok(state) => state,
                // What came before is delivered; the error comes again with the next look.
                Err(_) if self.has_plaintext() => return Ok(true),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            if state.plaintext_bytes_to_read() > 0 || state.peer_has_closed() || count == 0 {
                return Ok(true);
            }
            if self.taken == self.left.len() {
                return Ok(false);
            }
        }
    }
}

impl Read for Silence {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
