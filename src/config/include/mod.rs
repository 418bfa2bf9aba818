//! `include`: further files, merged into the main one.
//!
//! Order never decides: a name that two files define is an error, and settings of the whole
//! instance stand in the main file alone. So a folder of snippets can be written by several hands,
//! and a file more or less changes nothing but what it holds.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::environment::{Environment, reason};
use super::interpolate::interpolate;
use super::load::{parse, read};
use super::near::nearest;
use super::node::{Entry, Node, Table, Value};
use super::readings::Readings;
use super::source::{Place, Sources};

/// What came of including.
pub(super) struct Included {
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Every file was there and was TOML, or JSON.
    pub(super) readable: bool,
    /// Which files the globs matched.
    pub(super) globs: Readings,
}

/// Merges the files that `include` names into the main file's tree.
pub(super) fn include(
    root: &mut Node,
    folder: &Path,
    environment: &dyn Environment,
    sources: &mut Sources,
) -> Included {
    let patterns: Vec<(String, Place)> = root
        .at(&["include"])
        .map_or(&[][..], Node::items)
        .iter()
        .filter(|item| !item.faulty)
        .filter_map(|item| Some((item.str()?.to_owned(), item.place)))
        .collect();
    let mut merge = Merge {
        folder,
        environment,
        sources,
        diagnostics: Vec::new(),
        readable: true,
        read: BTreeSet::new(),
        globs: Readings::default(),
    };
    if let Some(main) = merge.sources.names().next() {
        merge.read.insert(PathBuf::from(main));
    }
    for (pattern, place) in patterns {
        merge.pattern(root, &pattern, place);
    }
    Included {
        diagnostics: merge.diagnostics,
        readable: merge.readable,
        globs: merge.globs,
    }
}

struct Merge<'a> {
    folder: &'a Path,
    environment: &'a dyn Environment,
    sources: &'a mut Sources,
    diagnostics: Vec<Diagnostic>,
    readable: bool,
    /// Files that are already part of the configuration, so that overlapping patterns, and one that
    /// matches the main file, do no harm.
    read: BTreeSet<PathBuf>,
    globs: Readings,
}

impl Merge<'_> {
    fn pattern(&mut self, root: &mut Node, pattern: &str, place: Place) {
        let path = self.folder.join(pattern);
        if !is_glob(pattern) {
            self.file(root, &path, place);
            return;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let parent = path.parent().unwrap_or(Path::new(""));
        let (Some(name), false) = (name, parent.to_str().is_none_or(is_glob)) else {
            let title = format!("the folder of `{pattern}` is not one folder");
            let label = "`*` and `?` stand in file names only";
            self.unreadable(title, place, label);
            return;
        };
        let found = matching(parent, name, self.environment);
        self.globs
            .add_glob(parent, name, found.as_ref().ok().cloned());
        let names = match found {
            Ok(names) => names,
            Err(error) => {
                let title = format!("the folder of `{pattern}` cannot be read");
                self.unreadable(title, place, &reason(&error));
                return;
            }
        };
        if names.is_empty() {
            let title = format!("`{pattern}` matches no file");
            self.diagnostics
                .push(Diagnostic::new(Code::EmptyInclude, title).at(place, "nothing is included"));
        }
        let parent = parent.to_path_buf();
        for found in names {
            self.file(root, &parent.join(found), place);
        }
    }

    fn file(&mut self, root: &mut Node, path: &Path, place: Place) {
        if !self.read.insert(path.to_path_buf()) {
            return;
        }
        let name = path.display().to_string();
        let text = match read(path, self.environment) {
            Ok(text) => text,
            Err(why) => {
                let title = format!("the included file `{name}` cannot be read");
                self.unreadable(title, place, &why);
                return;
            }
        };
        let source = self.sources.add(name, text);
        let (mut tree, syntax) = parse(source, self.sources);
        self.readable &= syntax.is_empty();
        self.diagnostics.extend(syntax);
        let folder = path.parent().unwrap_or(Path::new(""));
        let of_variables = interpolate(&mut tree, folder, self.environment, self.sources);
        self.diagnostics.extend(of_variables);
        self.merge(root, tree);
    }

    fn merge(&mut self, root: &mut Node, tree: Node) {
        let (Value::Table(tables), Some(main)) = (tree.value, root.table_mut()) else {
            return;
        };
        for (key, entry) in tables {
            match key.as_str() {
                "listener" | "route" | "upstream" => self.tables(main, &key, entry),
                "test" => self.tests(main, entry),
                _ => self.misplaced(&key, entry.key),
            }
        }
    }

    /// Named tables of one kind.
    fn tables(&mut self, main: &mut Table, kind: &str, entry: Entry) {
        let Some(present) = main.get_mut(kind) else {
            main.insert(kind.to_owned(), entry);
            return;
        };
        let (Value::Table(present), Value::Table(added)) =
            (&mut present.value.value, entry.value.value)
        else {
            self.mismatch(kind, "a table", entry.key, present.key);
            return;
        };
        for (name, entry) in added {
            if let Some(first) = present.get(&name) {
                let title = format!("[{kind}.{name}] is defined in two files");
                self.diagnostics.push(
                    Diagnostic::new(Code::DefinedTwice, title)
                        .at(entry.key, "second time")
                        .also(first.key, "first time"),
                );
            } else {
                present.insert(name, entry);
            }
        }
    }

    /// Tests are a list; those of every file count.
    fn tests(&mut self, main: &mut Table, entry: Entry) {
        let Some(present) = main.get_mut("test") else {
            main.insert("test".to_owned(), entry);
            return;
        };
        if let (Value::Array(present), Value::Array(added)) =
            (&mut present.value.value, entry.value.value)
        {
            present.extend(added);
        } else {
            self.mismatch("test", "a list", entry.key, present.key);
        }
    }

    /// Two files that write the same key in forms which cannot be put together.
    fn mismatch(&mut self, key: &str, expected: &str, here: Place, there: Place) {
        let title = format!("`{key}` must be {expected} in every file");
        self.diagnostics.push(
            Diagnostic::new(Code::WrongValue, title)
                .at(here, "here")
                .also(there, "to be merged with this"),
        );
    }

    /// A key that an included file cannot have.
    fn misplaced(&mut self, key: &str, place: Place) {
        let finding = if MAIN_ONLY.contains(&key) {
            let title = format!("`{key}` belongs into the main file");
            Diagnostic::new(Code::NotInInclude, title).at(place, "this file is included")
        } else {
            let title = format!("unknown setting `{}` at the top level", key.escape_debug());
            let finding = Diagnostic::new(Code::UnknownSetting, title);
            let finding = finding.at(place, "no such setting");
            match nearest(key, INCLUDED) {
                Some(near) => finding.patch(place, near),
                None => finding,
            }
        };
        let help = "an included file holds `listener`, `route`, `upstream` and `test`";
        self.diagnostics.push(finding.help(help));
    }

    fn unreadable(&mut self, title: String, place: Place, label: &str) {
        self.readable = false;
        self.diagnostics
            .push(Diagnostic::new(Code::Unreadable, title).at(place, label));
    }
}

/// The names in a folder that match a pattern, in their order.
pub(super) fn matching(
    folder: &Path,
    pattern: &str,
    environment: &dyn Environment,
) -> io::Result<Vec<String>> {
    let here = folder.as_os_str().is_empty();
    let mut names = environment.list(if here { Path::new(".") } else { folder })?;
    names.retain(|name| matches(pattern, name));
    names.sort();
    Ok(names)
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// Whether a name matches a pattern of `*` and `?`. Hidden files do not: editors and mounted
/// volumes leave some behind.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if p < pattern.len() && (pattern[p] == '?' || (pattern[p] == name[n] && pattern[p] != '*'))
        {
            (p, n) = (p + 1, n + 1);
        } else if p < pattern.len() && pattern[p] == '*' {
            star = Some((p, n));
            p += 1;
        } else if let Some((star_p, star_n)) = star {
            // The last star takes one character more, and the rest is tried again.
            star = Some((star_p, star_n + 1));
            (p, n) = (star_p + 1, star_n + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

const INCLUDED: [&str; 4] = ["listener", "route", "upstream", "test"];

const MAIN_ONLY: [&str; 13] = [
    "version",
    "workers",
    "zone",
    "state_dir",
    "user",
    "security",
    "include",
    "admin",
    "log",
    "shutdown",
    "reload",
    "upgrade",
    "defaults",
];

#[cfg(test)]
mod tests;
