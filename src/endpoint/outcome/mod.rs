//! How attempts at an endpoint end, and which of these ends count against it.
//!
//! Problem: an endpoint fails in many ways (it refuses, resets, hangs, answers 500, ends calls of
//! gRPC with UNAVAILABLE), and each is seen somewhere else. Were each place to decide what that
//! says about the endpoint, no two would agree. So they tell what happened, as an [`Outcome`], to
//! [`Endpoint::learn`](super::Endpoint::learn), and [`Blame`] alone says what is a failure.
//!
//! What a client caused is no outcome at all: its body broke off, it left, it asked for a name that
//! the endpoint has no certificate for. Neither is what we caused ([`ConnectFailure::is_ours`]).
//! That nothing came counts only where there was a [`FAIR`] time for it.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::ConnectFailure;

/// How an attempt at an endpoint ended, as far as that says something about the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The head of a response came.
    Answered {
        /// Its status.
        status: StatusCode,
        /// From the request's being sent to the first byte; `None` where the answer began before
        /// that: it waited for nothing that could be measured.
        took: Option<Duration>,
        /// How long the endpoint asks to be left alone (RFC 9110 §10.2.3), where it says so with
        /// 429 or 503.
        retry_after: Option<Duration>,
        /// Whether that was all. If not, how the rest ends is told as well: by
        /// [`Outcome::Ended`], [`Outcome::GrpcEnded`] or [`Outcome::CutShort`].
        is_whole: bool,
    },
    /// What followed a head was received as it should be.
    Ended,
    /// A call of gRPC whose response had begun ended with this status.
    GrpcEnded(u8),
    /// What followed a head broke off, or was no message.
    CutShort,
    /// What followed a head stopped coming, for a [fair](FAIR) time.
    FellSilent,
    /// It proved to be well in a way that has no status: a session of TCP ended after bytes had
    /// passed, a datagram was answered.
    Proved,
    /// No connection could be made; or a new one ended before a byte of the response.
    NoConnection(ConnectFailure),
    /// It broke off before or within the head of the response, or that is no message.
    Broken,
    /// It did not take the request, or did not answer, for a [fair](FAIR) time.
    TimedOut,
    /// Its client left when it had brought no answer for a [fair](FAIR) time: it is given less for
    /// a while, but no client can have it taken out.
    Abandoned,
}

/// What is a failure of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blame {
    /// A bit for each status from 100 to 611.
    statuses: [u64; 8],
    /// Whether a status counts even where it says when to come again.
    is_strict: bool,
    /// A bit for each status of gRPC.
    grpc: u32,
    /// What counts besides answers.
    ends: Ends,
    /// Failures in a row with which the endpoint is told to the control plane; `u32::MAX`: never.
    pub row: u32,
}

/// Which ends of attempts are failures that brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// No connection, or one that ended before a byte of the first response.
    pub connect: bool,
    /// What broke off, or is no message.
    pub reset: bool,
    /// What did not come in a fair time.
    pub timeout: bool,
}

/// A failure that counts against an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A response with this status.
    Status(u16),
    /// A call of gRPC that ended with this status.
    Grpc(u8),
    /// No connection.
    Connect(ConnectFailure),
    /// It broke off.
    Broken,
    /// It took too long.
    TimedOut,
}

impl Outcome {
    /// A response that came at once, and whole.
    pub fn answered(status: StatusCode) -> Self {
        Self::Answered {
            status,
            took: Some(Duration::ZERO),
            retry_after: None,
            is_whole: true,
        }
    }

    /// When the attempt began that ends now, as far as that is known.
    pub(super) fn began(self, now: Instant) -> Option<Instant> {
        if let Self::Answered { took, .. } = self {
            now.checked_sub(took?)
        } else {
            None
        }
    }

    /// Why it counts against the endpoint, if it does.
    pub fn fault(self, blame: &Blame) -> Option<Fault> {
        match self {
            Self::Answered {
                status,
                retry_after,
                ..
            } => (blame.has_status(status.as_u16()) && (blame.is_strict || retry_after.is_none()))
                .then(|| Fault::Status(status.as_u16())),
            Self::GrpcEnded(code) => blame.has_grpc(code).then_some(Fault::Grpc(code)),
            Self::CutShort | Self::Broken => blame.ends.reset.then_some(Fault::Broken),
            Self::NoConnection(failure) => {
                let counts = blame.ends.connect && !failure.is_ours();
                counts.then_some(Fault::Connect(failure))
            }
            Self::TimedOut | Self::FellSilent => blame.ends.timeout.then_some(Fault::TimedOut),
            Self::Ended | Self::Proved | Self::Abandoned => None,
        }
    }
}

impl Outcome {
    /// Whether the endpoint turned a request away because it has too much to do, and for how long
    /// it asks to be left alone (zero: it does not say). That is no failure, nor a sign that it is
    /// well, and less of the load is due to it.
    #[inline]
    pub fn sheds(self) -> Option<Duration> {
        match self {
            Self::Answered {
                status,
                retry_after,
                ..
            } => match status {
                // It is this client that is to come later (RFC 6585 §4).
                StatusCode::TOO_MANY_REQUESTS => Some(Duration::ZERO),
                _ => retry_after,
            },
            Self::GrpcEnded(code) => (code == RESOURCE_EXHAUSTED).then_some(Duration::ZERO),
            Self::Ended
            | Self::CutShort
            | Self::FellSilent
            | Self::Proved
            | Self::NoConnection(_)
            | Self::Broken
            | Self::TimedOut
            | Self::Abandoned => None,
        }
    }

    /// Whether an attempt that did not fail is over.
    #[inline]
    pub(super) fn is_good_news(self) -> bool {
        match self {
            Self::Answered { is_whole, .. } => is_whole,
            Self::Ended | Self::GrpcEnded(_) | Self::Proved => true,
            Self::CutShort
            | Self::FellSilent
            | Self::NoConnection(_)
            | Self::Broken
            | Self::TimedOut
            | Self::Abandoned => false,
        }
    }
}

impl Blame {
    /// What counts where nothing is written. `row` as in [`Blame::row`].
    ///
    /// Of HTTP every 5xx but 501, 505, 506, 510 and 511, which say that the request asks for what
    /// the server does not do, and those that say when to come again: they shed load, and are given
    /// less of it by the balancer. For the same reason 429 is none. Of gRPC `UNKNOWN` (which
    /// servers make of what they did not catch), `INTERNAL`, `UNAVAILABLE` and `DATA_LOSS`; not
    /// `DEADLINE_EXCEEDED`, since it is the client that chooses the deadline, nor
    /// `RESOURCE_EXHAUSTED`, which sheds.
    pub fn usual(row: u32) -> Self {
        let statuses = (500..=599).filter(|status| !OF_THE_REQUEST.contains(status));
        Self {
            is_strict: false,
            ..Self::of(row, statuses, GRPC)
        }
    }

    /// These statuses, even where they say when to come again, and these of gRPC.
    pub fn of(
        row: u32,
        statuses: impl IntoIterator<Item = u16>,
        grpc: impl IntoIterator<Item = u8>,
    ) -> Self {
        let mut blame = Self {
            statuses: [0; 8],
            is_strict: true,
            grpc: 0,
            ends: Ends::ALL,
            row,
        };
        for status in statuses {
            if let Some((word, bit)) = place(status) {
                blame.statuses[word] |= bit;
            }
        }
        for code in grpc {
            blame.grpc |= 1_u32.checked_shl(u32::from(code)).unwrap_or(0);
        }
        blame
    }

    /// The same, with other statuses of HTTP.
    #[must_use]
    pub fn with_statuses(self, statuses: impl IntoIterator<Item = u16>) -> Self {
        let other = Self::of(self.row, statuses, []);
        Self {
            grpc: self.grpc,
            ends: self.ends,
            ..other
        }
    }

    /// The same, with other statuses of gRPC.
    #[must_use]
    pub fn with_grpc(self, grpc: impl IntoIterator<Item = u8>) -> Self {
        Self {
            grpc: Self::of(self.row, [], grpc).grpc,
            ..self
        }
    }

    /// The same, with other ends that brought no answer.
    #[must_use]
    pub fn with_ends(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }

    #[inline]
    fn has_status(&self, status: u16) -> bool {
        place(status).is_some_and(|(word, bit)| self.statuses[word] & bit != 0)
    }

    fn has_grpc(&self, code: u8) -> bool {
        self.grpc.checked_shr(u32::from(code)).unwrap_or(0) & 1 == 1
    }
}

impl Ends {
    /// All of them.
    pub const ALL: Self = Self {
        connect: true,
        reset: true,
        timeout: true,
    };
}

impl Fault {
    /// Whether no connection stood: what a probe that connects can refute. Of one that stood and
    /// died, or with whom no TLS could be spoken, it says nothing.
    pub fn is_connection(self) -> bool {
        match self {
            Self::Connect(failure) => failure.is_before_it_stood(),
            Self::Status(_) | Self::Grpc(_) | Self::Broken | Self::TimedOut => false,
        }
    }

    /// In one word, so that an atomic holds it. Never 0.
    pub(super) fn pack(self) -> u32 {
        match self {
            Self::Status(status) => 1 << 16 | u32::from(status),
            Self::Grpc(code) => 2 << 16 | u32::from(code),
            Self::Connect(failure) => 3 << 16 | failure as u32,
            Self::Broken => 4 << 16,
            Self::TimedOut => 5 << 16,
        }
    }

    /// The inverse; `None` of 0.
    pub(super) fn unpack(word: u32) -> Option<Self> {
        let low = (word & 0xffff) as u16;
        match word >> 16 {
            1 => Some(Self::Status(low)),
            2 => Some(Self::Grpc(low.to_le_bytes()[0])),
            3 => ConnectFailure::ALL
                .get(usize::from(low))
                .map(|failure| Self::Connect(*failure)),
            4 => Some(Self::Broken),
            5 => Some(Self::TimedOut),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(code) => write!(f, "gRPC status {code}"),
            Self::Connect(failure) => f.write_str(failure.as_str()),
            Self::Broken => f.write_str("a response that broke off"),
            Self::TimedOut => f.write_str("no response in time"),
        }
    }
}

/// Where a status stands among the bits.
#[inline]
fn place(status: u16) -> Option<(usize, u64)> {
    let offset = status.checked_sub(100)?;
    let word = usize::from(offset >> 6);
    (word < 8).then_some((word, 1 << (offset & 63)))
}

/// What an endpoint may take before that it has taken so long says something about it, whoever set
/// the limit that passed: any client may set a short one, and slow uploads, our own queue or an
/// attempt before may leave little of a long one. A packet that was lost has been repeated by then.
pub const FAIR: Duration = Duration::from_secs(1);

/// Statuses of servers that say: not for such a request.
const OF_THE_REQUEST: [u16; 5] = [501, 505, 506, 510, 511];

/// `UNKNOWN`, `INTERNAL`, `UNAVAILABLE`, `DATA_LOSS`.
const GRPC: [u8; 4] = [2, 13, 14, 15];

/// With which a call of gRPC is turned away.
const RESOURCE_EXHAUSTED: u8 = 8;

#[cfg(test)]
mod tests;
