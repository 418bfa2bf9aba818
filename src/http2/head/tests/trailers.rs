//! Trailers.

use super::{HeadError, Lines, TrailersReader, is_malformed};

/// What is left of trailers, each as a line.
fn trailers(lines: Lines<'_>) -> Result<Option<Vec<String>>, HeadError> {
    let mut reader = TrailersReader::new();
    for (name, value) in lines {
        reader.take(name.as_bytes(), value.as_bytes());
    }
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.as_bytes().escape_ascii())
    };
    let trailers = reader.finish()?;
    Ok(trailers.map(|trailers| trailers.iter().map(line).collect()))
}

#[test]
fn those_of_grpc() {
    let lines = [
        ("grpc-status", "0"),
        ("grpc-message", ""),
        ("x", "1"),
        ("x", "2"),
    ];
    let expected = lines.map(|(name, value)| format!("{name}: {value}"));
    assert_eq!(trailers(&lines), Ok(Some(expected.to_vec())));
}

/// RFC 9110 §6.5.1: dropped, as those behind a chunked body are.
#[test]
fn those_that_have_no_place_there() {
    let lines = [
        ("content-length", "5"),
        ("host", "evil"),
        ("authorization", "x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-client-cert", "x"),
        ("set-cookie", "a"),
        ("trailer", "a"),
    ];
    assert_eq!(trailers(&lines), Ok(None));
    assert_eq!(trailers(&[]), Ok(None));
}

#[test]
fn malformed() {
    let cases: &[(&str, Lines<'_>)] = &[
        ("§8.1 a pseudo field", &[(":status", "200")]),
        ("§8.1 a pseudo field", &[(":path", "/")]),
        (
            "§8.1 an unknown one, behind a field",
            &[("a", "b"), (":a", "b")],
        ),
        ("§8.2.1 large letters", &[("A", "b")]),
        ("§8.2.1 no name", &[("", "b")]),
        ("§8.2.1 a line end", &[("a", "b\r\n\r\nGET / HTTP/1.1")]),
        ("§8.2.1 a NUL", &[("a", "\0")]),
        ("§8.2.1 white space", &[("a", "b ")]),
        ("§8.2.1 of one that is dropped", &[("host", "b ")]),
        ("§8.2.2 connection", &[("connection", "close")]),
        (
            "§8.2.2 transfer-encoding",
            &[("transfer-encoding", "chunked")],
        ),
        ("§8.2.2 te", &[("te", "trailers")]),
    ];
    for (rule, lines) in cases {
        assert!(is_malformed(&trailers(lines)), "{rule}");
    }
}

#[test]
fn too_large() {
    let many = [("a", "b"); 64];
    assert!(trailers(&many).is_ok());
    let many = [("a", "b"); 65];
    assert_eq!(trailers(&many), Err(HeadError::TooLarge));
    let long = "x".repeat(8 * 1024 - 5);
    assert!(trailers(&[("a", &long)]).is_ok());
    assert_eq!(trailers(&[("aa", &long)]), Err(HeadError::TooLarge));
    let dropped = "x".repeat(8 * 1024);
    assert_eq!(
        trailers(&[("host", &dropped)]),
        Err(HeadError::TooLarge),
        "dropped ones count"
    );
}
