//! "Did you mean": the known word that is nearest to an unknown one.

/// The nearest of some words, if any is near enough to have been meant: at most a quarter of its
/// letters differ, and one more.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.chars().count() / 4)
        .filter(|(distance, candidate)| *distance < candidate.chars().count())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, take out, replace or swap with a neighbour (optimal string alignment),
/// ignoring case, with `-` and `_` alike. Words longer than any name are far
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
    let from: Vec<char> = from.chars().map(fold).collect();
    let to: Vec<char> = to.chars().map(fold).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=to.len()).collect();
    for row in 0..from.len() {
        let mut current = vec![row + 1];
        for column in 0..to.len() {
            let replaced = previous[column] + usize::from(from[row] != to[column]);
            let shorter = (previous[column + 1] + 1).min(current[column] + 1);
            let mut least = replaced.min(shorter);
            let both = row > 0 && column > 0;
            if both && from[row] == to[column - 1] && from[row - 1] == to[column] {
                least = least.min(before[column - 1] + 1);
            }
            current.push(least);
        }
        before = previous;
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
        assert_eq!(nearest("idnb", known), None, "two swaps are too many");
        assert_eq!(
            nearest("bnid", known),
            Some("bind"),
            "a swap is one mistake"
        );
        assert_eq!(nearest("certificate", known), None);
        assert_eq!(nearest("xy", ["to"]), None, "every letter differs");
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest(&"b".repeat(100_000), known), None);
    }
}
