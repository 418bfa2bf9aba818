//! Many streams of one connection that have more to say than there is room for.

use super::*;

/// What each stream has said, in rounds: each says what it may, and then the other end takes a
/// little.
fn say_in_rounds(talk: &mut Talk, ids: &[u32], rounds: usize, taken: usize) -> Vec<usize> {
    let mut said = vec![0; ids.len()];
    for _ in 0..rounds {
        for (place, &id) in ids.iter().enumerate() {
            while let Poll::Ready(Ok(room)) = talk.room(id) {
                talk.server.send(id, &vec![0; room], MORE);
                said[place] += room;
            }
        }
        let there = talk.server.output().len().min(taken);
        talk.server.sent(there);
    }
    said
}

fn wide_open(talk: &mut Talk) {
    let mut bytes = Vec::new();
    write_settings(&mut bytes, &[(INITIAL_WINDOW_SIZE, 1 << 30)]);
    write_header(&mut bytes, 4, WINDOW_UPDATE, 0, 0);
    bytes.extend_from_slice(&(1_u32 << 30).to_be_bytes());
    talk.say(&bytes).expect("settings");
}

#[test]
fn each_has_its_turn() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    let ids: Vec<u32> = (0..8).map(|number| number * 2 + 1).collect();
    for &id in &ids {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    let said = say_in_rounds(&mut talk, &ids, 400, MAX_FRAME);
    let (least, most) = (said.iter().min(), said.iter().max());
    let (least, most) = (least.expect("some"), most.expect("some"));
    assert!(
        *least > 100_000 && most - least <= 4 * MAX_FRAME,
        "{said:?}"
    );
}

/// Who is called has not spoken yet: the room is its own, and not that of the first who asks.
#[test]
fn nobody_overtakes_those_that_are_called() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    for id in [1, 3, 5] {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    drop(say_in_rounds(&mut talk, &[1, 3], 1, 0));
    assert!(talk.room(1).is_pending() && talk.room(3).is_pending());
    // All of it leaves: both are called, and woken, and another one asks before they do.
    talk.server.sent(talk.server.output().len());
    assert!(talk.room(5).is_pending(), "two stand before it");
    for id in [1, 3, 5] {
        let room = talk.room(id);
        let Poll::Ready(Ok(room @ 1..)) = room else {
            panic!("{id}: {room:?}");
        };
        talk.server.send(id, &vec![0; room], MORE);
    }
}

/// One that is called may have something else to do, for long. In its round the room is its own.
#[test]
fn a_turn_lasts_for_one_round() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    let ids = [1, 3, 5, 7, 9];
    for id in ids {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    drop(say_in_rounds(&mut talk, &ids, 1, 0));
    assert!(!talk.server.pass_turns(), "nobody is called");
    talk.server.sent(talk.server.output().len());
    assert!(talk.server.has_called());
    assert!(talk.server.pass_turns(), "they may come by the next look");
    assert!(talk.room(7).is_pending(), "three stand before it");
    // The first one comes in its round. The others do not.
    let Poll::Ready(Ok(room @ 1..)) = talk.room(1) else {
        panic!("it was called");
    };
    talk.server.send(1, &vec![0; room], MORE);
    while talk.server.pass_turns() {}
    for id in [9, 3, 7] {
        let room = talk.room(id);
        assert!(matches!(room, Poll::Ready(Ok(1..))), "{id}: {room:?}");
    }
}

/// Those that are called may be gone before they hear of it.
#[test]
fn nobody_waits_for_those_that_have_gone() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    for id in [1, 3, 5, 7] {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    drop(say_in_rounds(&mut talk, &[1, 3, 5], 1, 0));
    talk.server.sent(talk.server.output().len());
    talk.server.release(1);
    talk.server.reset(3, ErrorCode::CANCEL);
    talk.frame(RST_STREAM, 0, 5, &8_u32.to_be_bytes())
        .expect("within the allowance");
    assert!(matches!(talk.room(7), Poll::Ready(Ok(1..))));
}

/// Who holds a stream that has broken need not ask it for anything before long.
#[test]
fn a_stream_that_breaks_keeps_no_turn() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    let ids: Vec<u32> = (0..10).map(|number| number * 2 + 1).collect();
    for &id in &ids {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    drop(say_in_rounds(&mut talk, &ids, 1, 0));
    // All of them wait. All but the last are reset, and nobody looks.
    let (last, others) = ids.split_last().expect("some");
    for &id in others {
        talk.frame(RST_STREAM, 0, id, &8_u32.to_be_bytes())
            .expect("within the allowance");
    }
    talk.server.sent(talk.server.output().len());
    assert!(matches!(talk.room(*last), Poll::Ready(Ok(1..))));
}

/// What little window a connection has is used in the end, whatever the streams have.
#[test]
fn a_little_window_of_the_connection_is_used_in_the_end() {
    let mut talk = Talk::begin();
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    talk.say(&settings).expect("settings");
    for id in [1, 3] {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    while let Poll::Ready(Ok(room)) = talk.room(1) {
        talk.server.send(1, &vec![0; room], MORE);
        talk.server.sent(talk.server.output().len());
    }
    assert!(talk.room(3).is_pending() && !talk.server.has_slivers());
    talk.frame(WINDOW_UPDATE, 0, 0, &500_u32.to_be_bytes())
        .expect("a window");
    assert!(talk.server.has_slivers());
    talk.server.hurry();
    let room = [talk.room(1), talk.room(3)];
    assert!(room.contains(&Poll::Ready(Ok(500))), "{room:?}");
}

/// A stream that is called and has gone, or may say nothing, passes its turn on.
#[test]
fn turns_are_passed_on() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    let ids = [1, 3, 5, 7];
    for id in ids {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    drop(say_in_rounds(&mut talk, &ids, 1, 0));
    // All of them wait now. Those that are called go away.
    talk.server.sent(talk.server.output().len());
    for id in [1, 3, 5] {
        talk.server.release(id);
    }
    let said = say_in_rounds(&mut talk, &[7], 100, LARGE);
    assert!(said[0] > 1_000_000, "{said:?}");
}

/// The socket takes nothing, and streams come and go that would say a head.
#[test]
fn nobody_waits_who_has_gone() {
    let mut talk = Talk::begin();
    wide_open(&mut talk);
    talk.open(1, true).expect("open");
    talk.answer(1, false);
    drop(say_in_rounds(&mut talk, &[1], 1, 0));
    for number in 1..1000 {
        let id = number * 2 + 1;
        let mut bytes = Vec::new();
        let block = request("GET");
        write_header(
            &mut bytes,
            block.len(),
            HEADERS,
            END_HEADERS | END_STREAM,
            id,
        );
        bytes.extend_from_slice(&block);
        let taken = talk.server.receive(&bytes, talk.now);
        assert_eq!(taken, Ok(bytes.len()));
        assert!(talk.server.poll_turn(id, &nobody()).is_pending());
        talk.server.release(id);
        assert!(talk.server.heads.is_empty());
    }
}

const LARGE: usize = 64 * 1024;

#[test]
fn frames_are_taken_in_a_few_at_a_time() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        write_header(&mut bytes, 1, DATA, 0, 1);
        bytes.push(b'x');
    }
    let mut turns = 0;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        assert!(Session::is_whole(rest));
        let taken = talk.server.receive(rest, talk.now).expect("well-formed");
        rest = &rest[taken..];
        turns += 1;
    }
    assert_eq!(turns, 4);
    assert_eq!(talk.server.received(1), 1000);
}
