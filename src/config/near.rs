//! "Did you mean": the known word that is nearest to an unknown one.

/// The nearest of some words, if any is near enough to have been meant: at most a third of its
/// letters differ, and one more.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 3)
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, ignoring case, with `-` and `_` alike. Words longer than any name are far
/// from everything, so that a hostile file costs nothing.
fn distance(from: &str, to: &str) -> usize {
    if from.len() > LONGEST || to.len() > LONGEST {
        return usize::MAX;
    }
    let fold = |c: char| {
        if c == '-' {
            '_'
        } else {
            c.to_ascii_lowercase()
        }
    };
    let to: Vec<char> = to.chars().map(fold).collect();
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    for (row, left) in from.chars().map(fold).enumerate() {
        let mut current = vec![row + 1];
        for (column, right) in to.iter().enumerate() {
            let replaced = previous[column] + usize::from(left != *right);
            let shorter = (previous[column + 1] + 1).min(current[column] + 1);
            current.push(replaced.min(shorter));
        }
        previous = current;
    }
    previous[to.len()]
}

/// No name of a setting or a part of a configuration is longer.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested() {
        let known = ["max_connections", "max_fields", "bind", "to"];
        assert_eq!(nearest("max_conections", known), Some("max_connections"));
        assert_eq!(nearest("BIND", known), Some("bind"));
        assert_eq!(nearest("max-fields", known), Some("max_fields"));
        assert_eq!(nearest("bnd", known), Some("bind"));
        assert_eq!(nearest("certificate", known), None);
        assert_eq!(nearest("xy", ["to"]), None, "every letter differs");
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"b".repeat(100_000), known), None);
    }
}
