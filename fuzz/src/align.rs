//! Sets what two proxies did with a client's bytes side by side, request by request.
//!
//! Both answer in the order in which they were asked, so the n-th answers of the two belong to the
//! same request: it was forwarded by both, refused by both, or they differ. Where one goes on
//! and the other does not, nothing behind can be compared.

use evenkeel::http1::RequestError;
use http::Method;

use crate::endpoint::NUMBER;
use crate::facts::Loose;
use crate::reading::{self, Requests, Stop};
use crate::run::Outcome;
use crate::wire::{Message, read_response};

/// How two proxies compare at one request.
#[derive(Debug)]
pub struct Case<'a> {
    /// What they did.
    pub what: What<'a>,
    /// The request as the client sent it.
    pub raw: Loose<'a>,
    /// The request before, which may have said that it is the last.
    pub before: Option<Loose<'a>>,
    /// Why our reading of the connection stops at this request, if it does.
    pub stop: Stop,
    /// Why it may stop in the head before all of that is there.
    pub early: Vec<RequestError>,
    /// Whether it stops in the head.
    pub is_refused_head: bool,
}

/// What the two did with a request.
#[derive(Debug)]
pub enum What<'a> {
    /// Both forwarded it: what is to be compared is in the messages.
    Both {
        /// As we did.
        ours: &'a Message,
        /// As the other did.
        theirs: &'a Message,
    },
    /// We answered ourselves; the other forwarded it.
    WeRefused {
        /// Our answer's.
        status: u16,
        /// Whether we closed the connection after it.
        is_end: bool,
        /// What the other forwarded.
        request: &'a Message,
    },
    /// We said nothing, or nothing more; the other forwarded it.
    WeSaidNothing {
        /// What the other forwarded.
        request: &'a Message,
    },
    /// We forwarded it; the other answered itself, or said nothing.
    WeForwarded {
        /// What we forwarded.
        request: &'a Message,
        /// The other's answer's.
        status: Option<u16>,
    },
    /// Neither forwarded it, and one goes on with what follows.
    GoesOn {
        /// Whether we do.
        ours: bool,
        /// Whether the other does.
        theirs: bool,
    },
    /// Behind the last request, only one closed the connection.
    Closed {
        /// Whether we did.
        ours: bool,
        /// Whether the other did.
        theirs: bool,
    },
}

/// What a proxy did with one request after the other.
#[derive(Debug)]
struct Side<'a> {
    outcome: &'a Outcome,
    events: Vec<Event<'a>>,
}

/// What became of a request.
#[derive(Debug, Clone)]
enum Event<'a> {
    /// It was forwarded, and the endpoint's answer came back.
    Relayed(&'a Message),
    /// The proxy answered itself.
    Own(Message),
    /// The answer has no end.
    Cut,
}

/// Shows what the two did with each request, and every difference, up to where they part.
pub fn align(bytes: &[u8], ours: &Outcome, theirs: &Outcome, show: &mut dyn FnMut(&Case<'_>)) {
    let reading = reading::requests(bytes);
    let ours = Side::new(ours, &reading);
    let theirs = Side::new(theirs, &reading);
    let mut at = 0;
    while ours.events.len().max(theirs.events.len()) > at {
        let (what, goes_on) = compare(&ours, &theirs, at);
        if let Some(what) = what {
            show(&Case::new(&reading, at, what));
        }
        if !goes_on {
            return;
        }
        at += 1;
    }
    let (ours, theirs) = (ours.outcome.is_closed, theirs.outcome.is_closed);
    if ours != theirs {
        show(&Case::new(
            &reading,
            at.saturating_sub(1),
            What::Closed { ours, theirs },
        ));
    }
}

/// Panics unless what we did is right, whatever others do.
pub fn check(bytes: &[u8], ours: &Outcome) {
    let reading = reading::requests(bytes);
    let side = Side::new(ours, &reading);
    assert!(ours.has_ended, "the connection stays open: {ours:#?}");
    let mut whole = 0;
    for request in &ours.seen {
        assert_eq!(
            request.strange, None,
            "it should not be forwarded: {request:#?}"
        );
        assert!(request.line.ends_with(b" HTTP/1.1"), "{request:#?}");
        whole += usize::from(request.is_whole);
    }
    let is_relayed = |event: &&Event<'_>| matches!(event, Event::Relayed(_));
    let relayed = side.events.iter().filter(is_relayed).count();
    assert_eq!(whole, relayed, "each request is answered once: {ours:#?}");
    let is_cut = side.events.iter().any(|event| matches!(event, Event::Cut));
    assert!(!is_cut, "an answer is cut: {ours:#?}");
}

/// What the two did with one request, and whether the next can be compared.
fn compare<'a>(ours: &Side<'a>, theirs: &Side<'a>, at: usize) -> (Option<What<'a>>, bool) {
    match (ours.events.get(at), theirs.events.get(at)) {
        (Some(&Event::Relayed(ours)), Some(&Event::Relayed(theirs))) => {
            (Some(What::Both { ours, theirs }), true)
        }
        (Some(Event::Own(answer)), Some(&Event::Relayed(request))) => {
            let is_end = ours.is_end(at);
            let what = What::WeRefused {
                status: answer.status(),
                is_end,
                request,
            };
            // Behind CONNECT there is no HTTP, for whoever forwards it (RFC 9110 §9.3.6).
            (Some(what), !is_end && request.method() != b"CONNECT")
        }
        (Some(&Event::Relayed(request)), theirs) => {
            let status = match theirs {
                Some(Event::Own(answer)) => Some(answer.status()),
                Some(Event::Relayed(_) | Event::Cut) | None => None,
            };
            (Some(What::WeForwarded { request, status }), false)
        }
        (None | Some(Event::Cut), Some(&Event::Relayed(request))) => {
            (Some(What::WeSaidNothing { request }), false)
        }
        // Neither forwards it, and each says why in its own words, or nothing.
        (None | Some(Event::Own(_) | Event::Cut), None | Some(Event::Own(_) | Event::Cut)) => {
            match (ours.goes_on(at), theirs.goes_on(at)) {
                (false, false) => (None, false),
                (true, true) => (None, true),
                (ours, theirs) => (Some(What::GoesOn { ours, theirs }), false),
            }
        }
    }
}

impl<'a> Case<'a> {
    fn new(reading: &Requests<'a>, at: usize, what: What<'a>) -> Self {
        let raw = reading.heads.get(at).map_or(reading.rest, |head| head.1);
        let before = at.checked_sub(1).and_then(|at| reading.heads.get(at));
        let is_refused_head = at == reading.heads.len();
        let is_last = at + 1 >= reading.heads.len();
        Self {
            what,
            raw: Loose::new(raw),
            before: before.map(|head| Loose::new(head.1)),
            stop: if is_last { reading.stop } else { Stop::End },
            early: reading.early.clone(),
            is_refused_head,
        }
    }
}

impl<'a> Side<'a> {
    fn new(outcome: &'a Outcome, reading: &Requests<'_>) -> Self {
        let mut events = Vec::new();
        let mut rest = outcome.received.as_slice();
        while !rest.is_empty() {
            let head = read_response(rest, true, outcome.has_ended);
            let relayed = match &head {
                Ok(Some((head, _))) => seen(outcome, head),
                Ok(None) | Err(_) => None,
            };
            let asked = reading.heads.get(events.len());
            let is_head = match relayed {
                Some(request) => request.method() == b"HEAD",
                None => asked.is_some_and(|head| head.0 == Method::HEAD),
            };
            let answer = read_response(rest, is_head, outcome.has_ended);
            let Ok(Some((answer, size))) = answer else {
                events.push(Event::Cut);
                break;
            };
            rest = &rest[size..];
            match relayed {
                _ if (100..200).contains(&answer.status()) => {}
                _ if !answer.is_whole => events.push(Event::Cut),
                Some(request) => events.push(Event::Relayed(request)),
                None => events.push(Event::Own(answer)),
            }
        }
        Self { outcome, events }
    }

    /// Whether there are further answers.
    fn goes_on(&self, at: usize) -> bool {
        self.events.len() > at + 1
    }

    /// Whether there are none, and the connection was closed.
    fn is_end(&self, at: usize) -> bool {
        !self.goes_on(at) && self.outcome.is_closed
    }
}

/// The request that an answer of the endpoint's belongs to.
fn seen<'a>(outcome: &'a Outcome, answer: &Message) -> Option<&'a Message> {
    let number = answer.values(NUMBER).next()?;
    let number: usize = std::str::from_utf8(number).ok()?.parse().ok()?;
    outcome.seen.get(number)
}
