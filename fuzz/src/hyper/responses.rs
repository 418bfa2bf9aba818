//! Compares what became of an endpoint's bytes.
//!
//! The client asks once, the endpoint says whatever it says, and the client asks again where it
//! may. The first answers are compared. The second may only be the usual one: bytes that stood
//! behind the first must never become it (RFC 9112 §9.2).

use http::Method;

use super::oracle::Trailers;
use super::requests::flat;
use super::response_rules::{Case, What};
use crate::endpoint::NUMBER;
use crate::facts::Loose;
use crate::reading;
use crate::run::Outcome;
use crate::wire::{Message, read_response};

/// What the client got for its first request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing, or half a head.
    Nothing,
    /// The proxy's own: the endpoint's was not fit to be relayed.
    Own(Message),
    /// The endpoint's, as far as it came.
    Relayed(Message),
}

/// Panics if the engine did otherwise than hyper, and no rule accepts that.
pub(super) fn compare(
    request: &[u8],
    bytes: &[u8],
    ours: &Outcome,
    theirs: &Outcome,
    trailers: &[Trailers],
) {
    let is_head = request.starts_with(b"HEAD ");
    let method = if is_head { Method::HEAD } else { Method::GET };
    let is_old = request.windows(10).any(|word| word == b" HTTP/1.0\r");
    check(ours, is_head);
    let (stop, at) = reading::response(bytes, &method);
    let case = |what| Case {
        what,
        raw: Loose::new(&bytes[at..]),
        stop,
        is_old,
        is_head,
    };
    let (ours_closed, theirs_closed) = (ours.is_closed, theirs.is_closed);
    let answers = [ours, theirs].map(|outcome| {
        let mut answer = first(outcome, is_head);
        if let Answer::Relayed(answer) = &mut answer
            && is_old
            && answer.values("content-length").next().is_none()
        {
            // A close ends the body, a reset cuts it; on a Unix socket the two look the same.
            answer.is_whole = false;
        }
        answer
    });
    let [ours, theirs] = &answers;
    match (ours, theirs) {
        (Answer::Relayed(ours), Answer::Relayed(theirs)) => {
            let read = trailers.first().map(|trailers| flat(&trailers.borrow()));
            same(ours, theirs, &case);
            let read = read.unwrap_or_default();
            if ours.is_whole && theirs.is_whole && ours.trailers != read {
                case(What::Trailers {
                    ours: &ours.trailers,
                    theirs: read,
                })
                .settle();
            }
            if ours_closed != theirs_closed && ours.is_whole && theirs.is_whole {
                case(What::Closed {
                    ours: ours_closed,
                    theirs: theirs_closed,
                })
                .settle();
            }
        }
        // Neither relays: each says so in its own way.
        (Answer::Own(_) | Answer::Nothing, Answer::Own(_) | Answer::Nothing) => {}
        (Answer::Own(_) | Answer::Nothing, Answer::Relayed(theirs)) => {
            let ours = if let Answer::Own(answer) = ours {
                answer.status()
            } else {
                0
            };
            case(What::WeRefused { ours, theirs }).settle();
        }
        (Answer::Relayed(ours), Answer::Own(_) | Answer::Nothing) => {
            case(What::WeRelayed { ours }).settle();
        }
    }
}

/// What holds for us whatever others do.
fn check(outcome: &Outcome, is_head: bool) {
    assert!(outcome.has_ended, "the connection stays open: {outcome:#?}");
    for request in &outcome.seen {
        assert_eq!(
            request.strange, None,
            "it should not be forwarded: {request:#?}"
        );
    }
    if outcome.is_closed {
        assert_eq!(outcome.second, b"", "who closed says nothing more");
        return;
    }
    match read_response(&outcome.second, is_head, true) {
        Ok(Some((second, size))) => {
            assert_eq!(
                size,
                outcome.second.len(),
                "more than an answer: {outcome:#?}"
            );
            assert!(
                second.values(NUMBER).next().is_some(),
                "poisoned: {outcome:#?}"
            );
        }
        read => panic!("the second answer is {read:?}: {outcome:#?}"),
    }
}

/// The first final answer. What stands behind it is nobody's.
fn first(outcome: &Outcome, is_head: bool) -> Answer {
    let mut rest = outcome.received.as_slice();
    loop {
        // A connection that closes ends an answer, and so does the end of the run.
        let is_end = outcome.is_closed || outcome.has_ended;
        match read_response(rest, is_head, is_end) {
            Ok(Some((answer, size)))
                if (100..200).contains(&answer.status()) && answer.status() != 101 =>
            {
                rest = &rest[size..];
            }
            Ok(Some((answer, _))) => {
                let is_own = answer
                    .values("proxy-status")
                    .any(|value| value.starts_with(b"evenkeel; error="))
                    || answer.values(super::oracle::OWN).next().is_some();
                return if is_own {
                    Answer::Own(answer)
                } else {
                    Answer::Relayed(answer)
                };
            }
            Ok(None) => return Answer::Nothing,
            Err(_) => return Answer::Nothing,
        }
    }
}

/// Compares an answer as the two have relayed it.
fn same<'a>(ours: &'a Message, theirs: &'a Message, case: &dyn Fn(What<'a>) -> Case<'a>) {
    if ours.status() != theirs.status() {
        case(What::Line { ours, theirs }).settle();
    }
    let is_start = ours.body.starts_with(&theirs.body) || theirs.body.starts_with(&ours.body);
    if ours.is_whole != theirs.is_whole {
        case(What::End { ours, theirs }).settle();
    } else if !is_start || ours.is_whole && ours.body != theirs.body {
        case(What::Body { ours, theirs }).settle();
    }
    let names = ours
        .fields
        .iter()
        .chain(&theirs.fields)
        .map(|field| field.0.as_str());
    let mut names: Vec<&str> = names.filter(|name| !HOP.contains(name)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut mine: Vec<&[u8]> = ours.values(name).collect();
        let their: Vec<&[u8]> = theirs.values(name).collect();
        match name {
            "via" => drop(mine.pop()),
            // Who has no clock gets the proxy's (RFC 9110 §6.6.1).
            "date" if their.is_empty() => mine.clear(),
            _ => {}
        }
        if mine != their {
            case(What::Field {
                name,
                ours: mine,
                theirs: their,
                answer: theirs,
            })
            .settle();
        }
    }
}

/// The connection's, the framing's (bodies are compared instead), and what we tell every client.
const HOP: [&str; 5] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];
