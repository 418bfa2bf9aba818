//! How health checks end, as they are counted.

/// How a health check ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckResult {
    /// As expected.
    Passed,
    /// No connection.
    ConnectFailed,
    /// No answer in time.
    TimedOut,
    /// An answer that is no HTTP, or a connection that ended before one.
    BadAnswer,
    /// An answer with a status that was not expected.
    BadStatus,
}

impl CheckResult {
    pub(super) const ALL: [Self; 5] = [
        Self::Passed,
        Self::ConnectFailed,
        Self::TimedOut,
        Self::BadAnswer,
        Self::BadStatus,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::ConnectFailed => "connect_failed",
            Self::TimedOut => "timed_out",
            Self::BadAnswer => "bad_answer",
            Self::BadStatus => "bad_status",
        }
    }
}
