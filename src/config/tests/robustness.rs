//! Whatever text comes, there is an answer, and the answer is about that text.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

/// Everything that has to hold for any text.
fn holds(text: &str) {
    let made = Made::default()
        .with_variable("A", "ä")
        .with_variable("EVENKEEL__UPSTREAM__API__BALANCE", "random")
        .with_file(
            "conf.d/a.toml",
            "[upstream.api]\nendpoints = ['10.0.0.1:80']\n",
        );
    holds_as("any.toml", text, &made);
    holds_as("any.json", text, &made);
}

fn holds_as(name: &str, text: &str, made: &Made) {
    let outcome = load_text(name, text, made);
    assert_eq!(outcome.config.is_none(), outcome.errors() > 0);
    for diagnostic in &outcome.diagnostics {
        assert_ne!(
            diagnostic.title, "this configuration cannot be understood",
            "{text}"
        );
        let labels = diagnostic.primary.iter().chain(&diagnostic.secondary);
        let patched = diagnostic.patch.iter().map(|patch| patch.place);
        for place in labels.map(|label| label.place).chain(patched) {
            let source = outcome.sources.text(place.source);
            assert!(place.start <= place.end && place.end <= source.len());
            assert!(source.is_char_boundary(place.start) && source.is_char_boundary(place.end));
        }
    }
    // Drawing must not panic either, in any style.
    for (colour, unicode) in [(false, false), (true, true)] {
        outcome.render(Style { colour, unicode });
    }
    outcome.to_json();
    if let Some(config) = &outcome.config {
        show(config, true);
    }
}

/// Good and bad configurations as a beginning for mutations.
fn seeds() -> Vec<String> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    ["config", "src/config/cases"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        holds(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_signs_of_toml_are_answered(text in r#"[\[\]{}=.,"'#$\n a-c0-9é\\:]{0,120}"#) {
        holds(&text);
    }

    /// A piece is taken out of one configuration and put into another.
    #[test]
    fn mutated_configurations_are_answered(
        (from, to) in (0..64_usize, 0..64_usize),
        (cut, length, at) in (any::<usize>(), 0..40_usize, any::<usize>()),
        noise in r#"(|"|\[|\]|\$\{A\}|\$\{|ü|=|\n|\{|-1|0|99999999999999999999)"#,
    ) {
        let seeds = seeds();
        let piece: Vec<char> = seeds[from % seeds.len()].chars().collect();
        let cut = cut % piece.len().max(1);
        let piece: String = piece[cut..(cut + length).min(piece.len())].iter().collect();
        let mut text: Vec<char> = seeds[to % seeds.len()].chars().collect();
        let at = at % text.len().max(1);
        let end = (at + length / 2).min(text.len());
        text.splice(at..end, piece.chars().chain(noise.chars()));
        holds(&text.into_iter().collect::<String>());
    }
}

/// Values of other types at every place where the examples have one.
#[test]
fn every_value_may_be_of_any_type() {
    let values = [
        "-1",
        "1.5",
        "true",
        "''",
        "[]",
        "[[]]",
        "{}",
        "1979-05-27",
        "'é'",
        "nan",
    ];
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["evenkeel.toml", "tcp.toml", "tls.toml", "zones.toml"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once(" = ") else {
                continue;
            };
            // Neighbouring lines together see all of them.
            for value in [
                values[at % 10],
                values[(at + 3) % 10],
                values[(at + 7) % 10],
            ] {
                let mut changed = lines.clone();
                let line = format!("{key} = {value}");
                changed[at] = &line;
                holds(&changed.join("\n"));
            }
        }
    }
}

/// Depth and length that a parser by recursion, or a comparison of all with all, would not survive.
#[test]
fn hostile_sizes_are_survived() {
    holds(&format!("a = {}", "[".repeat(100_000)));
    holds(&format!("{} = 1", vec!["a"; 10_000].join(".")));
    holds(&format!("[{}]", vec!["a"; 10_000].join(".")));
    holds(&format!(
        "a = {}1{}",
        "{a=".repeat(1_000),
        "}".repeat(1_000)
    ));
    holds(&format!("{}= 1", "a".repeat(100_000)));
    holds(&"[a]\n".repeat(2_000));
    holds(&format!("zone = '{}'", "${A}".repeat(10_000)));
    holds(&format!("zone = '{}'", "${A:-".repeat(10_000)));
}

/// Ten thousand endpoints in a thousand routes: what the design promises to reload in 100 ms has to
/// be checked in a part of it. The bound here is for an unoptimised build on a busy machine; what
/// it guards against is a check that compares all with all.
#[test]
fn large_configurations_are_checked_in_linear_time() {
    let mut text = String::from("[listener.web]\nbind = ':8080'\n");
    for n in 0..1_000 {
        let endpoints: Vec<String> = (0..10)
            .map(|e| format!("'10.{}.{}.{e}:80'", n / 250, n % 250))
            .collect();
        let _ = write!(
            text,
            "[route.r{n}]\nhosts = ['h{n}.example.com']\nupstream = 'u{n}'\n\
             [upstream.u{n}]\nendpoints = [{}]\nhealth = {{ tcp = {{}} }}\n",
            endpoints.join(", ")
        );
    }
    let start = tokio::time::Instant::now();
    let config = good(&text, &Nothing);
    assert_eq!(config.upstream.len(), 1_000);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}
