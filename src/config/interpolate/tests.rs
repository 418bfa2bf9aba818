use super::*;

fn whats(text: &str) -> Vec<What<'_>> {
    pieces(text).into_iter().map(|piece| piece.what).collect()
}

#[test]
fn a_string_is_taken_apart() {
    let variable = |name, default| What::Variable { name, default };
    assert_eq!(whats("plain"), [What::Plain("plain")]);
    assert_eq!(whats("${A}"), [variable("A", None)]);
    assert_eq!(whats("${A:-b c}"), [variable("A", Some("b c"))]);
    assert_eq!(whats("${A:-}"), [variable("A", Some(""))]);
    assert_eq!(
        whats("http://${HOST}:${PORT:-80}/"),
        [
            What::Plain("http://"),
            variable("HOST", None),
            What::Plain(":"),
            variable("PORT", Some("80")),
            What::Plain("/"),
        ]
    );
    assert_eq!(whats("${file:/run/token}"), [What::File("/run/token")]);
}

#[test]
fn a_dollar_that_is_no_variable_stays() {
    let joined = |text: &str| -> String {
        whats(text)
            .into_iter()
            .map(|what| match what {
                What::Plain(text) => text.to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(joined("~^/v[0-9]+$"), "~^/v[0-9]+$");
    assert_eq!(joined("$$"), "$");
    assert_eq!(joined("$${A}"), "${A}");
    assert_eq!(joined("$5"), "$5");
    assert_eq!(joined("5$"), "5$");
}

#[test]
fn what_is_malformed_says_so() {
    for text in [
        "${",
        "${A",
        "${}",
        "${1A}",
        "${A-B}",
        "${A:-${B}}",
        "${file:}",
        "${Ä}",
    ] {
        assert!(
            whats(text)
                .iter()
                .any(|what| matches!(what, What::Malformed(_))),
            "{text}"
        );
    }
}

#[test]
fn ranges_cover_the_text() {
    for text in ["a${B}c$$d${E:-f}", "$$$", "ä${A}ö", "${A"] {
        let mut end = 0;
        for piece in pieces(text) {
            assert!(piece.range.start >= end && piece.range.end <= text.len());
            assert!(text.is_char_boundary(piece.range.start));
            assert!(text.is_char_boundary(piece.range.end));
            end = piece.range.end;
        }
    }
}
