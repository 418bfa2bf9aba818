//! Responses.

use super::{Lines, is_malformed, response, text};

#[test]
fn a_response() {
    let lines = [
        (":status", "200"),
        ("content-length", "03"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("cookie", "c"),
        ("cookie", "d"),
    ];
    let head = response(&lines, false).expect("well-formed");
    assert_eq!(head.parts.status, 200);
    assert_eq!(head.length, Some(3));
    assert!(!head.ends);
    assert_eq!(
        text(&head.parts.headers),
        "content-length: 3|set-cookie: a=1|set-cookie: b=2|cookie: c|cookie: d|"
    );
}

#[test]
fn statuses() {
    for good in ["100", "103", "200", "204", "299", "304", "404", "599"] {
        assert!(response(&[(":status", good)], false).is_ok(), "{good}");
    }
    for bad in [
        "", "20", "2000", "099", "600", "999", "+20", "2 0", "abc", "200 OK",
    ] {
        assert!(
            is_malformed(&response(&[(":status", bad)], false)),
            "RFC 9110 §15: {bad}"
        );
    }
    assert!(
        is_malformed(&response(&[(":status", "101")], false)),
        "RFC 9113 §8.6"
    );
}

#[test]
fn malformed() {
    let status = (":status", "200");
    let cases: &[(&str, Lines<'_>)] = &[
        ("§8.3.2 no :status", &[("a", "b")]),
        ("§8.3 twice", &[status, status]),
        ("§8.3 behind a field", &[("a", "b"), status]),
        ("§8.3 of a request", &[status, (":path", "/")]),
        ("§8.3 unknown", &[status, (":a", "b")]),
        ("§8.2.1 large letters", &[status, ("A", "b")]),
        ("§8.2.1 a colon", &[status, ("a:", "b")]),
        ("§8.2.1 a line end", &[status, ("a", "b\r\nc: d")]),
        ("§8.2.1 white space", &[status, ("a", " b")]),
        ("§8.2.2 connection", &[status, ("connection", "close")]),
        ("§8.2.2 keep-alive", &[status, ("keep-alive", "timeout=5")]),
        (
            "§8.2.2 transfer-encoding",
            &[status, ("transfer-encoding", "chunked")],
        ),
        ("§8.2.2 upgrade", &[status, ("upgrade", "h2c")]),
        ("§8.2.2 te", &[status, ("te", "trailers")]),
        (
            "RFC 9110 §8.6 a list",
            &[status, ("content-length", "1, 1")],
        ),
        (
            "RFC 9110 §8.6 twice",
            &[status, ("content-length", "1"), ("content-length", "1")],
        ),
    ];
    for (rule, lines) in cases {
        assert!(is_malformed(&response(lines, false)), "{rule}");
    }
}

/// RFC 9113 §8.1: something must follow.
#[test]
fn an_interim_response_is_not_the_end() {
    assert!(is_malformed(&response(&[(":status", "103")], true)));
    assert!(response(&[(":status", "103")], false).is_ok());
    assert!(response(&[(":status", "200")], true).is_ok_and(|head| head.ends));
}

/// RFC 9110 §8.6: 304 and answers to HEAD say how long the content would be, 1xx and 204 nothing.
#[test]
fn lengths_without_a_body() {
    let read = |status| {
        let lines = [(":status", status), ("content-length", "5")];
        let head = response(&lines, false).expect("well-formed");
        (head.length, text(&head.parts.headers))
    };
    let said = (Some(5), "content-length: 5|".to_owned());
    assert_eq!(read("200"), said);
    assert_eq!(read("304"), said);
    assert_eq!(read("204"), (None, String::new()));
    assert_eq!(read("103"), (None, String::new()));
    assert!(
        response(&[(":status", "200"), ("content-length", "5")], true).is_ok(),
        "HEAD"
    );
}
