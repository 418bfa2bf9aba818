use http::{HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;
use crate::policy::RequestId;
use crate::snapshot::Shed;
use crate::telemetry::access::End;

fn answer(cause: Cause, accept: &str, id: &str) -> (Response<Body>, String) {
    let accept = HeaderValue::from_str(accept).unwrap();
    let id = HeaderValue::from_str(id).unwrap();
    let id = RequestId::of(Value::from(&id)).unwrap();
    let asked = Asked {
        accept: Some(Value::from(&accept)),
        request_id: Some(&id),
        details: None,
        is_final: false,
        drawn: 0,
    };
    let mut response = respond(cause, &asked);
    let body = response.body_mut().take_full().unwrap();
    (response, String::from_utf8(body.to_vec()).unwrap())
}

fn content_type(accept: &str) -> String {
    let (response, _) = answer(Cause::Overload, accept, "x");
    response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned()
}

#[test]
fn the_table_has_the_statuses_of_rfc_9209() {
    // RFC 9209 §2.3, the recommended statuses; 404 and the 4xx of http_request_error
    // are our choice.
    for (cause, word, status) in [
        (Cause::DnsTimeout, "dns_timeout", 504),
        (Cause::DnsError, "dns_error", 502),
        (Cause::NoRoute, "destination_not_found", 404),
        (
            Cause::DestinationUnavailable,
            "destination_unavailable",
            503,
        ),
        (
            Cause::DestinationIpUnroutable,
            "destination_ip_unroutable",
            502,
        ),
        (Cause::ConnectionRefused, "connection_refused", 502),
        (Cause::ConnectionTerminated, "connection_terminated", 502),
        (Cause::ConnectionTimeout, "connection_timeout", 504),
        (Cause::ConnectionReadTimeout, "connection_read_timeout", 504),
        (
            Cause::ConnectionWriteTimeout,
            "connection_write_timeout",
            504,
        ),
        (
            Cause::ConnectionLimitReached,
            "connection_limit_reached",
            503,
        ),
        (Cause::RequestDenied, "http_request_denied", 403),
        (Cause::ResponseIncomplete, "http_response_incomplete", 502),
        (
            Cause::ResponseHeadTooLarge,
            "http_response_header_section_size",
            502,
        ),
        (
            Cause::ResponseTransferCoding,
            "http_response_transfer_coding",
            502,
        ),
        (Cause::ResponseTimeout, "http_response_timeout", 504),
        (Cause::TryTimeout, "try_timeout", 504),
        (Cause::RequestTimeout, "request_timeout", 504),
        (Cause::DeadlineExceeded, "deadline_exceeded", 504),
        (Cause::TlsTimeout, "tls_handshake_timeout", 504),
        (Cause::RequestHeadTimeout, "request_head_timeout", 408),
        (Cause::RequestBodyTimeout, "request_body_timeout", 408),
        (Cause::ResponseNotTaken, "response_not_taken", 408),
        (Cause::UpgradeFailed, "http_upgrade_failed", 502),
        (Cause::ProtocolError, "http_protocol_error", 502),
        (Cause::Internal, "proxy_internal_error", 500),
        (Cause::LoopDetected, "proxy_loop_detected", 502),
        (Cause::Overload, "overload", 503),
        (
            Cause::ConcurrencyLimitReached,
            "concurrency_limit_reached",
            503,
        ),
        (Cause::QueueFull, "queue_full", 503),
        (Cause::QueueTimeout, "queue_timeout", 503),
        (Cause::Draining, "draining", 503),
        (Cause::RateLimited, "rate_limited", 429),
    ] {
        assert_eq!((cause.word(), cause.status().as_u16()), (word, status));
    }
}

#[test]
fn all_causes_are_listed_in_their_order() {
    for (place, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, place, "{cause:?}");
    }
    assert_eq!(
        Cause::ALL.len(),
        Cause::RateLimited as usize + 1,
        "RateLimited is the last"
    );
}

#[test]
fn every_answer_carries_what_it_must() {
    for cause in Cause::ALL {
        let (response, body) = answer(cause, "text/plain", "4f1c");
        let headers = response.headers();
        assert_eq!(response.status(), cause.status());
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-request-id"], "4f1c");
        let expected = format!("evenkeel; error={}", cause.word());
        assert_eq!(headers["proxy-status"], expected.as_str());
        let again = matches!(response.status().as_u16(), 429 | 503);
        assert_eq!(headers.contains_key("retry-after"), again, "{cause:?}");
        assert_eq!(
            headers.contains_key("allow"),
            cause == Cause::MethodNotAllowed,
            "RFC 9110 §15.5.6"
        );
        let (status, title, word) = (cause.status().as_u16(), cause.title(), cause.word());
        assert_eq!(
            body,
            format!("{status} {title} ({word})\nrequest id: 4f1c\n")
        );
    }
}

#[test]
fn a_fault_of_the_clients_is_told_by_its_status() {
    for status in [400, 405, 408, 413, 414, 417, 421, 431, 501, 505] {
        let cause = Cause::of_bad_request(StatusCode::from_u16(status).unwrap());
        assert_eq!(cause.status(), status);
        let is_late = status == 408;
        let word = if is_late {
            "request_head_timeout"
        } else {
            "http_request_error"
        };
        assert_eq!(cause.word(), word);
    }
    assert_eq!(
        Cause::of_bad_request(StatusCode::IM_A_TEAPOT),
        Cause::BadRequest
    );
}

#[test]
fn an_unreadable_request_is_answered_without_id_and_in_text() {
    let mut response = respond(Cause::BadRequest, &Asked::default());
    assert!(!response.headers().contains_key("x-request-id"));
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    let body = response.body_mut().take_full().unwrap();
    assert_eq!(body, "400 The request is malformed (http_request_error)\n");
}

#[test]
fn the_body_is_what_the_client_reads_best() {
    const JSON: &str = "application/problem+json";
    const HTML: &str = "text/html; charset=utf-8";
    const TEXT: &str = "text/plain; charset=utf-8";
    for (accept, expected) in [
        ("*/*", TEXT),
        ("", TEXT),
        ("nonsense", TEXT),
        ("image/png", TEXT),
        ("text/*", TEXT),
        ("application/json", JSON),
        ("APPLICATION/Problem+JSON", JSON),
        ("application/*", JSON),
        ("application/json, text/plain, */*", JSON),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            HTML,
        ),
        ("text/html;q=0.8, application/json;q=0.9", JSON),
        ("text/html;q=0.9, application/json;q=0.8", HTML),
        (
            "text/html;level=\"1,q=0\";q=1.0, application/json;q=0.999",
            HTML,
        ),
        ("application/json;q=0, */*", TEXT),
        ("text/plain;q=0.5, */*;q=0.4", TEXT),
        ("text/plain;q=0, text/html;q=0.001", HTML),
        ("text/plain;q=0, */*", HTML),
        ("*/*;q=0", TEXT),
        ("text/html;q=2, application/json;q=0.1", JSON),
        ("text/html;q=0.1234, application/json;q=0.1", JSON),
        ("text/html ; Q=0.2 , application/json ; q=0.1", HTML),
    ] {
        assert_eq!(content_type(accept), expected, "{accept}");
    }
}

#[test]
fn a_problem_document_is_rfc_9457s() {
    let (_, body) = answer(Cause::ConnectionTimeout, "application/json", "a\"b\\c");
    let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = serde_json::json!({
        "type": "urn:evenkeel:error:connection_timeout",
        "title": "The service did not answer in time",
        "status": 504,
        "instance": "a\"b\\c",
    });
    assert_eq!(problem, expected);
}

#[test]
fn a_page_escapes_the_id_and_loads_nothing() {
    let (_, page) = answer(Cause::Overload, "text/html", "<script>'\"&");
    assert!(page.contains("<p class=\"id\">&lt;script&gt;&#39;&quot;&amp;</p>"));
    assert!(page.contains("503 overload") && page.contains(Cause::Overload.title()));
    for loader in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(loader), "{loader}");
    }
}

#[test]
fn details_are_for_trusted_peers_and_quoted() {
    let status = |details: Option<Details<'_>>| {
        let asked = Asked {
            details,
            ..Asked::default()
        };
        let response = respond(Cause::ConnectionTimeout, &asked);
        response.headers()["proxy-status"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let details = |is_trusted, text| Details::for_peer(is_trusted, Some("10.1.0.11:8080"), text);
    assert_eq!(
        status(details(true, "tried 2 endpoints in 2 zones")),
        "evenkeel; error=connection_timeout; next-hop=\"10.1.0.11:8080\"; \
         details=\"tried 2 endpoints in 2 zones\""
    );
    assert_eq!(
        status(details(false, "x")),
        "evenkeel; error=connection_timeout"
    );
    // RFC 8941 §3.3.3: only printable ASCII, with `"` and `\` escaped.
    assert_eq!(
        status(Details::for_peer(true, None, "a\"b\\c\r\né")),
        "evenkeel; error=connection_timeout; details=\"a\\\"b\\\\c???\""
    );
    assert_eq!(
        status(Details::for_peer(true, Some("unix:/run/x"), "")),
        "evenkeel; error=connection_timeout; next-hop=\"unix:/run/x\""
    );
}

#[test]
fn a_relayed_response_has_no_error() {
    let details = Details::for_peer(true, Some("10.1.0.12:80"), "second attempt");
    assert_eq!(
        proxy_status(Said::default(), details.as_ref()),
        "evenkeel; next-hop=\"10.1.0.12:80\"; details=\"second attempt\""
    );
    let said = Said {
        received: Some(StatusCode::BAD_GATEWAY),
        is_final: true,
        ..Said::default()
    };
    assert_eq!(
        proxy_status(said, None),
        "evenkeel; received-status=502; no-retry"
    );
}

#[test]
fn options_tells_the_methods_and_has_no_body() {
    let id = HeaderValue::from_static("id");
    let id = RequestId::of(Value::from(&id)).unwrap();
    let mut response = options(Some(&id));
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["x-request-id"], "id");
    let allow = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("OPTIONS") && !allow.contains("TRACE"));
    assert!(response.body_mut().take_full().unwrap().is_empty());
}

proptest! {
    #[test]
    fn whatever_is_sent_the_answer_is_whole(
        accept in proptest::collection::vec(any::<u8>(), 0..40),
        text in "\\PC{0,40}",
    ) {
        let accept = HeaderValue::from_bytes(&accept).ok();
        let asked = Asked {
            accept: accept.as_ref().map(Value::from),
            request_id: None,
            details: Details::for_peer(true, Some(&text), &text),
            is_final: false,
            drawn: 0,
        };
        let response = respond(Cause::Internal, &asked);
        let field = response.headers()["proxy-status"].to_str().unwrap();
        prop_assert!(field.starts_with("evenkeel; error=proxy_internal_error; next-hop=\""));
    }
}

#[test]
fn who_is_turned_away_for_lack_of_room_comes_back_at_a_time_of_his_own() {
    let after = |cause: Cause| [0, 1, 2, u32::MAX].map(|drawn| cause.retry_after(drawn));
    for cause in Cause::ALL {
        let waits = match cause.shed() {
            None if cause != Cause::DestinationUnavailable => [Some(1); 4],
            Some(Shed::Draining) => [Some(1); 4],
            _ => [Some(1), Some(2), Some(3), Some(1)],
        };
        let again = matches!(cause.status().as_u16(), 429 | 503);
        let expected = if again { waits } else { [None; 4] };
        assert_eq!(after(cause), expected, "{}", cause.word());
    }
}

#[test]
fn only_what_protects_the_running_is_shed() {
    let shed: Vec<_> = Cause::ALL
        .into_iter()
        .filter_map(|cause| Some((cause, cause.shed()?)))
        .collect();
    let expected = [
        (Cause::ConnectionLimitReached, Shed::Overload),
        (Cause::Overload, Shed::Overload),
        (Cause::ConcurrencyLimitReached, Shed::Concurrency),
        (Cause::QueueFull, Shed::QueueFull),
        (Cause::QueueTimeout, Shed::QueueTimeout),
        (Cause::Draining, Shed::Draining),
    ];
    assert_eq!(shed, expected);
    // The log and the metrics tell the same.
    for cause in Cause::ALL {
        let is_shed = cause.end() == End::Shed;
        assert_eq!(is_shed, cause.shed().is_some(), "{}", cause.word());
    }
}
