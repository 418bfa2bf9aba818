//! From a file, or a text, to a configuration or to everything that is wrong with it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::check;
use super::codes::{Code, Severity};
use super::diagnostic::{self, Diagnostic};
use super::environment::{Environment, reason};
use super::files;
use super::format::Config;
use super::include;
use super::interpolate::interpolate;
use super::json;
use super::node::{Node, Table, Value};
use super::overrides;
use super::places::Places;
use super::readings::{Readings, Remembering};
use super::render::{self, Style};
use super::schema::Schema;
use super::source::{Place, SourceId, Sources};

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Outcome {
    /// The configuration; `None` if there is any error.
    pub config: Option<Config>,
    /// Everything that was found, in the order of the files.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that the findings point into.
    pub sources: Sources,
    /// Where in them everything was written.
    pub places: Places,
    /// The files that were read.
    pub readings: Readings,
}

/// Reads and checks a file and what it includes.
pub fn load(path: &Path, environment: &dyn Environment) -> Outcome {
    let name = path.display().to_string();
    let remembering = Remembering::new(environment);
    let outcome = match read(path, &remembering) {
        Ok(text) => understand(&name, &text, &remembering),
        Err(why) => {
            let mut sources = Sources::default();
            let nothing = sources.add(name.as_str(), "");
            let title = format!("the configuration `{name}` cannot be read: {why}");
            Outcome {
                config: None,
                diagnostics: vec![Diagnostic::new(Code::Unreadable, title)],
                places: Places::new(Node::new(
                    sources.place(nothing, 0..0),
                    Value::Table(Table::new()),
                )),
                sources,
                readings: Readings::default(),
            }
        }
    };
    outcome.with(remembering.into_readings())
}

/// Reads and checks a text. The name stands in findings, and its folder is where relative paths
/// begin. Takes any text without panicking.
pub fn load_text(name: &str, text: &str, environment: &dyn Environment) -> Outcome {
    let remembering = Remembering::new(environment);
    let outcome = understand(name, text, &remembering);
    outcome.with(remembering.into_readings())
}

fn understand(name: &str, text: &str, environment: &dyn Environment) -> Outcome {
    let mut sources = Sources::default();
    let main = sources.add(name, text);
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    let schema = Schema::new();

    let (mut root, mut diagnostics) = parse(main, &sources);
    let mut readable = diagnostics.is_empty();
    diagnostics.extend(interpolate(&mut root, folder, environment, &sources));
    let included = include::include(&mut root, folder, environment, &mut sources);
    readable &= included.readable;
    diagnostics.extend(included.diagnostics);
    diagnostics.extend(overrides::apply(
        &mut root,
        &schema,
        environment,
        &mut sources,
    ));

    let (of_values, secrets) = check::structure::check(&mut root, &schema, &sources);
    diagnostics.extend(of_values);
    // What a broken file would have defined is unknown: findings about relations would be guesses.
    if readable {
        diagnostics.extend(check::relations(&root));
    } else {
        diagnostics.retain(|finding| finding.code != Code::MissingSetting);
    }

    let mut config = None;
    if render::count(&diagnostics, Severity::Error) == 0 {
        files::resolve(&mut root, schema.root(), &sources);
        match typed(&root) {
            Ok(typed) => {
                config = Some(Config {
                    state_dir: typed.state_dir.or_else(|| state_directory(environment)),
                    secrets,
                    ..typed
                });
            }
            Err(unforeseen) => diagnostics.push(*unforeseen),
        }
    }
    diagnostic::sort(&mut diagnostics);
    Outcome {
        config,
        diagnostics,
        sources,
        places: Places::new(root),
        readings: included.globs,
    }
}

/// Where systemd has the state of a unit (`StateDirectory=`), the first of them: what the file
/// says comes before it.
fn state_directory(environment: &dyn Environment) -> Option<PathBuf> {
    let all = environment.variable(STATE_DIRECTORY)?;
    let first = all.split(':').next().filter(|first| !first.is_empty());
    first.map(PathBuf::from)
}

impl Outcome {
    /// Adds what was found by those who know what the configuration means.
    pub fn add(&mut self, findings: impl IntoIterator<Item = Diagnostic>) {
        self.diagnostics.extend(findings);
        diagnostic::sort(&mut self.diagnostics);
    }

    /// Adds which files were read.
    fn with(mut self, files: Readings) -> Self {
        self.readings.add_files(files);
        self
    }

    /// How many errors were found.
    pub fn errors(&self) -> usize {
        render::count(&self.diagnostics, Severity::Error)
    }

    /// How many warnings were found.
    pub fn warnings(&self) -> usize {
        render::count(&self.diagnostics, Severity::Warning)
    }

    /// The findings as a person reads them; empty if there are none.
    pub fn render(&self, style: Style) -> String {
        render::text(&self.diagnostics, &self.sources, style)
    }

    /// The findings in the stable form of [`render::json`].
    pub fn to_json(&self) -> serde_json::Value {
        render::json(&self.diagnostics, &self.sources)
    }

    /// The closing line: `evenkeel.toml: 5 errors, 2 warnings; <consequence>`. The consequence is
    /// the caller's: only it knows what was at stake.
    pub fn summary(&self, consequence: &str) -> String {
        let name = self.sources.names().next().unwrap_or_default();
        let (errors, warnings) = (self.errors(), self.warnings());
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut line = format!(
            "{name}: {errors} error{}, {warnings} warning{}",
            plural(errors),
            plural(warnings)
        );
        if !consequence.is_empty() {
            line.push_str("; ");
            line.push_str(consequence);
        }
        line
    }
}

/// A file as text.
pub(super) fn read(path: &Path, environment: &dyn Environment) -> Result<String, String> {
    let bytes = environment.read(path).map_err(|error| reason(&error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + memchr::memchr_iter(b'\n', good).count();
        format!("line {line} is not UTF-8")
    })
}

/// A source as a tree, as far as it can be read, and where it cannot: TOML, or JSON by its name.
pub(super) fn parse(source: SourceId, sources: &Sources) -> (Node, Vec<Diagnostic>) {
    if json::is_named(sources.name(source)) {
        return json::parse(source, sources);
    }
    let (table, errors) = toml::de::DeTable::parse_recoverable(sources.text(source));
    let span = table.span();
    let root = Node::document(table.get_ref(), span, source, sources);
    let total = errors.len();
    let mut diagnostics: Vec<Diagnostic> = errors
        .iter()
        .take(SYNTAX_ERRORS)
        .map(|error| syntax(error, &root, source, sources))
        .collect();
    if let Some(last) = diagnostics.last_mut().filter(|_| total > SYNTAX_ERRORS) {
        last.help = Some(format!("and {} more like this", total - SYNTAX_ERRORS));
    }
    (root, diagnostics)
}

fn syntax(error: &toml::de::Error, root: &Node, source: SourceId, sources: &Sources) -> Diagnostic {
    let place = sources.place(source, error.span().unwrap_or_default());
    let message = error.message();
    if !message.starts_with("duplicate key") {
        return Diagnostic::new(Code::Syntax, "this is not valid TOML").at(place, message);
    }
    let key = sources.slice(place);
    let title = format!("`{key}` is defined twice");
    let found = Diagnostic::new(Code::DefinedTwice, title).at(place, "second time");
    // The parser does not say which table it is in: the first use is only named if no other key of
    // that name could be meant.
    let mut uses = Vec::new();
    uses_of(key, root, &mut uses);
    uses.retain(|earlier| earlier.start < place.start);
    match uses[..] {
        [first] => found.also(first, "first time"),
        _ => found,
    }
}

/// The places of all keys of a name.
fn uses_of(key: &str, node: &Node, uses: &mut Vec<Place>) {
    for (name, entry) in node.table().into_iter().flatten() {
        if name == key {
            uses.push(entry.key);
        }
        uses_of(key, &entry.value, uses);
    }
    for item in node.items() {
        uses_of(key, item, uses);
    }
}

/// The tree as data. The checks have found everything that could fail here, and a property test
/// holds them to it; should they not have, the file is still refused with serde's words.
fn typed(root: &Node) -> Result<Config, Box<Diagnostic>> {
    let value = root
        .to_toml()
        .unwrap_or(toml::Value::Table(toml::Table::new()));
    Config::deserialize(value).map_err(|error| {
        let finding = Diagnostic::new(Code::WrongValue, "this configuration cannot be understood");
        Box::new(finding.at(root.place, error.message()))
    })
}

/// After these, a file is not TOML at all, and more of the same helps nobody.
const SYNTAX_ERRORS: usize = 20;

/// See `systemd.exec(5)`.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
