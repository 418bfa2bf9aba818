//! The endpoint behind a proxy: it records what it is asked, and answers as it was told to.
//!
//! It listens on an abstract Unix socket, which needs no file and no port, so that nothing is left
//! behind and nothing runs out, however many connections a campaign opens.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_local};

use crate::pieces::Pieces;
use crate::rest::Motion;
use crate::wire::{Message, read_request};

/// Where proxies connect to.
#[derive(Debug)]
pub struct Endpoint {
    listener: Rc<UnixListener>,
    path: PathBuf,
}

/// What the endpoint says.
#[derive(Debug, Clone, Copy)]
pub enum Script<'a> {
    /// The usual answer to every request.
    Usual,
    /// These bytes to the first request, split as the control byte says; the usual answer to
    /// others.
    Bytes {
        /// What is said.
        bytes: &'a [u8],
        /// How it is split.
        how: u8,
        /// Whether the connection stays open behind them, until [`Session::close`].
        stays: bool,
    },
}

/// One run of the endpoint.
#[derive(Debug)]
pub struct Session {
    seen: Rc<RefCell<Vec<Message>>>,
    accepting: JoinHandle<()>,
    close: watch::Sender<bool>,
}

/// What the connections of a session share.
#[derive(Debug, Clone)]
struct Shared {
    seen: Rc<RefCell<Vec<Message>>>,
    motion: Motion,
    /// The bytes that the first request is answered with, until they are taken.
    script: Rc<RefCell<Option<Bytes>>>,
    close: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Bytes {
    bytes: Vec<u8>,
    how: u8,
    stays: bool,
}

impl Endpoint {
    /// Listens. Must be called within the runtime.
    pub fn bind(name: &str) -> io::Result<Self> {
        let path = PathBuf::from(format!("\0evenkeel-fuzz-{name}-{}", std::process::id()));
        Ok(Self {
            listener: Rc::new(UnixListener::bind(&path)?),
            path,
        })
    }

    /// Listens on a socket in a folder, for those that know no abstract ones.
    pub fn bind_at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            listener: Rc::new(UnixListener::bind(path)?),
            path: path.to_owned(),
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a run.
    pub fn session(&self, script: Script<'_>, motion: &Motion) -> Session {
        let (close, closing) = watch::channel(false);
        let shared = Shared {
            seen: Rc::default(),
            motion: motion.clone(),
            script: Rc::new(RefCell::new(match script {
                Script::Usual => None,
                Script::Bytes { bytes, how, stays } => Some(Bytes {
                    bytes: bytes.to_vec(),
                    how,
                    stays,
                }),
            })),
            close: closing,
        };
        Session {
            seen: Rc::clone(&shared.seen),
            accepting: spawn_local(accept(Rc::clone(&self.listener), shared)),
            close,
        }
    }
}

impl Session {
    /// Closes the connection that stayed open behind what it said.
    pub fn close(&self) {
        self.close.send_replace(true);
    }

    /// Ends the run and closes all connections.
    pub async fn end(self) -> Vec<Message> {
        self.accepting.abort();
        let ended = self.accepting.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        self.seen.take()
    }
}

async fn accept(listener: Rc<UnixListener>, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        shared.motion.moved();
        connections.spawn_local(serve(stream, shared.clone()));
        // What has ended is let go.
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: UnixStream, mut shared: Shared) {
    let mut received = Vec::new();
    loop {
        match read_request(&received) {
            Ok(Some((request, size))) if request.is_whole => {
                received.drain(..size);
                let is_head = request.method() == b"HEAD";
                let number = shared.record(request);
                let script = shared.script.borrow_mut().take();
                let goes_on = match script {
                    Some(script) => shared.say(&mut stream, script).await,
                    None => stream.write_all(&usual(number, is_head)).await.is_ok(),
                };
                shared.motion.moved();
                if !goes_on {
                    return;
                }
            }
            Ok(_) => {
                // Whatever comes later is none of those that stayed open.
                let is_late = *shared.close.borrow();
                let count = tokio::select! {
                    count = stream.read_buf(&mut received) => count.unwrap_or_default(),
                    _ = shared.close.wait_for(|is_closed| *is_closed), if !is_late => 0,
                };
                shared.motion.moved();
                if count == 0 {
                    return shared.ended(&received);
                }
            }
            Err(why) => {
                let number = shared.record(Message::strange(why, &received));
                // Whoever has sent it goes on; nothing that follows could be found.
                drop(stream.write_all(&usual(number, false)).await);
                return;
            }
        }
    }
}

impl Shared {
    /// Keeps what was seen, and returns its number.
    fn record(&self, seen: Message) -> usize {
        let mut all = self.seen.borrow_mut();
        all.push(seen);
        all.len() - 1
    }

    /// Keeps what was there of a request when its connection ended.
    fn ended(&self, received: &[u8]) {
        match read_request(received) {
            Ok(Some((cut, _))) => drop(self.record(cut)),
            Ok(None) if received.is_empty() => {}
            Ok(None) => drop(self.record(Message::strange("half a head", received))),
            Err(why) => drop(self.record(Message::strange(why, received))),
        }
    }

    /// Says what the script has. False when the connection is to end.
    async fn say(&self, stream: &mut UnixStream, script: Bytes) -> bool {
        let mut pieces = Pieces::new(script.how, &script.bytes);
        while let Some(piece) = pieces.next().await {
            if stream.write_all(piece).await.is_err() {
                return false;
            }
            self.motion.moved();
        }
        script.stays
    }
}

/// The usual answer to a request of this number.
fn usual(number: usize, is_head: bool) -> Vec<u8> {
    let body = if is_head { "" } else { "ok" };
    let head = format!("HTTP/1.1 200 OK\r\n{NUMBER}: {number}\r\nContent-Length: 2\r\n\r\n{body}");
    head.into_bytes()
}

/// The field that tells which of the recorded requests is answered.
pub const NUMBER: &str = "x-seen";
