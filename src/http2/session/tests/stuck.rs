//! Streams that the other end holds up, and for how long each may be.

use super::*;
use crate::http2::driven::HeldUp;

const SECOND: Duration = Duration::from_secs(1);

fn held_up(responses: usize, requests: usize) -> HeldUp {
    HeldUp {
        responses,
        requests,
    }
}

/// A response of which the client takes nothing, and a request that it does not go on with.
fn stuck() -> Talk {
    let mut talk = Talk::begin();
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 0)]);
    talk.say(&settings).expect("settings");
    talk.open(1, true).expect("open");
    talk.answer(1, false);
    assert!(talk.room(1).is_pending());
    talk.open(3, false).expect("open");
    talk.frame(DATA, 0, 3, b"a little").expect("a piece");
    assert!(talk.server.poll_frame(3, &nobody()).is_ready());
    talk
}

#[test]
fn they_count_at_once_without_time_of_their_own() {
    let mut talk = stuck();
    assert_eq!(talk.server.held_up(talk.now), held_up(1, 1));
    assert_eq!(talk.server.patience(), Duration::ZERO);
}

#[test]
fn a_conversation_may_be_silent() {
    let mut talk = stuck();
    talk.server.converses(3, true);
    assert_eq!(talk.server.held_up(talk.now), held_up(1, 0));
    // The endpoint that it goes to in the end is one that keeps a connection for it.
    talk.server.converses(3, false);
    assert_eq!(talk.server.held_up(talk.now), held_up(1, 1));
}

#[test]
fn one_that_may_rest_counts_when_its_time_has_passed() {
    let mut talk = stuck();
    talk.server.may_rest(1, 60 * SECOND);
    talk.server.may_rest(3, 30 * SECOND);
    assert_eq!(talk.server.patience(), 60 * SECOND);
    for (seconds, expected) in [
        (0, held_up(0, 0)),
        (10, held_up(0, 0)),
        (20, held_up(0, 0)),
        (29, held_up(0, 0)),
        (30, held_up(0, 1)),
        (45, held_up(0, 1)),
        (59, held_up(0, 1)),
        (60, held_up(1, 1)),
    ] {
        let now = talk.now + seconds * SECOND;
        assert_eq!(talk.server.held_up(now), expected, "{seconds}");
    }
    talk.server.release(1);
    talk.server.release(3);
    assert_eq!(talk.server.patience(), Duration::ZERO, "none is left");
}

/// It is not held up all the time if it was not at one look, or nobody looked.
#[test]
fn its_time_begins_anew() {
    let mut talk = stuck();
    talk.server.may_rest(3, 30 * SECOND);
    talk.server.may_rest(1, 30 * SECOND);
    let begun = talk.now;
    let look = |talk: &mut Talk, seconds| talk.server.held_up(begun + seconds * SECOND);
    assert_eq!(look(&mut talk, 0), held_up(0, 0));
    assert_eq!(look(&mut talk, 15), held_up(0, 0));
    talk.frame(DATA, 0, 3, b"more").expect("a piece");
    assert_eq!(
        look(&mut talk, 16),
        held_up(0, 0),
        "it is for us to take it"
    );
    assert!(talk.server.poll_frame(3, &nobody()).is_ready());
    assert_eq!(look(&mut talk, 17), held_up(0, 0));
    assert_eq!(
        look(&mut talk, 31),
        held_up(1, 0),
        "only the one that stood still"
    );
    assert_eq!(look(&mut talk, 47), held_up(0, 0), "too long ago to tell");
}
