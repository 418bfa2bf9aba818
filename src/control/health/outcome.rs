//! How a probe ended, in words.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};

use super::grpc::Reply;
use crate::endpoint::{CheckResult, ConnectFailure, ProbeResult};
use crate::upstream::{HttpProbe, Statuses};

/// How one probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A connection was accepted, which was all that was asked.
    Connected,
    /// An answer came.
    Answered {
        /// What was asked.
        question: Question,
        /// What was answered.
        status: StatusCode,
        /// What would have been good; `None` if it was.
        expected: Option<Statuses>,
    },
    /// The gRPC health service told a state.
    Served {
        /// Which service was asked about; empty is all of the server.
        service: String,
        /// What was said of it.
        reply: Reply,
    },
    /// A datagram was answered, as expected or not.
    Replied {
        /// Bytes of the answer.
        length: usize,
        /// Whether it held what was expected.
        is_expected: bool,
    },
    /// No connection.
    NotConnected(ConnectFailure, String),
    /// No connection in time.
    NoConnectionWithin(Duration),
    /// A connection, but no answer in time.
    NoAnswerWithin(Duration),
    /// A connection, but no answer that is HTTP.
    NoAnswer(String),
}

/// A request in two words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    method: Method,
    target: String,
}

impl Question {
    pub(super) fn of(probe: &HttpProbe) -> Self {
        Self {
            method: probe.method.clone(),
            target: probe.target.to_string(),
        }
    }
}

impl Outcome {
    /// What it says about the endpoint; `None` if nothing, since the fault is ours.
    pub(super) fn verdict(&self) -> Option<ProbeResult> {
        match self {
            Self::Connected
            | Self::Answered { expected: None, .. }
            | Self::Served {
                reply: Reply::Serving,
                ..
            }
            | Self::Replied {
                is_expected: true, ..
            } => Some(ProbeResult::Passed),
            Self::NotConnected(failure, _) if failure.is_ours() => None,
            Self::Answered { .. }
            | Self::Served { .. }
            | Self::Replied { .. }
            | Self::NotConnected(..)
            | Self::NoConnectionWithin(_)
            | Self::NoAnswerWithin(_)
            | Self::NoAnswer(_) => Some(ProbeResult::Failed),
        }
    }

    /// How it is counted.
    pub(super) fn counted(&self) -> CheckResult {
        match self {
            Self::Connected
            | Self::Answered { expected: None, .. }
            | Self::Served {
                reply: Reply::Serving,
                ..
            }
            | Self::Replied {
                is_expected: true, ..
            } => CheckResult::Passed,
            Self::Answered { .. } | Self::Served { .. } => CheckResult::BadStatus,
            Self::NotConnected(..) => CheckResult::ConnectFailed,
            Self::NoConnectionWithin(_) | Self::NoAnswerWithin(_) => CheckResult::TimedOut,
            Self::NoAnswer(_) | Self::Replied { .. } => CheckResult::BadAnswer,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("a connection was accepted"),
            Self::Answered {
                question,
                status,
                expected,
            } => {
                let status = status.as_u16();
                write!(
                    f,
                    "{} {} answered {status}",
                    question.method, question.target
                )?;
                match expected {
                    Some(expected) => write!(f, ", expected {expected}"),
                    None => Ok(()),
                }
            }
            Self::Served { service, reply } => {
                f.write_str("grpc.health.v1.Health/Check")?;
                if !service.is_empty() {
                    write!(f, " of {service}")?;
                }
                write!(f, " answered {reply}")?;
                match reply {
                    Reply::Serving => Ok(()),
                    _ => f.write_str(", expected SERVING"),
                }
            }
            Self::Replied {
                length,
                is_expected,
            } => {
                let other = if *is_expected {
                    ""
                } else {
                    ", not as expected"
                };
                write!(f, "answered with {length} bytes{other}")
            }
            Self::NotConnected(ConnectFailure::Refused, _) => f.write_str("connection refused"),
            Self::NotConnected(_, error) => write!(f, "no connection: {error}"),
            Self::NoConnectionWithin(limit) => write!(f, "no connection within {limit:?}"),
            Self::NoAnswerWithin(limit) => write!(f, "no answer within {limit:?}"),
            Self::NoAnswer(error) => write!(f, "no answer: {error}"),
        }
    }
}
