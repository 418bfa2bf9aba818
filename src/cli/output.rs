//! What a command prints, and where.
//!
//! Problem: `println!` panics when the reader is gone, so `evenkeel status | head -1` would end in
//! a backtrace. Here a closed pipe ends the printing and nothing else; any other failure to write
//! (a full disk behind `>`) is kept and turns into the exit code at the end.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

/// When output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// In files and pipes too.
    Always,
    /// Nowhere.
    Never,
}

/// What a piece of text means, which decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As it should be.
    Good,
    /// Needs a person soon.
    Warning,
    /// Needs a person.
    Bad,
    /// Worth finding.
    Strong,
    /// Can be skipped.
    Faint,
}

/// The two streams of a command.
pub struct Output {
    stdout: Stream,
    stderr: Stream,
    quiet: bool,
}

struct Stream {
    writer: Box<dyn Write>,
    color: bool,
    closed: bool,
    failure: Option<io::Error>,
}

impl Color {
    fn applies_to(self, stream: &impl IsTerminal) -> bool {
        match self {
            Self::Auto => {
                stream.is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            }
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
            Self::Strong => "\x1b[1m",
            Self::Faint => "\x1b[2m",
        }
    }
}

impl Output {
    /// The process's own streams.
    pub fn new(color: Color, quiet: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        Self {
            stdout: Stream::new(color.applies_to(&stdout), stdout),
            stderr: Stream::new(color.applies_to(&stderr), stderr),
            quiet,
        }
    }

    /// Streams of the caller's choice, without colour.
    pub fn to(stdout: impl Write + 'static, stderr: impl Write + 'static) -> Self {
        Self {
            stdout: Stream::new(false, stdout),
            stderr: Stream::new(false, stderr),
            quiet: false,
        }
    }

    /// A line of the result.
    pub fn line(&mut self, line: impl Display) {
        self.stdout.write(format_args!("{line}\n"));
    }

    /// A text of the result that brings its own line ends.
    pub fn text(&mut self, text: impl Display) {
        self.stdout.write(format_args!("{text}"));
    }

    /// A line that says that all is well: `--quiet` leaves it out.
    pub fn success(&mut self, line: impl Display) {
        if !self.quiet {
            self.line(line);
        }
    }

    /// The result as JSON, for programs.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(text),
            Err(error) => self.stdout.fail(io::Error::other(error)),
        }
    }

    /// A text for the person beside the result.
    pub fn note(&mut self, text: impl Display) {
        self.stderr.write(format_args!("{text}"));
    }

    /// What is to be known beside the result, a line each.
    pub fn notes(&mut self, notes: &[String]) {
        for note in notes {
            let word = self.paint(Paint::Warning, "note");
            self.note(format_args!("{word}: {note}\n"));
        }
    }

    /// Why the command failed.
    pub fn error(&mut self, message: impl Display, hint: Option<&str>) {
        let title = paint(self.stderr.color, Paint::Bad, "error");
        self.stderr.write(format_args!("{title}: {message}\n"));
        if let Some(hint) = hint {
            self.stderr.write(format_args!("  {hint}\n"));
        }
    }

    /// Colours a piece of a line of the result, where colours are wanted.
    pub fn paint(&self, kind: Paint, text: impl Display) -> String {
        paint(self.stdout.color, kind, text)
    }

    /// Whether the result is coloured.
    pub fn is_colored(&self) -> bool {
        self.stdout.color
    }

    /// Whether notes are coloured.
    pub fn notes_are_colored(&self) -> bool {
        self.stderr.color
    }

    /// Whether the reader of the result has gone.
    pub fn is_closed(&self) -> bool {
        self.stdout.closed
    }

    /// Writes out what is held back. An error means that the result is not complete.
    pub fn finish(mut self) -> io::Result<()> {
        self.stdout.finish()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("quiet", &self.quiet)
            .finish_non_exhaustive()
    }
}

impl Stream {
    fn new(color: bool, writer: impl Write + 'static) -> Self {
        Self {
            writer: Box::new(writer),
            color,
            closed: false,
            failure: None,
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        if self.closed {
            return;
        }
        if let Err(error) = self.writer.write_fmt(text) {
            self.fail(error);
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.closed = true;
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.failure = Some(error);
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if !self.closed
            && let Err(error) = self.writer.flush()
        {
            self.fail(error);
        }
        self.failure.take().map_or(Ok(()), Err)
    }
}

fn paint(color: bool, kind: Paint, text: impl Display) -> String {
    if color {
        format!("{}{text}\x1b[0m", kind.code())
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every write in the same way.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let mut output = Output::to(Broken(io::ErrorKind::BrokenPipe), io::sink());
        output.line("one");
        output.line("two");
        assert!(output.is_closed());
        assert!(output.finish().is_ok());
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let mut output = Output::to(Broken(io::ErrorKind::StorageFull), io::sink());
        output.line("one");
        let error = output.finish().expect_err("the line was lost");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
