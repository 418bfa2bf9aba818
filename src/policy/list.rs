//! Lists and parameters in field values.

/// Splits at a separator that stands outside quoted strings (RFC 9110 §5.6.4). A string that is
/// never closed holds all that follows it.
pub fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |letter| {
        let was_escaped = std::mem::take(&mut escaped);
        match letter {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        letter == separator && !quoted
    })
}
