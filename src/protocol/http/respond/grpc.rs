//! Answers of our own to calls of gRPC: a head that is its own trailers.
//!
//! A client of gRPC does not look for a status of HTTP or for a page: what it hands to its program
//! is `grpc-status` and `grpc-message`. So both say the cause, and `Proxy-Status` and the request
//! id stay where they are.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::{Asked, Cause, PROXY_STATUS, set_request_id};
use crate::body::Body;
use crate::policy::grpc::{Code, message};

/// The answer to a call of gRPC for a cause, with this status.
pub fn respond_grpc(cause: Cause, code: Code, asked: &Asked<'_>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    set_status(headers, cause, code);
    headers.insert(&PROXY_STATUS, asked.proxy_status(cause));
    set_request_id(headers, asked.request_id);
    response
}

/// What ends a call of gRPC whose response had begun.
pub fn grpc_trailers(cause: Cause, code: Code) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    set_status(&mut trailers, cause, code);
    trailers
}

fn set_status(fields: &mut HeaderMap, cause: Cause, code: Code) {
    fields.insert(&STATUS, HeaderValue::from_static(code.number()));
    let text = message(&format!("{} ({})", cause.title(), cause.word()));
    if let Ok(text) = HeaderValue::from_str(&text) {
        fields.insert(&MESSAGE, text);
    }
}

impl Cause {
    /// The status of gRPC that says it. Where a client would read one from our status of HTTP
    /// (`http-grpc-status-mapping.md`), it is that, but for what took too long: an endpoint that
    /// was asked may have done it, so the call is not `UNAVAILABLE`, which means that it may be
    /// made again.
    pub fn grpc(self) -> Code {
        match self {
            Self::DnsTimeout
            | Self::DnsError
            | Self::DestinationUnavailable
            | Self::DestinationIpUnroutable
            | Self::ConnectionRefused
            | Self::ConnectionTerminated
            | Self::ConnectionTimeout
            | Self::ConnectionLimitReached
            | Self::TlsCertificateError
            | Self::TlsAlertReceived
            | Self::TlsProtocolError
            | Self::TlsTimeout
            | Self::ResponseIncomplete
            | Self::Misdirected
            | Self::Overload
            | Self::ConcurrencyLimitReached
            | Self::QueueFull
            | Self::QueueTimeout
            | Self::Draining
            | Self::RateLimited => Code::Unavailable,
            Self::ConnectionReadTimeout
            | Self::ConnectionWriteTimeout
            | Self::RequestHeadTimeout
            | Self::RequestBodyTimeout
            | Self::ResponseNotTaken
            | Self::ResponseTimeout
            | Self::TryTimeout
            | Self::RequestTimeout
            | Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::NoRoute
            | Self::MethodNotAllowed
            | Self::NotImplemented
            | Self::VersionNotSupported => Code::Unimplemented,
            Self::RequestDenied => Code::PermissionDenied,
            Self::BadRequest
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::BodyTooLarge
            | Self::ExpectationFailed
            | Self::ResponseHeadTooLarge
            | Self::ResponseTransferCoding
            | Self::UpgradeFailed
            | Self::ProtocolError
            | Self::Internal
            | Self::LoopDetected => Code::Internal,
        }
    }
}

static STATUS: HeaderName = HeaderName::from_static("grpc-status");
static MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_head_alone() {
        let response = respond_grpc(
            Cause::DestinationUnavailable,
            Code::Unavailable,
            &Asked::default(),
        );
        assert_eq!(response.status(), 200);
        let field = |name: &str| response.headers()[name].to_str().unwrap();
        assert_eq!(field("content-type"), "application/grpc");
        assert_eq!(field("grpc-status"), "14");
        assert_eq!(
            field("grpc-message"),
            "The service is not available (destination_unavailable)"
        );
        assert!(field("proxy-status").contains("destination_unavailable"));
    }

    /// Where gRPC's own table has the status of HTTP, a client is told the same as it would read
    /// there; the exceptions are the ones that the mapping names.
    #[test]
    fn statuses_are_those_that_clients_would_read() {
        for cause in Cause::ALL {
            let read = Code::of_http(cause.status());
            let told = cause.grpc();
            assert_ne!(told, Code::Ok);
            assert_ne!(told, Code::Unknown, "{cause:?}");
            let is_late = told == Code::DeadlineExceeded;
            let is_strange = told == Code::Internal && read == Code::Unavailable;
            let same = told == read || read == Code::Unknown;
            assert!(same || is_late || is_strange, "{cause:?}");
        }
    }
}
