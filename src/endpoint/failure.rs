//! Why a connection to an endpoint could not be made, and whose fault that is.

use std::io;

use rustix::io::Errno;

use crate::tls;

/// Why a connection could not be made. The words are RFC 9209's (section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens there.
    Refused,
    /// No answer within the limit.
    TimedOut,
    /// The endpoint ended the connection before a byte of a response.
    Terminated,
    /// There is no way to that address.
    Unroutable,
    /// Anything else that the endpoint's side is to blame for: a missing Unix socket,
    /// a full backlog.
    Unavailable,
    /// The endpoint's certificate is not what it should be.
    TlsCertificate,
    /// The endpoint's certificate is for somebody else.
    TlsName,
    /// The endpoint ended the handshake: what we said or showed is not enough for it.
    TlsAlert,
    /// What the endpoint said is no TLS, or none that is taken here.
    TlsProtocol,
    /// The connection stood, and the handshake on it was not over in time.
    TlsTimedOut,
    /// We have run out of something: descriptors, local ports, memory; or this machine does not let
    /// us.
    Ours,
}

impl ConnectFailure {
    /// Every failure, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::TimedOut,
        Self::Terminated,
        Self::Unroutable,
        Self::Unavailable,
        Self::TlsCertificate,
        Self::TlsName,
        Self::TlsAlert,
        Self::TlsProtocol,
        Self::TlsTimedOut,
        Self::Ours,
    ];

    /// What an error of the operating system, or of a handshake, means.
    pub fn of(error: &io::Error) -> Self {
        if let Some(failure) = tls::Failure::of(error) {
            return failure.into();
        }
        if let Some(errno) = Errno::from_io_error(error)
            && OURS.contains(&errno)
        {
            return Self::Ours;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => Self::Terminated,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::Unroutable,
            _ => Self::Unavailable, // the kinds are open-ended; what we cause is listed above
        }
    }

    /// What a connection that did not come about in time failed of: the handshake, if it stood.
    pub fn timed_out(stood: bool) -> Self {
        if stood {
            Self::TlsTimedOut
        } else {
            Self::TimedOut
        }
    }

    /// Whether it is that time ran out.
    pub fn is_timeout(self) -> bool {
        matches!(self, Self::TimedOut | Self::TlsTimedOut)
    }

    /// The word of RFC 9209, or our own where that has none.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "connection_refused",
            Self::TimedOut => "connection_timeout",
            Self::Terminated => "connection_terminated",
            Self::Unroutable => "destination_ip_unroutable",
            Self::Unavailable => "destination_unavailable",
            Self::TlsCertificate | Self::TlsName => "tls_certificate_error",
            Self::TlsAlert => "tls_alert_received",
            Self::TlsProtocol => "tls_protocol_error",
            Self::TlsTimedOut => "tls_handshake_timeout",
            Self::Ours => "proxy_internal_error",
        }
    }

    /// Whether no connection stood.
    pub fn is_before_it_stood(self) -> bool {
        match self {
            Self::Refused | Self::TimedOut | Self::Unroutable | Self::Unavailable => true,
            Self::Terminated
            | Self::TlsCertificate
            | Self::TlsName
            | Self::TlsAlert
            | Self::TlsProtocol
            | Self::TlsTimedOut
            | Self::Ours => false,
        }
    }

    /// Whether the cause is on our side, so that it says nothing about the endpoint.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Ours)
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl From<tls::Failure> for ConnectFailure {
    fn from(failure: tls::Failure) -> Self {
        match failure {
            tls::Failure::Certificate => Self::TlsCertificate,
            tls::Failure::Name => Self::TlsName,
            tls::Failure::Alert => Self::TlsAlert,
            tls::Failure::Protocol => Self::TlsProtocol,
        }
    }
}

/// What the kernel says when this process or machine has run out of something, or forbids it.
const OURS: [Errno; 6] = [
    Errno::MFILE,
    Errno::NFILE,
    Errno::NOMEM,
    Errno::NOBUFS,
    Errno::ADDRNOTAVAIL, // no local port is left towards that address
    Errno::PERM,         // its firewall, or its table of connections is full
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_run_out_of_is_not_the_endpoints_fault() {
        for errno in OURS {
            let failure = ConnectFailure::of(&io::Error::from(errno));
            assert!(failure.is_ours(), "{errno:?} counts as {failure:?}");
        }
        for errno in [
            Errno::CONNREFUSED,
            Errno::TIMEDOUT,
            Errno::HOSTUNREACH,
            Errno::NOENT,
        ] {
            assert!(!ConnectFailure::of(&io::Error::from(errno)).is_ours());
        }
    }

    #[test]
    fn errors_have_the_words_of_rfc_9209() {
        let word = |errno| ConnectFailure::of(&io::Error::from(errno)).as_str();
        assert_eq!(word(Errno::CONNREFUSED), "connection_refused");
        assert_eq!(word(Errno::TIMEDOUT), "connection_timeout");
        assert_eq!(word(Errno::CONNRESET), "connection_terminated");
        assert_eq!(word(Errno::NETUNREACH), "destination_ip_unroutable");
        assert_eq!(word(Errno::AGAIN), "destination_unavailable");
    }

    #[test]
    fn the_index_is_the_place_in_all() {
        for (place, failure) in ConnectFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure.index(), place);
        }
    }
}
