//! Panics: a bug that ended a task must be found in the log by those who look there.
//!
//! Problem: the runtime catches the panic of a task, so the process and its other connections go
//! on; but what was wrong stands in several lines of plain text on standard error, which no search
//! for events finds and many collectors drop. Here a thread says once where it tells its events,
//! and a panic on it becomes one of them, `fault`, with the message and the place.
//!
//! Threads that did not say so, such as those of a program that embeds this one, keep the hook that
//! was there before.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::Once;

use super::events::{Event, Events, FAULT};

/// Makes events of the panics on this thread from now on.
pub fn tell(events: &Events) {
    // The hook is the process's, not an instance's: whose events it tells is up to the thread.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !is_told(info) {
                before(info);
            }
        }));
    });
    EVENTS.set(Some(events.clone()));
}

/// Tells of a panic; false if nobody reads it here.
fn is_told(info: &PanicHookInfo<'_>) -> bool {
    // Taken out meanwhile: should telling panic as well, the hook before tells that.
    let Some(events) = EVENTS.try_with(RefCell::take).ok().flatten() else {
        return false;
    };
    events.publish(event(info));
    let is_written = events.are_written();
    EVENTS.set(Some(events));
    is_written
}

fn event(info: &PanicHookInfo<'_>) -> Event {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default().to_owned();
    let mut fields = vec![("thread", name)];
    if let Some(place) = info.location() {
        fields.push(("at", place.to_string()));
    }
    let trace = Backtrace::capture(); // only if the environment asks for it
    if trace.status() == BacktraceStatus::Captured {
        fields.push(("backtrace", trace.to_string()));
    }
    let why = info.payload_as_str().unwrap_or("a panic without words");
    Event {
        kind: FAULT,
        why: why.to_owned(),
        fields,
    }
}

thread_local! {
    /// Where this thread's panics are told.
    static EVENTS: RefCell<Option<Events>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_is_one_event_of_its_thread() {
        let (events, others) = (Events::default(), Events::default());
        let (here, there) = (events.clone(), others.clone());
        let faulty = thread::Builder::new().name("worker-7".to_owned());
        let faulty = faulty.spawn(move || {
            tell(&here);
            drop(catch_unwind(|| panic!("a fault, {}", "for the test")));
        });
        let well = thread::spawn(move || tell(&there));
        faulty.unwrap().join().expect("the panic was caught");
        well.join().expect("nothing was wrong");
        let told = events.list(0);
        assert_eq!(told.len(), 1);
        let event = &told[0].event;
        assert_eq!(
            (event.kind, &*event.why),
            ("fault", "a fault, for the test")
        );
        assert_eq!(event.fields[0], ("thread", "worker-7".to_owned()));
        let (name, place) = &event.fields[1];
        assert_eq!(*name, "at");
        assert!(place.contains("src/telemetry/panics.rs:"), "{place}");
        assert!(others.list(0).is_empty());
    }
}
