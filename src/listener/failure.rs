//! What an error of `accept` means for the loop around it.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::time::Backoff;

/// What an error of `accept` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The queue is empty.
    Empty,
    /// One connection was lost on its way; the next may be fine.
    Lost,
    /// The machine or the process is short of something: the connection stays in the queue, and
    /// asking again at once would only burn the processor.
    Short,
}

/// A time in which nothing can be accepted.
#[derive(Debug)]
pub(super) struct Shortage {
    backoff: Backoff,
    lasting: bool,
}

impl Failure {
    pub(super) fn of(error: &io::Error) -> Self {
        // accept(2): Linux passes on errors that are already pending on the new connection.
        const LOST: [Errno; 11] = [
            Errno::CONNABORTED,
            Errno::INTR,
            Errno::PROTO,
            Errno::NETDOWN,
            Errno::NOPROTOOPT,
            Errno::HOSTDOWN,
            Errno::NONET,
            Errno::HOSTUNREACH,
            Errno::OPNOTSUPP,
            Errno::NETUNREACH,
            Errno::PERM, // a firewall rule
        ];
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::Empty;
        }
        match Errno::from_io_error(error) {
            Some(errno) if LOST.contains(&errno) => Self::Lost,
            // EMFILE, ENFILE, ENOBUFS, ENOMEM, and whatever else does not pass by itself.
            Some(_) | None => Self::Short,
        }
    }
}

impl Shortage {
    pub(super) fn new() -> Self {
        Self {
            backoff: Backoff::new(FIRST_DELAY, LONGEST_DELAY),
            lasting: false,
        }
    }

    /// A further failure: how long to wait, and whether it is the first of this shortage.
    pub(super) fn failed(&mut self, random: &mut fastrand::Rng) -> (Duration, bool) {
        let first = !self.lasting;
        self.lasting = true;
        (self.backoff.delay(random), first)
    }

    /// A connection was accepted: whether that ends a shortage.
    pub(super) fn passed(&mut self) -> bool {
        if self.lasting {
            self.backoff.reset();
        }
        std::mem::take(&mut self.lasting)
    }
}

/// Short enough that a client does not notice one.
const FIRST_DELAY: Duration = Duration::from_millis(5);
/// Long enough to cost nothing, short enough to be back soon after files are free again.
const LONGEST_DELAY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{FIRST_DELAY, Failure, LONGEST_DELAY, Shortage};

    #[test]
    fn errors_of_one_connection_are_not_shortages() {
        let of = |errno: Errno| Failure::of(&errno.into());
        assert_eq!(of(Errno::AGAIN), Failure::Empty);
        assert_eq!(of(Errno::CONNABORTED), Failure::Lost);
        assert_eq!(of(Errno::PERM), Failure::Lost);
        for short in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOBUFS,
            Errno::NOMEM,
            Errno::INVAL,
        ] {
            assert_eq!(of(short), Failure::Short, "{short:?}");
        }
        assert_eq!(
            Failure::of(&io::ErrorKind::ConnectionAborted.into()),
            Failure::Short
        );
    }

    #[test]
    fn a_shortage_is_told_once_and_waited_for_ever_longer() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut shortage = Shortage::new();
        assert!(!shortage.passed(), "nothing had failed");
        let (delay, first) = shortage.failed(&mut random);
        assert!(first && delay <= FIRST_DELAY);
        let mut last = delay;
        for _ in 0..20 {
            let (delay, first) = shortage.failed(&mut random);
            assert!(!first, "told twice");
            last = delay;
        }
        assert!(
            last >= LONGEST_DELAY / 2 && last <= LONGEST_DELAY,
            "{last:?}"
        );
        assert!(shortage.passed(), "it is over");
        let (delay, first) = shortage.failed(&mut random);
        assert!(first && delay <= FIRST_DELAY, "the next one starts afresh");
    }
}
