//! What the kernel knows of a connection's way: round trips, segments sent again, and how fast it
//! delivers (`TCP_INFO`).
//!
//! Problem: a slow answer may be a slow service or a bad network, and nothing that is measured
//! above the socket tells them apart. The kernel measures the network all the time; asking costs a
//! system call. So whoever asks for many has them watched
//! ([`Stream::watch`](super::Stream::watch)): a socket that is watched can be asked while it is
//! open, and is asked once more when it is closed, within a number that the asker allows
//! ([`Watching::allow`]).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What the kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpInfo {
    /// The smoothed round trip, once there was one.
    pub round_trip: Option<Duration>,
    /// Segments with data that were sent, those sent again included. Wraps.
    pub segments: u32,
    /// Segments that were sent again. Wraps.
    pub retransmits: u32,
    /// Bytes a second that were lately delivered, unless who sends had nothing more to send.
    pub delivery_rate: Option<u64>,
    /// Microseconds in which there was something to send.
    pub busy: u64,
    /// Those of them in which neither the network nor who sends was the limit: the other side had
    /// no room, or our socket had none.
    pub held_up: u64,
}

/// What the watched sockets of a worker have in common.
#[derive(Debug, Default)]
pub struct Watching {
    /// How many may still be asked when they are closed.
    allowed: AtomicU32,
    /// Those that were closed since somebody asked, each with what was last known.
    closed: Mutex<Vec<Closed>>,
}

/// A socket that is watched.
#[derive(Debug)]
pub struct Watched {
    number: u64,
    watching: Arc<Watching>,
    /// While it is open.
    socket: Mutex<Option<RawFd>>,
}

/// The number of a socket that was closed, and what the kernel said at the end, if it was asked.
pub(crate) type Closed = (u64, Option<TcpInfo>);

/// Ends the watching of a socket when it is dropped. Belongs to the socket, before it: the socket
/// is open for as long as this is there.
#[derive(Debug)]
pub(super) struct WatchGuard {
    watched: Arc<Watched>,
}

impl Watching {
    /// Allows so many more sockets to be asked when they are closed, instead of those that were
    /// allowed before.
    pub fn allow(&self, number: u32) {
        self.allowed.store(number, Relaxed);
    }

    /// Those that were closed since this was asked last.
    pub fn take_closed(&self) -> Vec<Closed> {
        std::mem::take(&mut *lock(&self.closed))
    }
}

impl Watched {
    /// What the kernel says. `None` of one that is closed.
    pub fn info(&self) -> Option<TcpInfo> {
        let socket = lock(&self.socket);
        let socket = (*socket)?;
        // SAFETY: the guard of a socket is dropped before the socket, and cannot be while this is
        // locked.
        #[expect(unsafe_code, reason = "who watches a socket does not own it")]
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        tcp_info(socket).ok()
    }
}

impl WatchGuard {
    /// Watches a socket that is open for as long as the guard is there.
    pub(super) fn new(socket: RawFd, number: u64, watching: &Arc<Watching>) -> Self {
        Self {
            watched: Arc::new(Watched {
                number,
                watching: Arc::clone(watching),
                socket: Mutex::new(Some(socket)),
            }),
        }
    }

    pub(super) fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

impl Drop for WatchGuard {
    fn drop(&mut self) {
        let Watched {
            number,
            watching,
            socket,
        } = &*self.watched;
        let less = |allowed: u32| allowed.checked_sub(1);
        let is_allowed = watching
            .allowed
            .fetch_update(Relaxed, Relaxed, less)
            .is_ok();
        let last = is_allowed.then(|| self.watched.info()).flatten();
        *lock(socket) = None;
        lock(&watching.closed).push((*number, last));
    }
}

/// A panic elsewhere cannot leave any of this half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the kernel. Fails of a socket that is no TCP.
pub fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    Ok(ask(socket)?.read())
}

/// Whether what was sent does not arrive: it has been sent again, twice, and nothing of it has been
/// acknowledged. A reader that takes nothing is none such: it acknowledges what it was sent, and
/// where it has no room it is sent nothing. Of a socket that cannot be asked, no.
pub(super) fn is_in_vain(socket: BorrowedFd<'_>) -> bool {
    ask(socket).is_ok_and(|answer| answer.0[TIMEOUTS] >= 2 && answer.word(UNACKNOWLEDGED) > 0)
}

fn ask(socket: BorrowedFd<'_>) -> io::Result<Answer> {
    let mut answer = Answer([0; SIZE]);
    let mut length = libc::socklen_t::try_from(SIZE).unwrap_or_default();
    // SAFETY: the answer is as long as is said, and the kernel writes no more than that.
    #[expect(unsafe_code, reason = "`rustix` has no TCP_INFO")]
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            answer.0.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(answer)
}

/// `struct tcp_info` as kernels since 4.10 write it (include/uapi/linux/tcp.h): only ever added to.
/// What an older one leaves out stays zero. Libraries of C have an older form of it.
struct Answer([u8; SIZE]);

impl Answer {
    fn read(&self) -> TcpInfo {
        let round_trip = self.word(ROUND_TRIP);
        let rate = self.long(DELIVERY_RATE);
        let is_limited_by_sender = self.0[FLAGS] & APP_LIMITED != 0;
        TcpInfo {
            round_trip: (round_trip > 0).then(|| Duration::from_micros(round_trip.into())),
            segments: self.word(DATA_SEGMENTS),
            retransmits: self.word(RETRANSMITS),
            delivery_rate: (rate > 0 && !is_limited_by_sender).then_some(rate),
            busy: self.long(BUSY),
            held_up: self
                .long(HELD_UP_BY_RECEIVER)
                .saturating_add(self.long(HELD_UP_BY_BUFFER)),
        }
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.0[at..at + 4].try_into();
        bytes.map_or(0, u32::from_ne_bytes)
    }

    fn long(&self, at: usize) -> u64 {
        let bytes = self.0[at..at + 8].try_into();
        bytes.map_or(0, u64::from_ne_bytes)
    }
}

/// What is read of it.
const SIZE: usize = 192;
/// Where the bit is that says that who sends had nothing more to send; a bitfield of C begins with
/// the lowest bit on little-endian machines, and with the highest on others.
const FLAGS: usize = 7;
const APP_LIMITED: u8 = if cfg!(target_endian = "little") {
    1
} else {
    0x80
};
/// How often in a row the time for an acknowledgement has passed. One byte.
const TIMEOUTS: usize = 2;
const UNACKNOWLEDGED: usize = 24;
const ROUND_TRIP: usize = 68;
const RETRANSMITS: usize = 100;
const DATA_SEGMENTS: usize = 156;
const DELIVERY_RATE: usize = 160;
const BUSY: usize = 168;
const HELD_UP_BY_RECEIVER: usize = 176;
const HELD_UP_BY_BUFFER: usize = 184;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let near = TcpStream::connect(address).expect("it listens");
        (near, listener.accept().expect("it was asked").0)
    }

    #[test]
    fn a_connection_that_has_sent_knows_its_way() {
        let (mut near, mut far) = pair();
        for _ in 0..3 {
            near.write_all(b"x").expect("open");
            far.read_exact(&mut [0]).expect("it came");
        }
        let info = tcp_info(near.as_fd()).expect("it is TCP");
        let round_trip = info.round_trip.expect("it was answered");
        assert!(round_trip < Duration::from_secs(5), "{round_trip:?}");
        assert!((3..6).contains(&info.segments), "{info:?}");
        assert!(info.retransmits <= info.segments, "{info:?}");
    }

    #[test]
    fn a_rate_is_known_of_who_always_has_something_to_send() {
        let (mut near, mut far) = pair();
        let reader = std::thread::spawn(move || {
            let mut piece = vec![0; 256 << 10];
            while far.read(&mut piece).is_ok_and(|count| count > 0) {}
        });
        let turn = vec![7; 1 << 20];
        let rate = (0..512).find_map(|_| {
            near.write_all(&turn).expect("open");
            tcp_info(near.as_fd()).expect("it is TCP").delivery_rate
        });
        drop(near);
        reader.join().expect("no panic");
        let rate = rate.expect("half a GiB was delivered");
        // The slowest machine does more than that, and none so much.
        assert!((100_000..1 << 40).contains(&rate), "{rate} bytes a second");
    }

    #[test]
    fn who_reads_slowly_holds_the_sender_up() {
        let (mut near, mut far) = pair();
        let sender = std::thread::spawn(move || {
            near.write_all(&vec![7; 16 << 20]).expect("open");
            tcp_info(near.as_fd()).expect("it is TCP")
        });
        let mut piece = vec![0; 256 << 10];
        while far.read(&mut piece).is_ok_and(|count| count > 0) {
            #[expect(clippy::disallowed_methods, reason = "this thread is no worker")]
            std::thread::sleep(Duration::from_millis(2));
        }
        let info = sender.join().expect("no panic");
        assert!(info.busy > 0 && info.held_up > info.busy / 10, "{info:?}");
        assert!(info.held_up <= info.busy, "{info:?}");
    }

    #[test]
    fn what_is_no_tcp_says_nothing() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        assert!(tcp_info(near.as_fd()).is_err());
        assert!(!is_in_vain(near.as_fd()));
    }

    #[test]
    fn who_reads_nothing_is_not_sent_to_in_vain() {
        let (mut near, _far) = pair();
        near.set_nonblocking(true).expect("open");
        while near.write(&[7; 1 << 12]).is_ok() {}
        assert!(!is_in_vain(near.as_fd()));
    }

    #[test]
    fn a_socket_is_asked_at_its_end_if_that_is_allowed() {
        let watching = Arc::new(Watching::default());
        watching.allow(1);
        let watched: Vec<_> = (1..=2)
            .map(|number| {
                let (near, far) = pair();
                let guard = WatchGuard::new(near.as_raw_fd(), number, &watching);
                let watched = guard.watched();
                assert!(watched.info().is_some());
                drop(guard);
                drop((near, far));
                watched
            })
            .collect();
        let closed = watching.take_closed();
        assert_eq!((closed[0].0, closed[1].0), (1, 2));
        assert!(closed[0].1.is_some(), "it was allowed");
        assert!(closed[1].1.is_none(), "one too many");
        assert!(
            watched.iter().all(|one| one.info().is_none()),
            "asked when it is closed"
        );
        assert!(watching.take_closed().is_empty());
    }
}
