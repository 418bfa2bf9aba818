//! What review forgets: the house's rules, as tests.
//!
//! `ARCHITECTURE.md` says which room may see which. A rule that only a page knows is broken within
//! a month and leaves one knot of imports behind, so this file reads every source file and checks
//! it, together with the other rules that no lint covers: sizes, module docs, imports, the layout
//! of the repository and the examples in its pages. The scanner has tests of its own below, which
//! plant each violation and expect it to be found.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use source::{Source, words};

#[path = "support/source.rs"]
mod source;

fn rank(room: &str) -> Option<u8> {
    RANKS
        .iter()
        .find(|(_, rooms)| rooms.contains(&room))
        .map(|(rank, _)| *rank)
}

/// What is wrong with the file's imports.
fn upward_imports(source: &Source) -> Vec<String> {
    let Some(room) = source
        .room()
        .filter(|room| !matches!(*room, "main" | "lib"))
    else {
        return Vec::new();
    };
    let path = &source.path;
    let Some(own) = rank(room) else {
        return vec![format!("{path}: the room `{room}` has no rank")];
    };
    source
        .seen_rooms()
        .iter()
        .filter(|seen| *seen != room)
        .filter_map(|seen| match rank(seen) {
            None => Some(format!("{path}: `crate::{seen}` is not a room")),
            Some(other) if other >= own => Some(format!(
                "{path}: `{room}` (rank {own}) must not see `{seen}` (rank {other})"
            )),
            Some(_) => None,
        })
        .collect()
}

/// What is wrong with the file's use of other crates.
fn impure_imports(source: &Source) -> Vec<String> {
    let forbidden = FORBIDDEN_CRATES
        .iter()
        // Tests may use what their room may not.
        .find(|(room, _)| source.room() == Some(room) && !source.is_unit_test())
        .map_or(&[][..], |(_, crates)| crates);
    let seen = source.seen_crates();
    forbidden
        .iter()
        .filter(|name| seen.contains(*name))
        .map(|name| format!("{}: must not know `{name}`", source.path))
        .collect()
}

/// What is wrong with the file's form.
fn bad_form(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = source.text.lines().count();
    let longest = if source.is_test() {
        LONGEST_TEST_FILE
    } else {
        LONGEST_FILE
    };
    if lines > longest {
        faults.push(format!("{lines} lines, more than {longest}"));
    }
    // Unit tests are documented by what they test.
    if !source.is_unit_test() && !source.text.starts_with("//! ") {
        faults.push("does not start with a module doc".to_owned());
    }
    let words = words(&source.code);
    let places = |pattern: &[&str]| {
        words
            .windows(pattern.len())
            .filter(|w| w == &pattern)
            .count()
    };
    for name in ["todo", "unimplemented", "dbg"] {
        if places(&[name, "!"]) > 0 {
            faults.push(format!("`{name}!`"));
        }
    }
    // Clippy sees those of the build at hand, this sees every file.
    if places(&["#", "[", "allow"]) + places(&["#", "!", "[", "allow"]) > 0 {
        faults.push("`allow`: write `expect`, with a reason".to_owned());
    }
    let globs = places(&["::", "*", ";"]) + places(&["::", "{", "*"]);
    // The two that test modules live by.
    let of_tests = places(&["use", "super", "::", "*", ";"])
        + places(&["use", "proptest", "::", "prelude", "::", "*", ";"]);
    let has_tests = source.is_test() || source.code.contains("mod tests");
    let tolerated = if has_tests { of_tests } else { 0 };
    if globs > tolerated {
        faults.push("a glob import".to_owned());
    }
    for (number, line) in source.text.lines().enumerate() {
        if is_long_comment(line) {
            let number = number + 1;
            faults.push(format!("line {number}, a comment beyond column {COLUMNS}"));
        }
    }
    faults
        .iter()
        .map(|fault| format!("{}: {fault}", source.path))
        .collect()
}

/// Whether it is a line of a comment that could be shorter: rows of tables and URLs cannot.
fn is_long_comment(line: &str) -> bool {
    let comment = line.trim_start().strip_prefix("//");
    let text = comment.map(|text| text.trim_start_matches(['/', '!']).trim_start());
    let can_be_wrapped = text.is_some_and(|text| !text.starts_with('|') && !text.contains("://"));
    can_be_wrapped && line.chars().count() > COLUMNS
}

/// The TOML blocks of a page: the line of each, whether it is a fragment, and its text.
fn toml_blocks(page: &str) -> Vec<(usize, bool, String)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```toml") else {
            continue;
        };
        let text: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        blocks.push((number + 1, info.trim() == ",fragment", text.join("\n")));
    }
    blocks
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below these folders, without what tools leave behind.
fn files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = open.pop() {
        let made_by_tools = ["target", ".git", "corpus", "artifacts"];
        if made_by_tools.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a readable folder");
            open.extend(entries.map(|entry| entry.expect("a readable entry").path()));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(folders: &[&str]) -> Vec<Source> {
    files(folders)
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| Source::new(&relative(path), &fs::read_to_string(path).expect("text")))
        .collect()
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("below the root");
    path.to_str().expect("plain names").to_owned()
}

/// Fails with every fault at once.
fn assert_none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// The rooms of `src/` by rank: a room imports only rooms of a lower rank, so that there can be no
/// cycle. `main` and `lib` compose and are exempt; nothing can import them.
const RANKS: [(u8, &[&str]); 14] = [
    (13, &["main", "cli"]),
    (12, &["app"]),
    (11, &["control", "worker"]),
    (10, &["listener"]),
    (9, &["protocol"]),
    (8, &["snapshot"]),
    (7, &["policy"]),
    (6, &["upstream"]),
    (5, &["balance", "pool"]),
    (4, &["endpoint"]),
    (3, &["telemetry"]),
    (2, &["route", "http1", "http2", "tls", "context"]),
    (
        1,
        &[
            "net",
            "time",
            "body",
            "drain",
            "message",
            "queue",
            "proxy_protocol",
        ],
    ),
    (0, &["config"]),
];

/// Crates that a room must not know: what is pure stays pure.
const FORBIDDEN_CRATES: [(&str, &[&str]); 7] = [
    ("config", &["tokio", "hyper", "rustls"]),
    ("http1", &["tokio", "hyper"]),
    ("http2", &["tokio", "hyper"]),
    ("message", &["tokio", "hyper"]),
    ("proxy_protocol", &["tokio", "hyper", "rustls"]),
    ("route", &["tokio", "hyper"]),
    ("balance", &["tokio", "hyper"]),
];

/// What stands at the top of the repository, and nothing else.
const TOP_LEVEL: [&str; 25] = [
    // What the allocator is built with cannot be said anywhere else.
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "config",
    "deny.toml",
    "deploy",
    "docs",
    "examples",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "src",
    "tests",
    ".github",
];

/// Of those, what may be missing.
const OPTIONAL: [&str; 3] = ["build.rs", "deploy", ".github"];

/// A longer file wants to be two.
const LONGEST_FILE: usize = 400;

/// As wide as rustfmt lets code be; it leaves comments alone.
const COLUMNS: usize = 100;

/// Tests are read one at a time, so a file of them may be longer.
const LONGEST_TEST_FILE: usize = 600;

/// Words that only exist where this project happens to be written: its users have none of it.
/// In two halves, so that this file passes its own test.
const WORKPLACE: [(&str, &str); 5] = [
    ("/wor", "k/"),
    ("/ro", "ot/"),
    ("sha", "red/"),
    ("issues sh", "ow"),
    ("PLA", "N.md"),
];

#[test]
fn rooms_see_only_lower_rooms() {
    let faults: Vec<String> = sources(&["src"]).iter().flat_map(upward_imports).collect();
    assert_none(&faults);
}

#[test]
fn pure_rooms_stay_pure() {
    let faults: Vec<String> = sources(&["src"]).iter().flat_map(impure_imports).collect();
    assert_none(&faults);
}

#[test]
fn the_table_of_ranks_is_the_one_in_the_architecture_page() {
    let page = read("ARCHITECTURE.md");
    let cells = |line: &str| -> Option<(u8, BTreeSet<String>)> {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let rank = cells.next()?.parse().ok()?;
        let rooms = cells.next()?.split('`').skip(1).step_by(2);
        let bare = |room: &str| {
            room.trim_end_matches(".rs")
                .trim_end_matches('/')
                .to_owned()
        };
        Some((rank, rooms.map(bare).collect()))
    };
    let written: Vec<_> = page.lines().filter_map(cells).collect();
    let meant: Vec<_> = RANKS
        .iter()
        .map(|(rank, rooms)| (*rank, rooms.iter().map(|room| (*room).to_owned()).collect()))
        .collect();
    assert_eq!(written, meant);
}

#[test]
fn every_rank_is_a_room_that_exists() {
    let sources = sources(&["src"]);
    let rooms: BTreeSet<&str> = sources.iter().filter_map(Source::room).collect();
    let ranked: BTreeSet<&str> = RANKS
        .iter()
        .flat_map(|(_, rooms)| *rooms)
        .copied()
        .collect();
    let ranked: BTreeSet<&str> = ranked.into_iter().chain(["lib"]).collect();
    assert_eq!(rooms, ranked);
}

#[test]
fn files_have_the_form_of_the_house() {
    let sources = sources(&["src", "tests", "benches", "examples", "fuzz"]);
    let faults: Vec<String> = sources.iter().flat_map(bad_form).collect();
    assert_none(&faults);
}

#[test]
fn the_top_level_is_the_one_that_was_designed() {
    let there: BTreeSet<String> = fs::read_dir(root())
        .expect("a readable folder")
        .map(|entry| entry.expect("a readable entry").file_name())
        .map(|name| name.into_string().expect("plain names"))
        .filter(|name| !matches!(name.as_str(), ".git" | "target"))
        .collect();
    let strange = there
        .iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| format!("{name}: has no place at the top"));
    let missing = TOP_LEVEL
        .iter()
        .filter(|name| !OPTIONAL.contains(name) && !there.contains(**name))
        .map(|name| format!("{name}: is missing"));
    assert_none(&strange.chain(missing).collect::<Vec<_>>());
}

#[test]
fn no_file_names_the_place_where_it_was_written() {
    let mut faults = Vec::new();
    for path in files(&["."]) {
        // What is not text names nothing.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (start, end) in WORKPLACE {
            let word = format!("{start}{end}");
            let lines = text
                .lines()
                .enumerate()
                .filter(|(_, line)| line.contains(&word));
            faults.extend(lines.map(|(at, _)| format!("{}:{}: {word}", path.display(), at + 1)));
        }
    }
    assert_none(&faults);
}

#[test]
fn examples_in_the_pages_are_configurations() {
    let mut faults = Vec::new();
    for path in pages() {
        for (line, is_fragment, text) in toml_blocks(&fs::read_to_string(&path).expect("text")) {
            let name = format!("{}:{line}", relative(&path));
            if let Err(error) = toml::from_str::<toml::Table>(&text) {
                faults.push(format!("{name}: {error}"));
            } else if !is_fragment {
                // A page cannot rely on what only its writer's machine has.
                let outcome = evenkeel::config::load_text(&name, &text, &evenkeel::config::Nothing);
                let found = outcome.diagnostics.iter();
                faults.extend(found.map(|found| found.one_line(&outcome.sources)));
            }
        }
    }
    assert_none(&faults);
}

/// A page that points nowhere has been left behind by the tree.
#[test]
fn what_the_pages_point_to_exists() {
    let mut faults = Vec::new();
    for path in pages() {
        let text = fs::read_to_string(&path).expect("text");
        let folder = path.parent().expect("a page lies in a folder");
        let links = text.split("](").skip(1);
        let links = links.filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
        let quoted = quoted(&text).filter(|word| names_a_path(word));
        let there = links
            .map(|link| (link, folder.join(link)))
            .chain(quoted.map(|word| (word, root().join(word))));
        let missing = there.filter(|(_, target)| !target.exists());
        faults.extend(missing.map(|(name, _)| format!("{}: {name}", relative(&path))));
    }
    assert_none(&faults);
}

/// What the page of operations says of failures is what a test holds.
#[test]
fn what_happens_in_failures_is_held_by_tests() {
    let page = read("docs/operations.md");
    let named: Vec<(&str, &str)> = quoted(&page).filter_map(names_a_test).collect();
    assert!(named.len() > 30, "only {} tests are named", named.len());
    let tests = sources(&["tests/proxy", "tests/proofs"]);
    let missing = named.into_iter().filter(|(file, name)| {
        let file = format!("/{file}.rs");
        let heading = format!("#[test]\nfn {name}() {{");
        let holds = |test: &Source| test.path.ends_with(&file) && test.text.contains(&heading);
        !tests.iter().any(holds)
    });
    let missing = missing.map(|(file, name)| format!("docs/operations.md: {file}::{name}"));
    assert_none(&missing.collect::<Vec<_>>());
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// `file::name`, as tests are named.
fn names_a_test(word: &str) -> Option<(&str, &str)> {
    let is_part = |part: &str| {
        part.bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let (file, name) = word.split_once("::")?;
    (is_part(file) && is_part(name)).then_some((file, name))
}

/// Whether a word in a page is a path in this repository, written without a pattern.
fn names_a_path(word: &str) -> bool {
    let folder = word.split_once('/').map(|(folder, _)| folder);
    folder.is_some_and(|folder| TOP_LEVEL.contains(&folder))
        && word
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "/._-".contains(letter))
}

/// The pages whose examples a reader may copy.
fn pages() -> Vec<PathBuf> {
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    files(&[
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "docs",
        "config",
    ])
    .into_iter()
    .filter(is_page)
    .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The scanner finds what it is there to find.
mod scanner {
    use super::source::Source;
    use super::{bad_form, impure_imports, toml_blocks, upward_imports};

    fn faults(path: &str, code: &str) -> usize {
        upward_imports(&Source::new(path, code)).len()
    }

    #[test]
    fn an_upward_import_is_found_however_it_is_written() {
        for code in [
            "use crate::policy;",
            "use crate::policy::Filters;",
            "use crate::{config::Route, policy::Filters};",
            "use crate::{config::{Route, Time}, policy};",
            "use crate :: { policy };",
            "fn f() { crate::policy::apply() }",
            "type T = Vec<crate::policy::Filters>;",
            "pub use super::super::policy::Filters;",
            "mod tests { use super::super::super::policy; }",
            "mod tests { use super::*; } use super::super::policy;",
            "#[cfg(test)] mod tests { fn f() { crate::policy::apply() } }",
            "/* use */ use crate::policy; // why",
            "const QUOTE: char = '\"'; use crate::policy; const OTHER: char = '\"';",
        ] {
            assert_eq!(faults("src/upstream/pick.rs", code), 1, "{code}");
        }
    }

    #[test]
    fn a_downward_import_is_none() {
        for code in [
            "use crate::{config::Route, endpoint::{Endpoint, Live}, time::Deadline};",
            "use super::Pick;",
            "use super::super::endpoint::Live;",
            "use crate::upstream::budget::Budget;",
            "pub(crate) struct A; pub(in crate::upstream) struct B;",
            "// use crate::policy;",
            "/* use crate::policy; /* nested */ crate::policy */",
            "const TEXT: &str = \"crate::policy\";",
            "const RAW: &[u8] = br#\"say \"crate::policy\"\"#;",
            "fn f<'a>(a: &'a str) -> &'a str { a }",
            "use tower::policy;",
            "use other::crate_::policy;",
        ] {
            assert_eq!(faults("src/upstream/pick.rs", code), 0, "{code}");
        }
    }

    #[test]
    fn rooms_of_one_rank_do_not_see_each_other() {
        assert_eq!(
            faults("src/control/mod.rs", "use crate::worker::Worker;"),
            1
        );
        assert_eq!(faults("src/worker.rs", "use super::control;"), 1);
        assert_eq!(
            faults("src/pool/http1.rs", "use crate::balance::Balancer;"),
            1
        );
        assert_eq!(faults("src/pool/http1.rs", "use crate::pool::Pool;"), 0);
    }

    #[test]
    fn what_has_no_rank_is_found() {
        assert_eq!(faults("src/util.rs", ""), 1);
        assert_eq!(faults("src/route/mod.rs", "use crate::Thing;"), 1);
        assert_eq!(faults("src/main.rs", "use crate::anything;"), 0);
    }

    #[test]
    fn impurity_is_found() {
        let impure = |code| impure_imports(&Source::new("src/balance/random.rs", code)).len();
        assert_eq!(impure("use tokio::time::Instant;"), 1);
        assert_eq!(impure("fn f(at: tokio::time::Instant) {}"), 1);
        assert_eq!(impure("use crate::tokio::Instant; // tokio::time"), 0);
        let tests = Source::new("src/balance/tests.rs", "use tokio::time::Instant;");
        assert_eq!(impure_imports(&tests).len(), 0);
    }

    #[test]
    fn bad_form_is_found() {
        let form = |path, code: &str| bad_form(&Source::new(path, code)).len();
        assert_eq!(form("src/net.rs", "//! Good.\nuse std::io;\n"), 0);
        assert_eq!(form("src/net.rs", "use std::io;\n"), 1);
        assert_eq!(form("src/net/tests.rs", "use std::io;\n"), 0);
        assert_eq!(form("tests/net.rs", "use std::io;\n"), 1);
        assert_eq!(form("src/net.rs", "//! Doc.\nuse std::io::*;\n"), 1);
        assert_eq!(form("src/net.rs", "//! Doc.\nuse std::{io, io::{*}};\n"), 1);
        assert_eq!(form("src/net/tests.rs", "//! Doc.\nuse super::*;\n"), 0);
        assert_eq!(form("src/net/tests.rs", "//! Doc.\nuse std::io::*;\n"), 1);
        let prelude = "//! Doc.\nmod tests { use proptest::prelude::*; }\n";
        assert_eq!(form("src/net.rs", prelude), 0);
        assert_eq!(form("src/net.rs", "//! Doc.\nfn f() { todo!() }\n"), 1);
        assert_eq!(
            form("src/net.rs", "//! Doc.\n#[allow(dead_code)]\nfn f() {}\n"),
            1
        );
        assert_eq!(
            form("src/net.rs", "//! Doc.\n#![allow(dead_code)]\nfn f() {}\n"),
            1
        );
        let wide = |start: &str| format!("//! Doc.\n{start}{}\n", "ä ".repeat(50));
        for (start, faults) in [("", 0), ("// ", 1), ("    /// ", 1), ("//! | ", 0)] {
            assert_eq!(form("src/net.rs", &wide(start)), faults, "{start}");
        }
        assert_eq!(form("src/net.rs", &wide("// https://a/ ")), 0);
        let long = format!("//! Doc.\n{}", "\n".repeat(450));
        assert_eq!(form("src/net.rs", &long), 1);
        assert_eq!(form("src/net/tests.rs", &long), 0);
    }

    #[test]
    fn blocks_are_taken_out_of_pages() {
        let page = "a\n```toml\nb = 1\n```\n```text\nc\n```\n```toml,fragment\nd = 2\n```\n";
        let expected = [
            (2, false, "b = 1".to_owned()),
            (8, true, "d = 2".to_owned()),
        ];
        assert_eq!(toml_blocks(page), expected);
    }
}
