//! What comes on streams that have ended, while their end is on its way to the other side.

use super::*;

/// What a client may have open, and so what it may not have heard of.
const STREAMS: u32 = 120;

fn talk() -> Talk {
    Talk::with(Settings {
        max_streams: STREAMS,
        ..SETTINGS_OF_TESTS
    })
}

fn id(number: u32) -> u32 {
    number * 2 + 1
}

/// Uploads of these numbers, which are answered before they have come.
fn answered_early(talk: &mut Talk, numbers: std::ops::Range<u32>) {
    for number in numbers.clone() {
        talk.open(id(number), false).expect("open");
    }
    for number in numbers {
        talk.answer(id(number), true);
        talk.server.release(id(number));
        assert_eq!(talk.reset_code(id(number)), Some(ErrorCode::NO_ERROR));
    }
    while talk.server.next_event().is_some() {}
    talk.said.clear();
}

/// The rest of an upload: a piece, and trailers.
fn says_rest(talk: &mut Talk, number: u32) -> Result<(), Fault> {
    talk.frame(DATA, 0, id(number), b"the rest")?;
    let trailers = block(&[("a", "b")]);
    talk.frame(HEADERS, END_HEADERS | END_STREAM, id(number), &trailers)
}

fn cancels(talk: &mut Talk, number: u32) -> Result<(), Fault> {
    let code = ErrorCode::CANCEL.0.to_be_bytes();
    talk.frame(RST_STREAM, 0, id(number), &code)
}

fn request_that_is_answered(talk: &mut Talk, number: u32) {
    talk.open(id(number), true).expect("a request");
    assert_eq!(talk.requests(), [id(number)]);
    talk.answer(id(number), true);
    talk.server.release(id(number));
}

/// However much else ends in the same round trip.
#[test]
fn the_rest_of_an_upload_may_come_behind_many_other_ends() {
    let mut talk = talk();
    answered_early(&mut talk, 0..1);
    for number in 1..2 * STREAMS {
        request_that_is_answered(&mut talk, number);
    }
    assert_eq!(says_rest(&mut talk, 0), Ok(()));
}

#[test]
fn who_gives_some_up_may_say_the_rest_of_others() {
    let mut talk = talk();
    answered_early(&mut talk, 0..STREAMS);
    for number in STREAMS / 2..STREAMS {
        assert_eq!(cancels(&mut talk, number), Ok(()));
    }
    for number in 0..STREAMS / 2 {
        assert_eq!(says_rest(&mut talk, number), Ok(()), "{number}");
    }
}

/// Trailers that were under way are no fault of the other end, on however many streams; but they
/// are its last word.
#[test]
fn each_upload_may_come_to_its_end_once() {
    let mut talk = talk();
    answered_early(&mut talk, 0..STREAMS);
    for number in 0..STREAMS {
        assert_eq!(says_rest(&mut talk, number), Ok(()), "{number}");
    }
    assert_eq!(
        says_rest(&mut talk, 7),
        Ok(()),
        "its own fault is a small one"
    );
    assert_eq!(talk.reset_code(id(7)), Some(ErrorCode::STREAM_CLOSED));
    let fault = (0..200).find_map(|_| says_rest(&mut talk, 7).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::MadeYouReset));
}

/// Where more are refused than are remembered, none of those before them breaks the connection.
#[test]
fn what_is_forgotten_may_be_late() {
    let mut talk = talk();
    answered_early(&mut talk, 0..1);
    for number in 1..=STREAMS {
        talk.open(id(number), false).expect("open");
    }
    for number in STREAMS + 1..4 * STREAMS {
        talk.open(id(number), true).expect("refused");
        let code = talk.reset_code(id(number));
        assert_eq!(code, Some(ErrorCode::REFUSED_STREAM));
    }
    assert_eq!(says_rest(&mut talk, 0), Ok(()));
    // But heads without end are some.
    let fault = (0..200).find_map(|_| says_rest(&mut talk, 0).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::MadeYouReset));
}

/// What is remembered does not grow.
#[test]
fn ends_without_number_are_not_all_remembered() {
    let mut talk = talk();
    answered_early(&mut talk, 0..1);
    for number in 1..2000 {
        answered_early(&mut talk, number..number + 1);
    }
    let most = STREAMS as usize;
    assert_eq!(talk.server.streams.remembered(), (most, 0));
    for number in 2000..4000 {
        request_that_is_answered(&mut talk, number);
    }
    assert_eq!(talk.server.streams.remembered(), (most, most));
    for number in 2000 - STREAMS..2000 {
        assert_eq!(cancels(&mut talk, number), Ok(()));
    }
    assert_eq!(talk.server.streams.remembered(), (0, most));
}

/// A client that gives up what was refused has paid for that already.
#[test]
fn a_refused_stream_is_paid_for_once() {
    let mut talk = talk();
    for number in 0..STREAMS {
        talk.open(id(number), false).expect("open");
    }
    for number in STREAMS..STREAMS + 900 {
        talk.open(id(number), true).expect("refused");
        assert_eq!(cancels(&mut talk, number), Ok(()), "{number}");
    }
    // At whatever time it does, if it does it once.
    let mut talk = self::talk();
    for number in 0..STREAMS {
        talk.open(id(number), false).expect("open");
    }
    for number in STREAMS..STREAMS + 400 {
        talk.open(id(number), true).expect("refused");
    }
    for number in STREAMS..STREAMS + 400 {
        assert_eq!(cancels(&mut talk, number), Ok(()), "{number}");
    }
}

/// The same of streams that come when no more are taken.
#[test]
fn a_stream_behind_the_last_one_is_paid_for_as_a_refused_one() {
    let mut talk = talk();
    talk.open(1, false).expect("open");
    talk.server.end_gently();
    for number in 1..400 {
        talk.open(id(number), true).expect("ignored");
        assert_eq!(cancels(&mut talk, number), Ok(()), "{number}");
    }
}

/// The work for them is done: nothing is spared or wasted by their reset.
#[test]
fn giving_up_what_was_answered_wholly_costs_nothing() {
    let mut talk = talk();
    for round in 0..20 {
        let numbers = || round * STREAMS..(round + 1) * STREAMS;
        for number in numbers() {
            talk.open(id(number), true).expect("a request");
        }
        assert_eq!(talk.requests().len(), STREAMS as usize);
        for number in numbers() {
            talk.answer(id(number), true);
            talk.server.release(id(number));
        }
        for number in numbers() {
            assert_eq!(cancels(&mut talk, number), Ok(()), "{number}");
        }
    }
    // None of them has two.
    let fault = (0..1000).find_map(|_| cancels(&mut talk, 2300).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::RapidReset));
}

/// Nor has one that nobody ever opened.
#[test]
fn resets_of_what_was_never_there_end_the_connection() {
    let mut talk = talk();
    request_that_is_answered(&mut talk, 7);
    let fault = (0..1000).find_map(|_| cancels(&mut talk, 3).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::RapidReset));
}

/// The end of a body that was under way is heard once, also while somebody still holds the stream.
#[test]
fn ends_without_number_end_the_connection() {
    let ends = |talk: &mut Talk, id| talk.frame(DATA, END_STREAM, id, b"");
    let mut talk = talk();
    answered_early(&mut talk, 0..STREAMS);
    for number in 0..STREAMS {
        assert_eq!(ends(&mut talk, id(number)), Ok(()), "{number}");
    }
    let fault = (0..200).find_map(|_| ends(&mut talk, id(7)).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::MadeYouReset));

    for is_held in [true, false] {
        let mut talk = self::talk();
        talk.open(1, false).expect("open");
        talk.server.reset(1, ErrorCode::CANCEL);
        assert_eq!(talk.frame(DATA, 0, 1, b"a piece"), Ok(()));
        assert_eq!(ends(&mut talk, 1), Ok(()));
        let error = talk.server.poll_frame(1, &nobody());
        assert!(matches!(error, Poll::Ready(Some(Err(_)))), "{error:?}");
        if !is_held {
            talk.server.release(1);
        }
        let fault = (0..200).find_map(|_| ends(&mut talk, 1).err());
        assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::MadeYouReset));
    }
}

/// A stream of which nothing is known: one that never began may be among them.
#[test]
fn who_begins_below_what_is_forgotten_hears_that() {
    let mut talk = talk();
    for number in 500..500 + STREAMS {
        talk.open(id(number), false).expect("open");
    }
    for number in 500 + STREAMS..500 + 3 * STREAMS {
        talk.open(id(number), true).expect("refused");
    }
    talk.open(7, true)
        .expect("it is no fault of the connection");
    assert_eq!(talk.reset_code(7), Some(ErrorCode::STREAM_CLOSED));
    let fault = (0..200).find_map(|_| talk.frame(DATA, END_STREAM, 7, b"").err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::EmptyData));
}

/// Says a thousand bytes on a stream again and again: what its window had room for may have been
/// under way, and no more.
fn goes_on(talk: &mut Talk, id: u32) {
    let mut says = || talk.frame(DATA, 0, id, &[0; 1000]);
    for turn in 0..65 {
        assert_eq!(says(), Ok(()), "{id}: {turn}");
    }
    let fault = (0..200).find_map(|_| says().err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::EmptyData));
}

#[test]
fn bodies_without_end_end_the_connection() {
    let mut answered = talk();
    answered_early(&mut answered, 0..STREAMS);
    goes_on(&mut answered, id(7));

    let mut held = talk();
    held.open(1, false).expect("open");
    held.server.reset(1, ErrorCode::CANCEL);
    goes_on(&mut held, 1);

    let mut refused = talk();
    for number in 0..=STREAMS {
        refused.open(id(number), false).expect("open");
    }
    goes_on(&mut refused, id(STREAMS));

    let mut forgotten = talk();
    answered_early(&mut forgotten, 0..1);
    for number in 1..=STREAMS {
        forgotten.open(id(number), false).expect("open");
    }
    for number in STREAMS + 1..4 * STREAMS {
        forgotten.open(id(number), true).expect("refused");
    }
    goes_on(&mut forgotten, 1);

    let mut ignored = talk();
    ignored.open(1, false).expect("open");
    ignored.server.end_gently();
    ignored.open(3, false).expect("ignored");
    goes_on(&mut ignored, 3);
}

/// Streams that begin before our last word is heard come to their end, each of them once.
#[test]
fn ends_behind_the_last_stream_end_the_connection() {
    let mut talk = talk();
    talk.open(1, false).expect("open");
    talk.server.end_gently();
    for number in 1..=STREAMS {
        talk.open(id(number), false).expect("ignored");
    }
    let ends = |talk: &mut Talk, number| talk.frame(DATA, END_STREAM, id(number), b"");
    for number in 1..=STREAMS {
        assert_eq!(ends(&mut talk, number), Ok(()), "{number}");
    }
    let fault = (0..200).find_map(|_| ends(&mut talk, 7).err());
    assert_eq!(fault.and_then(|it| it.abuse), Some(Abuse::EmptyData));
}
