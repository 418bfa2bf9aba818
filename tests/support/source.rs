//! A source file as its rules see it: the paths that its code names.
//!
//! A parser of the whole language would be a dependency larger than what it guards. What matters
//! here are words, `::` and braces, once comments and literals are out of the way.

use std::collections::BTreeSet;

/// A source file: its path below the repository, its text, and its text without comments and
/// without what stands in quotes, so that words in prose are not taken for code.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code: without_prose(text),
        }
    }

    /// The room that the file belongs to: `route` for `src/route/host.rs`, `net` for `src/net.rs`.
    pub(crate) fn room(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src/")?;
        let first = below.split('/').next()?;
        Some(first.strip_suffix(".rs").unwrap_or(first))
    }

    /// How many modules lie between the crate's root and this file's content.
    fn depth(&self) -> usize {
        let parts = self.path.split('/').count() - 1;
        let is_folder = self.path.ends_with("/mod.rs");
        parts - usize::from(is_folder)
    }

    /// Whether the file holds tests of the room that it lies in.
    pub(crate) fn is_unit_test(&self) -> bool {
        self.path.starts_with("src/")
            && (self.path.ends_with("/tests.rs")
                || self.path.ends_with("/properties.rs")
                || self.path.contains("/tests/"))
    }

    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.is_unit_test()
    }

    /// The rooms that the code names, whichever way the path is written.
    pub(crate) fn seen_rooms(&self) -> BTreeSet<String> {
        let words = words(&self.code);
        let mut seen = BTreeSet::new();
        // Modules written in this file that the current word stands in, by their depth of braces.
        let mut inline = Vec::new();
        let mut braces = 0_usize;
        let mut index = 0;
        while index < words.len() {
            match words[index] {
                "{" => braces += 1,
                "}" => {
                    braces = braces.saturating_sub(1);
                    inline.retain(|start| *start <= braces);
                }
                "mod" if words.get(index + 2) == Some(&"{") => inline.push(braces + 1),
                "crate"
                    if words.get(index + 1) == Some(&"::") && !continues_path(&words, index) =>
                {
                    first_names(&words[index + 2..], &mut seen);
                }
                "super" if !continues_path(&words, index) => {
                    let ups = words[index..]
                        .chunks(2)
                        .take_while(|pair| *pair == ["super", "::"])
                        .count();
                    if ups == self.depth() + inline.len() {
                        first_names(&words[index + 2 * ups..], &mut seen);
                    }
                }
                _ => {}
            }
            index += 1;
        }
        seen
    }

    /// Other crates that the code names at the start of a path.
    pub(crate) fn seen_crates(&self) -> BTreeSet<&str> {
        let words = words(&self.code);
        words
            .iter()
            .enumerate()
            .filter(|(index, _)| {
                words.get(index + 1) == Some(&"::") && !continues_path(&words, *index)
            })
            .map(|(_, word)| *word)
            .collect()
    }
}

/// Whether the word at `index` comes after `::`.
fn continues_path(words: &[&str], index: usize) -> bool {
    index > 0 && words[index - 1] == "::"
}

/// The first names of the path, or of each path of the group, that `words` begins with.
fn first_names(words: &[&str], names: &mut BTreeSet<String>) {
    if words.first() != Some(&"{") {
        names.extend(words.first().map(|word| (*word).to_owned()));
        return;
    }
    let mut depth = 0_usize;
    let mut starts = false;
    for word in words {
        match *word {
            "{" => {
                depth += 1;
                starts = depth == 1;
            }
            "}" => depth -= 1,
            "," => starts = depth == 1,
            name if starts => {
                names.insert(name.to_owned());
                starts = false;
            }
            _ => {}
        }
        if depth == 0 {
            return;
        }
    }
}

/// Identifiers, `::` and single punctuation, in order.
pub(crate) fn words(code: &str) -> Vec<&str> {
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut words = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_name(first) {
            rest.find(|character| !is_name(character))
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        words.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    words
}

/// The text with comments and the content of literals blanked out; lines stay where they were.
fn without_prose(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + prose_length(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole characters were replaced by spaces")
}

/// The length of the comment or literal that starts here; 0 where neither does.
fn prose_length(rest: &[u8], before: Option<u8>) -> usize {
    let in_name = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().take_while(|byte| **byte != b'\n').count(),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => string_length(rest),
        [b'b', b'r', b'"' | b'#', ..] if !in_name => 1 + raw_string_length(&rest[1..]),
        [b'r', b'"' | b'#', ..] if !in_name => raw_string_length(rest),
        // A character, not a lifetime: it ends with a quote.
        [b'\'', b'\\', ..] => length_until(rest, b"'", 3),
        [b'\'', _, b'\'', ..] => 3,
        [b'\'', first, ..] if !first.is_ascii() => length_until(rest, b"'", 1),
        _ => 0,
    }
}

/// The length of `rest` up to and with `needle`, which is looked for behind `from`.
fn length_until(rest: &[u8], needle: &[u8], from: usize) -> usize {
    rest[from.min(rest.len())..]
        .windows(needle.len())
        .position(|window| window == needle)
        .map_or(rest.len(), |found| from + found + needle.len())
}

/// The length of `r#"…"#`; 0 for a raw identifier.
fn raw_string_length(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.extend(std::iter::repeat_n(b'#', hashes));
    length_until(rest, &end, 2 + hashes)
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

fn block_comment_length(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}
