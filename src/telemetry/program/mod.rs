//! The program's own log: `tracing` into the bounded sink.
//!
//! Lines have the same shape as those of the access log and of events (`ts`, `level`, `kind`), so
//! that one parser reads all; on a terminal they are written for the eye.

use std::fmt;
use std::io;
use std::time::SystemTime;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{Layer, reload};

use super::access::Sink;
use super::access::writer::Stream;
use super::text;

/// Changes the level of the program's own log while it runs.
#[derive(Debug, Clone)]
pub struct LevelHandle {
    filter: reload::Handle<LevelFilter, Registry>,
}

/// The process has a subscriber already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the program's log has been set up already")]
pub struct AlreadySet;

/// Lines of `tracing` on their way to the sink.
struct Lines {
    sink: Sink,
}

/// One line, as JSON.
struct Json;

/// Fields of one event, appended as members of a JSON object.
struct Members {
    out: Vec<u8>,
}

/// Sends what `tracing` says at `level` and above to the sink, as JSON or for the
/// eye. Never blocks.
pub fn init_tracing(
    level: LevelFilter,
    json: bool,
    sink: &Sink,
) -> Result<LevelHandle, AlreadySet> {
    let (subscriber, handle) = subscriber(level, json, sink);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySet)?;
    Ok(handle)
}

fn subscriber(
    level: LevelFilter,
    json: bool,
    sink: &Sink,
) -> (impl Subscriber + Send + Sync + 'static, LevelHandle) {
    let (filter, handle) = reload::Layer::new(level);
    let lines = Lines { sink: sink.clone() };
    let format = tracing_subscriber::fmt::layer().with_writer(lines);
    let layer: Box<dyn Layer<_> + Send + Sync> = if json {
        Box::new(format.event_format(Json))
    } else {
        Box::new(format.with_target(false))
    };
    let subscriber = Registry::default().with(filter).with(layer);
    (subscriber, LevelHandle { filter: handle })
}

impl LevelHandle {
    /// Sets the least severe level that is written.
    pub fn set(&self, level: LevelFilter) {
        // Fails only after the subscriber has gone, and then nothing is logged at all.
        drop(self.filter.modify(|filter| *filter = level));
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl io::Write for &Lines {
    /// The formatter writes each event with a single call.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.submit(Stream::Program, bytes.to_vec(), 1);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> tracing_subscriber::fmt::FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut members = Members { out: Vec::new() };
        event.record(&mut members);
        let members = String::from_utf8(members.out).unwrap_or_default();
        writeln!(
            writer,
            r#"{{"ts":"{}","level":"{}","kind":"log","target":"{}"{members}}}"#,
            text::rfc3339(SystemTime::now()),
            metadata.level().as_str().to_ascii_lowercase(),
            metadata.target(),
        )
    }
}

impl Members {
    fn key(&mut self, field: &Field) {
        self.out.extend_from_slice(b",\"");
        text::json_str(&mut self.out, field.name());
        self.out.extend_from_slice(b"\":");
    }

    fn literal(&mut self, field: &Field, value: impl fmt::Display) {
        self.key(field);
        self.out.extend_from_slice(value.to_string().as_bytes());
    }
}

impl Visit for Members {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        self.out.push(b'"');
        text::json_str(&mut self.out, value);
        self.out.push(b'"');
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.literal(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.literal(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.literal(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no words for infinity and NaN.
        if value.is_finite() {
            self.literal(field, value);
        } else {
            self.record_str(field, &value.to_string());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
