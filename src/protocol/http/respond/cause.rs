//! Why we answer instead of an endpoint, and the one table from cause to status.

use http::StatusCode;

use crate::snapshot::Shed;
use crate::telemetry::access::End;

/// Why a request is answered by us, or why its response could not be finished. The words and
/// statuses are RFC 9209 §2.3's; where it knows no word for what happened ([`Self::Overload`],
/// [`Self::Draining`], [`Self::RateLimited`]) or has one for several time limits, of which somebody
/// who is to change one must know which it was, the word is our own.
/// `connection_limit_reached` is about connections to an endpoint; so the limit of a route and the
/// queue have words of their own as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The name of an endpoint was not resolved in time.
    DnsTimeout,
    /// The name of an endpoint does not resolve.
    DnsError,
    /// No route takes the request.
    NoRoute,
    /// No endpoint of the upstream may be asked: none is there, or all are down.
    DestinationUnavailable,
    /// There is no way to the endpoint's address.
    DestinationIpUnroutable,
    /// The endpoint refuses connections.
    ConnectionRefused,
    /// The endpoint closed or reset the connection before its response was complete.
    ConnectionTerminated,
    /// The endpoint did not take the connection in time (`connect`).
    ConnectionTimeout,
    /// The endpoint fell silent in the middle of its response (`body_idle`).
    ConnectionReadTimeout,
    /// The endpoint stopped taking the request (`body_idle`).
    ConnectionWriteTimeout,
    /// All endpoints are at their limits.
    ConnectionLimitReached,
    /// The endpoint's certificate is not what it should be.
    TlsCertificateError,
    /// The endpoint ended the handshake.
    TlsAlertReceived,
    /// What the endpoint speaks is no TLS, or none that is taken here.
    TlsProtocolError,
    /// The endpoint took the connection, and did not finish the handshake in time (`connect`).
    TlsTimeout,
    /// The request cannot be read, or could be read in two ways.
    BadRequest,
    /// The head of the request did not arrive in time (`request_head`).
    RequestHeadTimeout,
    /// The client stopped sending the request's body (`body_idle`).
    RequestBodyTimeout,
    /// The client stopped taking the response (`body_idle`). There is nobody to tell: it is logged
    /// and counted.
    ResponseNotTaken,
    /// The method is not passed on.
    MethodNotAllowed,
    /// The target is too long.
    TargetTooLong,
    /// The fields are too large or too many.
    HeadTooLarge,
    /// The body is too large.
    BodyTooLarge,
    /// `Expect` asks for something other than `100-continue`.
    ExpectationFailed,
    /// The request was sent to a host that this connection is not for.
    Misdirected,
    /// The method or a transfer coding is not known.
    NotImplemented,
    /// The version of HTTP is not spoken.
    VersionNotSupported,
    /// A rule forbids it.
    RequestDenied,
    /// The response ended before its end.
    ResponseIncomplete,
    /// The head of the response is too large.
    ResponseHeadTooLarge,
    /// The response has a transfer coding that cannot be decoded.
    ResponseTransferCoding,
    /// The endpoint did not answer in time (`response_head`).
    ResponseTimeout,
    /// The last attempt had no response in time (`per_try_timeout`).
    TryTimeout,
    /// The request was not over in time (`request`).
    RequestTimeout,
    /// The request was not over within what its client gave it.
    DeadlineExceeded,
    /// The endpoint switched protocols otherwise than it was asked to.
    UpgradeFailed,
    /// What the endpoint sent is not HTTP, or could be read in two ways.
    ProtocolError,
    /// A bug of ours.
    Internal,
    /// The request has come through here before.
    LoopDetected,
    /// There is more to do than can be done.
    Overload,
    /// As many requests of its route are under way as may be (`max_in_flight`).
    ConcurrencyLimitReached,
    /// As many requests wait for an endpoint with room as may (`queue.size`).
    QueueFull,
    /// No endpoint had room in time (`queue.wait`).
    QueueTimeout,
    /// The instance is about to stop.
    Draining,
    /// The client asks too often.
    RateLimited,
}

/// A row of the table: word, status, title, and whether it is worth coming back soon.
type Row = (&'static str, StatusCode, &'static str, bool);

impl Cause {
    /// Every cause, in the order of the type, so that `cause as usize` is its place here: what
    /// keeps one thing for each cause needs no map.
    pub const ALL: [Self; 45] = [
        Self::DnsTimeout,
        Self::DnsError,
        Self::NoRoute,
        Self::DestinationUnavailable,
        Self::DestinationIpUnroutable,
        Self::ConnectionRefused,
        Self::ConnectionTerminated,
        Self::ConnectionTimeout,
        Self::ConnectionReadTimeout,
        Self::ConnectionWriteTimeout,
        Self::ConnectionLimitReached,
        Self::TlsCertificateError,
        Self::TlsAlertReceived,
        Self::TlsProtocolError,
        Self::TlsTimeout,
        Self::BadRequest,
        Self::RequestHeadTimeout,
        Self::RequestBodyTimeout,
        Self::ResponseNotTaken,
        Self::MethodNotAllowed,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::BodyTooLarge,
        Self::ExpectationFailed,
        Self::Misdirected,
        Self::NotImplemented,
        Self::VersionNotSupported,
        Self::RequestDenied,
        Self::ResponseIncomplete,
        Self::ResponseHeadTooLarge,
        Self::ResponseTransferCoding,
        Self::ResponseTimeout,
        Self::TryTimeout,
        Self::RequestTimeout,
        Self::DeadlineExceeded,
        Self::UpgradeFailed,
        Self::ProtocolError,
        Self::Internal,
        Self::LoopDetected,
        Self::Overload,
        Self::ConcurrencyLimitReached,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::Draining,
        Self::RateLimited,
    ];

    /// The word for it: the same in the field, the body, the log and the metrics.
    pub fn word(self) -> &'static str {
        self.row().0
    }

    /// The status that it is answered with.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// One sentence for the person who reads it.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// After how many seconds the client may ask again, where that is likely to help. `drawn` is a
    /// random number: those that are turned away at once must not come back at once.
    pub fn retry_after(self, drawn: u32) -> Option<u32> {
        let spread = match self.shed() {
            None if self == Self::DestinationUnavailable => RETRY_SPREAD,
            Some(Shed::Draining) | None => 1,
            Some(Shed::Overload | Shed::Concurrency | Shed::QueueFull | Shed::QueueTimeout) => {
                RETRY_SPREAD
            }
        };
        self.row().3.then_some(RETRY_AFTER + drawn % spread)
    }

    /// What the request was turned away for, if nothing was wrong with it, nor with an endpoint.
    pub fn shed(self) -> Option<Shed> {
        let reasons = [
            (Self::ConnectionLimitReached, Shed::Overload),
            (Self::Overload, Shed::Overload),
            (Self::ConcurrencyLimitReached, Shed::Concurrency),
            (Self::QueueFull, Shed::QueueFull),
            (Self::QueueTimeout, Shed::QueueTimeout),
            (Self::Draining, Shed::Draining),
        ];
        let found = reasons.into_iter().find(|(cause, _)| *cause == self);
        found.map(|(_, shed)| shed)
    }

    /// How a request ends that is answered for it.
    pub fn end(self) -> End {
        match self {
            Self::NoRoute => End::Ok, // asking for what is not there is answered like any other
            Self::ConnectionLimitReached
            | Self::Overload
            | Self::ConcurrencyLimitReached
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Draining => End::Shed,
            Self::DnsTimeout
            | Self::ConnectionTimeout
            | Self::ConnectionReadTimeout
            | Self::ConnectionWriteTimeout
            | Self::TlsTimeout
            | Self::RequestHeadTimeout
            | Self::RequestBodyTimeout
            | Self::ResponseNotTaken
            | Self::ResponseTimeout
            | Self::TryTimeout
            | Self::RequestTimeout
            | Self::DeadlineExceeded => End::Timeout,
            Self::BadRequest
            | Self::MethodNotAllowed
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::ExpectationFailed
            | Self::Misdirected
            | Self::NotImplemented
            | Self::VersionNotSupported
            | Self::RequestDenied
            | Self::LoopDetected
            | Self::RateLimited => End::Denied,
            Self::DnsError
            | Self::DestinationUnavailable
            | Self::DestinationIpUnroutable
            | Self::ConnectionRefused
            | Self::ConnectionTerminated
            | Self::TlsCertificateError
            | Self::TlsAlertReceived
            | Self::TlsProtocolError
            | Self::ResponseIncomplete
            | Self::ResponseHeadTooLarge
            | Self::ResponseTransferCoding
            | Self::UpgradeFailed
            | Self::ProtocolError
            | Self::Internal => End::EndpointReset,
        }
    }

    /// The cause for a request that could not be read, from the status that the parser chose.
    pub fn of_bad_request(status: StatusCode) -> Self {
        match status {
            StatusCode::REQUEST_TIMEOUT => Self::RequestHeadTimeout,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::URI_TOO_LONG => Self::TargetTooLong,
            StatusCode::EXPECTATION_FAILED => Self::ExpectationFailed,
            StatusCode::MISDIRECTED_REQUEST => Self::Misdirected,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadTooLarge,
            StatusCode::NOT_IMPLEMENTED => Self::NotImplemented,
            StatusCode::HTTP_VERSION_NOT_SUPPORTED => Self::VersionNotSupported,
            _ => Self::BadRequest,
        }
    }

    /// The table. `http_request_error` covers every fault of the client's but slowness (RFC 9209
    /// §2.3.16), and the status tells them apart. A request without a route is 404 where the RFC
    /// proposes 500: for a gateway with many hosts, asking for one that is not there is the
    /// client's mistake.
    #[rustfmt::skip]
    fn row(self) -> Row {
        match self {
            Self::DnsTimeout => ("dns_timeout", StatusCode::GATEWAY_TIMEOUT, "The service could not be looked up in time", false),
            Self::DnsError => ("dns_error", StatusCode::BAD_GATEWAY, "The service could not be looked up", false),
            Self::NoRoute => ("destination_not_found", StatusCode::NOT_FOUND, "There is nothing here", false),
            Self::DestinationUnavailable => ("destination_unavailable", StatusCode::SERVICE_UNAVAILABLE, "The service is not available", true),
            Self::DestinationIpUnroutable => ("destination_ip_unroutable", StatusCode::BAD_GATEWAY, "The service cannot be reached", false),
            Self::ConnectionRefused => ("connection_refused", StatusCode::BAD_GATEWAY, "The service refused the connection", false),
            Self::ConnectionTerminated => ("connection_terminated", StatusCode::BAD_GATEWAY, "The service closed the connection", false),
            Self::ConnectionTimeout => ("connection_timeout", StatusCode::GATEWAY_TIMEOUT, "The service did not answer in time", false),
            Self::ConnectionReadTimeout => ("connection_read_timeout", StatusCode::GATEWAY_TIMEOUT, "The service stopped answering", false),
            Self::ConnectionWriteTimeout => ("connection_write_timeout", StatusCode::GATEWAY_TIMEOUT, "The service stopped listening", false),
            Self::ConnectionLimitReached => ("connection_limit_reached", StatusCode::SERVICE_UNAVAILABLE, "The service is busy", true),
            Self::TlsCertificateError => ("tls_certificate_error", StatusCode::BAD_GATEWAY, "The service could not prove who it is", false),
            Self::TlsAlertReceived => ("tls_alert_received", StatusCode::BAD_GATEWAY, "The service refused a secure connection", false),
            Self::TlsProtocolError => ("tls_protocol_error", StatusCode::BAD_GATEWAY, "The service could not be spoken to securely", false),
            Self::TlsTimeout => ("tls_handshake_timeout", StatusCode::GATEWAY_TIMEOUT, "The service did not answer in time", false),
            Self::BadRequest => ("http_request_error", StatusCode::BAD_REQUEST, "The request is malformed", false),
            Self::RequestHeadTimeout => ("request_head_timeout", StatusCode::REQUEST_TIMEOUT, "The request did not arrive in time", false),
            Self::RequestBodyTimeout => ("request_body_timeout", StatusCode::REQUEST_TIMEOUT, "The request's content did not arrive in time", false),
            Self::ResponseNotTaken => ("response_not_taken", StatusCode::REQUEST_TIMEOUT, "The answer was not taken in time", false),
            Self::MethodNotAllowed => ("http_request_error", StatusCode::METHOD_NOT_ALLOWED, "The method is not allowed", false),
            Self::TargetTooLong => ("http_request_error", StatusCode::URI_TOO_LONG, "The address is too long", false),
            Self::HeadTooLarge => ("http_request_error", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's fields are too large", false),
            Self::BodyTooLarge => ("http_request_error", StatusCode::PAYLOAD_TOO_LARGE, "The request's content is too large", false),
            Self::ExpectationFailed => ("http_request_error", StatusCode::EXPECTATION_FAILED, "The expectation cannot be met", false),
            Self::Misdirected => ("http_request_error", StatusCode::MISDIRECTED_REQUEST, "The request came to the wrong place", false),
            Self::NotImplemented => ("http_request_error", StatusCode::NOT_IMPLEMENTED, "The request asks for something unknown", false),
            Self::VersionNotSupported => ("http_request_error", StatusCode::HTTP_VERSION_NOT_SUPPORTED, "The version of HTTP is not supported", false),
            Self::RequestDenied => ("http_request_denied", StatusCode::FORBIDDEN, "The request is not allowed", false),
            Self::ResponseIncomplete => ("http_response_incomplete", StatusCode::BAD_GATEWAY, "The service's answer broke off", false),
            Self::ResponseHeadTooLarge => ("http_response_header_section_size", StatusCode::BAD_GATEWAY, "The service's answer has too large a head", false),
            Self::ResponseTransferCoding => ("http_response_transfer_coding", StatusCode::BAD_GATEWAY, "The service's answer is encoded in an unknown way", false),
            Self::ResponseTimeout => ("http_response_timeout", StatusCode::GATEWAY_TIMEOUT, "The service did not answer in time", false),
            Self::TryTimeout => ("try_timeout", StatusCode::GATEWAY_TIMEOUT, "The service did not answer in time", false),
            Self::RequestTimeout => ("request_timeout", StatusCode::GATEWAY_TIMEOUT, "The request took too long", false),
            Self::DeadlineExceeded => ("deadline_exceeded", StatusCode::GATEWAY_TIMEOUT, "The request took longer than it was given", false),
            Self::UpgradeFailed => ("http_upgrade_failed", StatusCode::BAD_GATEWAY, "The service did not switch protocols as asked", false),
            Self::ProtocolError => ("http_protocol_error", StatusCode::BAD_GATEWAY, "The service's answer is malformed", false),
            Self::Internal => ("proxy_internal_error", StatusCode::INTERNAL_SERVER_ERROR, "The proxy made a mistake", false),
            Self::LoopDetected => ("proxy_loop_detected", StatusCode::BAD_GATEWAY, "The request went in a circle", false),
            Self::Overload => ("overload", StatusCode::SERVICE_UNAVAILABLE, "There is too much to do at the moment", true),
            Self::ConcurrencyLimitReached => ("concurrency_limit_reached", StatusCode::SERVICE_UNAVAILABLE, "There is too much to do at the moment", true),
            Self::QueueFull => ("queue_full", StatusCode::SERVICE_UNAVAILABLE, "There is too much to do at the moment", true),
            Self::QueueTimeout => ("queue_timeout", StatusCode::SERVICE_UNAVAILABLE, "There is too much to do at the moment", true),
            Self::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE, "This instance is about to stop", true),
            Self::RateLimited => ("rate_limited", StatusCode::TOO_MANY_REQUESTS, "There were too many requests", true),
        }
    }
}

/// One second: what is short passes by then, and what is long is checked about that often.
const RETRY_AFTER: u32 = 1;

/// Seconds, of which each has its share of those that are turned away: one to three.
const RETRY_SPREAD: u32 = 3;
