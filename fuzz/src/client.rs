//! The client in front of a proxy: it sends what it is given in pieces, and keeps what comes back.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::pieces::Pieces;
use crate::rest::Motion;

/// One connection of a client.
#[derive(Debug)]
pub struct Client {
    writing: OwnedWriteHalf,
    reading: JoinHandle<()>,
    kept: Rc<Kept>,
    motion: Motion,
}

/// What came from the proxy.
#[derive(Debug, Default)]
struct Kept {
    bytes: RefCell<Vec<u8>>,
    is_closed: Cell<bool>,
    news: Notify,
}

impl Client {
    /// A client on its end of a connection.
    pub fn new(stream: UnixStream, motion: &Motion) -> Self {
        let (reading, writing) = stream.into_split();
        let kept = Rc::new(Kept::default());
        Self {
            writing,
            reading: spawn_local(read(reading, Rc::clone(&kept), motion.clone())),
            kept,
            motion: motion.clone(),
        }
    }

    /// Sends bytes, split as the control byte says. What the proxy does not want is left unsent.
    pub async fn send(&mut self, how: u8, bytes: &[u8]) {
        let mut pieces = Pieces::new(how, bytes);
        while let Some(piece) = pieces.next().await {
            if self.writing.write_all(piece).await.is_err() {
                return;
            }
            self.motion.moved();
        }
    }

    /// Has nothing more to say, and goes on listening.
    pub async fn finish(&mut self) {
        // An error means that the connection has ended already.
        drop(self.writing.shutdown().await);
    }

    /// Whether the proxy has closed its side.
    pub fn is_closed(&self) -> bool {
        self.kept.is_closed.get()
    }

    /// Waits until so many final answers have begun, or the proxy has closed its side.
    pub async fn answered(&self, count: usize) {
        while self.answers() < count && !self.is_closed() {
            self.kept.news.notified().await;
        }
    }

    /// How many final answers have begun.
    pub fn answers(&self) -> usize {
        let bytes = self.kept.bytes.borrow();
        let is_final =
            |part: &[u8]| matches!(part, [start @ .., _, b' ', b'2'..=b'5'] if start == b"HTTP/1.");
        bytes
            .windows(b"HTTP/1.1 2".len())
            .filter(|part| is_final(part))
            .count()
    }

    /// Waits until it has.
    pub async fn closed(&mut self) {
        if !self.reading.is_finished() {
            (&mut self.reading).await.expect("no panic");
        }
    }

    /// What came so far.
    pub fn received(&self) -> Vec<u8> {
        self.kept.bytes.borrow().clone()
    }

    /// Closes the connection.
    pub async fn end(self) {
        drop(self.writing);
        if !self.reading.is_finished() {
            self.reading.abort();
            // Cancelled, or at its end just now.
            drop(self.reading.await);
        }
    }
}

async fn read(mut stream: OwnedReadHalf, kept: Rc<Kept>, motion: Motion) {
    let mut bytes = Vec::with_capacity(4096);
    // An error ends it as a close does: it may be a reset behind bytes that nobody read.
    while stream
        .read_buf(&mut bytes)
        .await
        .is_ok_and(|count| count > 0)
    {
        kept.bytes.borrow_mut().append(&mut bytes);
        kept.news.notify_one();
        motion.moved();
    }
    kept.is_closed.set(true);
    kept.news.notify_one();
    motion.moved();
}
