//! The thread that writes log lines, and the bounded way to it.
//!
//! Problem: writing to a log can take forever (a stopped pipe, a hung disk) or fail (a full disk, a
//! reader that has gone). Only this thread writes; everyone else puts blocks into a queue that is
//! bounded in bytes and never waits for room. A block that cannot be queued or written is dropped,
//! its lines are counted, and the next block is tried anew. So is one that waits for a pipe without
//! room when another output is asked for, or the same one anew: what is stuck must not keep the log
//! from where there is room.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::{AccessLog, Format, Opened, Settings};
use crate::telemetry::metrics::{Counter, Family, Kind, Registry};

/// The way to the log. Cheap to clone; the writing thread ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Sink {
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    queue: Receiver<Message>,
    shared: Arc<Shared>,
    out: Opened,
    /// The last thing written was a part of a line.
    torn: bool,
}

/// What kind of line it is; the label `stream` of the drop counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::telemetry) enum Stream {
    /// A request.
    Access,
    /// A change of state.
    Event,
    /// The program's own log.
    Program,
}

/// What the access log shall look like now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Form {
    pub(super) is_on: bool,
    pub(super) format: Format,
    pub(super) has_query: bool,
}

#[derive(Debug)]
enum Message {
    Block(Block),
    /// Look at what `Shared` asks for.
    Wake,
}

#[derive(Debug)]
struct Block {
    stream: Stream,
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that have been queued and not yet been written or dropped.
    waiting: AtomicUsize,
    form: AtomicU8,
    reopen: AtomicBool,
    next_output: Mutex<Option<Opened>>,
    idle: Mutex<()>,
    became_idle: Condvar,
    dropped: Dropped,
}

#[derive(Debug)]
struct Dropped {
    access: Counter,
    event: Counter,
    program: Counter,
}

impl Sink {
    /// The access log of one more worker.
    pub fn access_log(&self) -> AccessLog {
        AccessLog::new(self.clone())
    }

    /// Takes over new settings, and their output; without one, lines go on to where they went.
    pub fn apply(&self, settings: &Settings, output: Option<Opened>) {
        self.shared.set_form(settings);
        if output.is_some() {
            let unused = mem::replace(&mut *lock(&self.shared.next_output), output);
            self.wake();
            if let Some(unused) = unused {
                close_aside(unused);
            }
        }
    }

    /// Opens the output anew, for log rotation (SIGUSR1). Returns at once.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits until everything that was queued has been written or dropped, but no longer than
    /// `limit`. Says whether it was. For the end of the process; blocks the calling thread.
    pub fn finish(&self, limit: Duration) -> bool {
        let guard = lock(&self.shared.idle);
        let waited = self
            .shared
            .became_idle
            .wait_timeout_while(guard, limit, |()| {
                self.shared.waiting.load(Ordering::Acquire) > 0
            });
        let (_guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    pub(super) fn form(&self) -> Form {
        let bits = self.shared.form.load(Ordering::Relaxed);
        Form {
            is_on: bits & ON != 0,
            format: if bits & COMBINED == 0 {
                Format::Json
            } else {
                Format::Combined
            },
            has_query: bits & QUERY != 0,
        }
    }

    /// Queues whole lines, or drops and counts them. Never waits.
    pub(in crate::telemetry) fn submit(&self, stream: Stream, bytes: Vec<u8>, lines: u64) {
        let size = bytes.len();
        let before = self.shared.waiting.fetch_add(size, Ordering::AcqRel);
        let block = Message::Block(Block {
            stream,
            bytes,
            lines,
        });
        if before.saturating_add(size) > QUEUE_BYTES || self.queue.try_send(block).is_err() {
            self.shared.done(size);
            self.shared.dropped.of(stream).add(lines);
        }
    }

    fn wake(&self) {
        // A full queue needs no waking: the thread looks after every block.
        drop(self.queue.try_send(Message::Wake));
    }
}

impl Writer {
    /// Opens the output and starts the thread. Fails if the output cannot be opened.
    pub fn spawn(settings: &Settings, registry: &Registry) -> io::Result<Sink> {
        let dropped = |stream| registry.counter(&DROPPED, &[("stream", stream)]);
        let shared = Arc::new(Shared {
            waiting: AtomicUsize::new(0),
            form: AtomicU8::new(0),
            reopen: AtomicBool::new(false),
            next_output: Mutex::new(None),
            idle: Mutex::new(()),
            became_idle: Condvar::new(),
            dropped: Dropped {
                access: dropped("access"),
                event: dropped("event"),
                program: dropped("program"),
            },
        });
        shared.set_form(settings);
        let (sender, receiver) = sync_channel(QUEUE_BLOCKS);
        let writer = Self {
            queue: receiver,
            shared: Arc::clone(&shared),
            out: settings.output.open()?,
            torn: false,
        };
        thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run())?;
        Ok(Sink {
            queue: sender,
            shared,
        })
    }

    fn run(mut self) {
        while let Ok(message) = self.queue.recv() {
            self.obey();
            match message {
                Message::Wake => {}
                Message::Block(block) => {
                    let lost = self.write(&block);
                    self.shared.dropped.of(block.stream).add(lost);
                    self.shared.done(block.bytes.len());
                }
            }
        }
    }

    /// Changes the output if that was asked for.
    fn obey(&mut self) {
        let next = lock(&self.shared.next_output).take();
        if let Some(next) = next {
            self.write_to(next);
        }
        if self.shared.reopen.swap(false, Ordering::AcqRel) {
            let output = &self.out.output;
            match output.open() {
                Ok(next) => self.write_to(next),
                // The old file still takes lines: better in the wrong place than nowhere.
                Err(error) => tracing::warn!(?output, %error, "log not reopened"),
            }
        }
    }

    fn write_to(&mut self, next: Opened) {
        self.torn = self.torn && next.is_same(&self.out);
        self.out = next;
    }

    /// Writes a block and returns how many of its lines were lost.
    fn write(&mut self, block: &Block) -> u64 {
        let mut rest = block.bytes.as_slice();
        if self.torn {
            // Ends the broken line, so that it does not spoil the next one.
            if self.write_some(b"\n").is_err() {
                return block.lines;
            }
            self.torn = false;
        }
        while !rest.is_empty() {
            match self.write_some(rest) {
                Ok(0) | Err(_) => break,
                Ok(written) => {
                    self.torn = rest[written - 1] != b'\n';
                    rest = &rest[written..];
                }
            }
        }
        memchr::memchr_iter(b'\n', rest).count() as u64
    }

    /// One write, however long it takes, unless another output is asked for.
    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.out.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.shared.wants_another_output() {
                        return Err(error);
                    }
                    self.out.wait();
                }
                result => return result,
            }
        }
    }
}

impl Shared {
    fn set_form(&self, settings: &Settings) {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let bits = bit(settings.access, ON)
            | bit(settings.format == Format::Combined, COMBINED)
            | bit(settings.query, QUERY);
        self.form.store(bits, Ordering::Relaxed);
    }

    /// Whether lines are to go to another output, or the same one opened anew.
    fn wants_another_output(&self) -> bool {
        self.reopen.load(Ordering::Acquire) || lock(&self.next_output).is_some()
    }

    fn done(&self, size: usize) {
        if self.waiting.fetch_sub(size, Ordering::AcqRel) == size {
            let _guard = lock(&self.idle);
            self.became_idle.notify_all();
        }
    }
}

impl Dropped {
    fn of(&self, stream: Stream) -> &Counter {
        match stream {
            Stream::Access => &self.access,
            Stream::Event => &self.event,
            Stream::Program => &self.program,
        }
    }
}

/// To close a file may take as long as its disk does, and whoever asks for another one must not
/// wait. Without a thread for it, it is closed here.
fn close_aside(unused: Opened) {
    let closing = thread::Builder::new().name("log-closer".into());
    drop(closing.spawn(move || drop(unused)));
}

/// A panic of another thread cannot leave these values half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that may wait for the writing thread: about ten thousand lines, which bridges a pause of a
/// second at ten thousand requests a second.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// Blocks that may wait. Blocks of the program's own log are single lines, hence more than
/// [`QUEUE_BYTES`] over the size of a full block.
const QUEUE_BLOCKS: usize = 1024;

const ON: u8 = 1;
const COMBINED: u8 = 2;
const QUERY: u8 = 4;

static DROPPED: Family = Family {
    name: "evenkeel_log_dropped_total",
    help: "Log lines that were dropped because the output was full, slow or gone.",
    kind: Kind::Counter,
    buckets: None,
};
