//! Why a session failed, in the words of RFC 9209. A type of its own, since a session that rests
//! keeps it: a word would take eight times as much.

use crate::endpoint::ConnectFailure;
use crate::snapshot::Denial;
use crate::upstream::PickError;

/// Why a session failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There was nobody to go to, or is no longer.
    NoEndpoint,
    /// Everybody was at his limit.
    LimitReached,
    /// The endpoint could not be connected, or broke the connection.
    Failed(ConnectFailure),
    /// It was going where it may not.
    Denied(Denial),
    /// Nothing moved for too long.
    Idle,
    /// Nothing moved at all.
    Silence,
    /// It lasted for too long.
    MaxAge,
}

impl Cause {
    /// The word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NoEndpoint => "destination_unavailable",
            Self::LimitReached => "connection_limit_reached",
            Self::Failed(failure) => failure.as_str(),
            Self::Denied(refusal) => refusal.error(),
            Self::Idle => "tunnel_idle_timeout",
            Self::Silence => "first_byte_timeout",
            Self::MaxAge => "tunnel_max_age",
        }
    }
}

impl From<PickError> for Cause {
    fn from(error: PickError) -> Self {
        match error {
            PickError::NoEndpoints => Self::NoEndpoint,
            PickError::AllAtLimit => Self::LimitReached,
        }
    }
}
