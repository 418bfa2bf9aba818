use super::*;

#[test]
fn globs_match_file_names() {
    for (pattern, name, expected) in [
        ("*.toml", "api.toml", true),
        ("*.toml", "api.toml~", false),
        ("*.toml", ".api.toml", false),
        (".*.toml", ".api.toml", true),
        ("a*b*c", "aXXbYYbZc", true),
        ("a*b*c", "aXXbYYbZ", false),
        ("??.toml", "10.toml", true),
        ("??.toml", "1.toml", false),
        ("*", "", true),
        ("ä*", "äpfel", true),
        ("*?", "", false),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn a_hostile_pattern_is_matched_in_no_time() {
    let pattern = "*a".repeat(200) + "b";
    assert!(!matches(&pattern, &"a".repeat(2_000)));
}
