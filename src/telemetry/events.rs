//! Events: the changes of state that someone will ask about, each with its reason in words.
//!
//! The last thousand stay in memory (`evenkeel events`, `/v1/events`), and each is a log line of
//! `kind="event"`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::access::Sink;
use super::access::writer::Stream;
use super::text;

/// The last events of this instance. Cheap to clone.
#[derive(Clone, Default)]
pub struct Events {
    shared: Arc<Shared>,
}

/// A change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What changed: `endpoint_down`, `endpoint_up`, `config_applied`, `config_rejected`,
    /// `panic_on`, `panic_off`, `fault`, …
    pub kind: &'static str,
    /// Why, in words, with the numbers that led to it.
    pub why: String,
    /// What it is about: `upstream`, `endpoint`, `zone`, `generation`, …
    pub fields: Vec<(&'static str, String)>,
}

/// An event that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its number, from 1, without gaps.
    pub id: u64,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub event: Event,
}

#[derive(Default)]
struct Shared {
    out: Option<Out>,
    ring: Mutex<Ring>,
}

struct Out {
    sink: Sink,
    /// For the eye rather than for a machine.
    human: bool,
}

#[derive(Default)]
struct Ring {
    last: u64,
    events: VecDeque<Arc<Recorded>>,
}

impl Events {
    /// Events that are also written to a log, `human` if a person reads it there. Without a log:
    /// [`Events::default`].
    pub fn new(sink: Sink, human: bool) -> Self {
        let shared = Shared {
            out: Some(Out { sink, human }),
            ring: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Makes an event known. Never waits for the log.
    pub fn publish(&self, event: Event) {
        let mut ring = self.ring();
        ring.last += 1;
        let recorded = Arc::new(Recorded {
            id: ring.last,
            at: SystemTime::now(),
            event,
        });
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(Arc::clone(&recorded));
        drop(ring);
        if let Some(out) = &self.shared.out {
            let line = if out.human {
                recorded.human()
            } else {
                recorded.json()
            };
            out.sink.submit(Stream::Event, line, 1);
        }
    }

    /// Whether they are also written to a log.
    pub fn are_written(&self) -> bool {
        self.shared.out.is_some()
    }

    /// The events after the one with this number, oldest first; 0 for all that are kept.
    pub fn list(&self, since: u64) -> Vec<Arc<Recorded>> {
        let ring = self.ring();
        let newer = ring.events.iter().skip_while(|event| event.id <= since);
        newer.cloned().collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Nothing panics while it is held, and a ring is whole between any two statements.
        self.shared
            .ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("last", &self.ring().last)
            .finish_non_exhaustive()
    }
}

impl Event {
    /// What is wrong with the world is no error of this program; what is wrong with
    /// this program is.
    fn level(&self) -> &'static str {
        if self.kind == FAULT { "error" } else { "info" }
    }
}

impl Recorded {
    /// When it happened, in RFC 3339.
    pub fn time(&self) -> String {
        text::rfc3339(self.at)
    }

    fn json(&self) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(br#"{"ts":""#);
        line.extend_from_slice(self.time().as_bytes());
        line.extend_from_slice(br#"","level":""#);
        line.extend_from_slice(self.event.level().as_bytes());
        line.extend_from_slice(br#"","kind":"event","event":""#);
        text::json_str(&mut line, self.event.kind);
        line.extend_from_slice(br#"","id":"#);
        text::number(&mut line, self.id);
        for (name, value) in &self.event.fields {
            member(&mut line, name, value);
        }
        member(&mut line, "why", &self.event.why);
        line.extend_from_slice(b"}\n");
        line
    }

    fn human(&self) -> Vec<u8> {
        let field = |(name, value): &(&str, String)| format!(" {name}={value:?}");
        let fields: Vec<String> = self.event.fields.iter().map(field).collect();
        let fields = fields.concat();
        // A reason may quote a peer; a terminal must not obey it.
        let why = self.event.why.replace(char::is_control, " ");
        let separator = if why.is_empty() { "" } else { ": " };
        let (time, kind) = (self.time(), self.event.kind);
        let level = self.event.level().to_ascii_uppercase();
        format!("{time} {level:>5} {kind}{fields}{separator}{why}\n").into_bytes()
    }
}

fn member(line: &mut Vec<u8>, name: &str, value: &str) {
    line.extend_from_slice(b",\"");
    text::json_str(line, name);
    line.extend_from_slice(b"\":\"");
    text::json_str(line, value);
    line.push(b'"');
}

/// The kind of event that a panic is: a bug of ours.
pub const FAULT: &str = "fault";

/// Events in memory: a bad night's worth, in well under a megabyte.
const KEPT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event {
            kind: "endpoint_down",
            why: format!("probe {number}: \"refused\""),
            fields: vec![("upstream", "api".into())],
        }
    }

    #[test]
    fn the_last_thousand_are_kept() {
        let events = Events::default();
        for number in 1..=1_234 {
            events.publish(event(number));
        }
        let kept = events.list(0);
        assert_eq!(kept.len(), 1_000);
        assert_eq!(kept[0].id, 235);
        assert_eq!(kept[999].event, event(1_234));
        assert_eq!(events.list(1_230).len(), 4);
        assert!(events.list(1_234).is_empty());
    }

    #[test]
    fn a_line_is_json_with_the_reason() {
        let events = Events::default();
        events.publish(event(7));
        let recorded = Arc::clone(&events.list(0)[0]);
        let line: serde_json::Value = serde_json::from_slice(&recorded.json()).unwrap();
        assert_eq!(line["kind"], "event");
        assert_eq!(line["event"], "endpoint_down");
        assert_eq!(line["upstream"], "api");
        assert_eq!(line["why"], "probe 7: \"refused\"");
        assert_eq!(line["ts"], recorded.time());
    }

    #[test]
    fn only_a_fault_of_ours_is_an_error() {
        let events = Events::default();
        events.publish(event(1));
        events.publish(Event {
            kind: FAULT,
            ..event(2)
        });
        let levels = [r#""level":"info""#, r#""level":"error""#];
        for ((recorded, level), word) in events.list(0).iter().zip(levels).zip(["INFO", "ERROR"]) {
            let line = String::from_utf8(recorded.json()).unwrap();
            assert!(line.contains(level), "{line}");
            let line = String::from_utf8(recorded.human()).unwrap();
            assert_eq!(line.split_whitespace().nth(1), Some(word));
        }
    }

    #[test]
    fn a_line_for_the_eye_holds_no_control_characters() {
        let recorded = Recorded {
            id: 1,
            at: SystemTime::UNIX_EPOCH,
            event: Event {
                kind: "endpoint_down",
                why: "said \x1b[31m\nbye".into(),
                fields: vec![("endpoint", "unix:/\n".into())],
            },
        };
        assert_eq!(
            String::from_utf8(recorded.human()).unwrap(),
            "1970-01-01T00:00:00.000000Z  INFO endpoint_down endpoint=\"unix:/\\n\": said  [31m bye\n"
        );
    }
}
