//! What a client can do too much of, and honest clients that do much of it.

use super::*;

/// Says a frame again and again until the connection ends: how often, and by what.
fn flood(talk: &mut Talk, mut say: impl FnMut(&mut Talk, u32) -> Result<(), Fault>) -> Abuse {
    for turn in 0..TURNS {
        if let Err(fault) = say(talk, turn) {
            assert_eq!(fault.code, ErrorCode::ENHANCE_YOUR_CALM);
            let told = talk.heard(GOAWAY, 0);
            assert_eq!(
                told.last().expect("GOAWAY")[4..8],
                fault.code.0.to_be_bytes()
            );
            return fault.abuse.expect("an abuse");
        }
        while let Some(event) = talk.server.next_event() {
            if let Event::Request(id, _) | Event::Refused(_, Some(id)) = event {
                talk.server.release(id);
            }
        }
        talk.said.clear();
    }
    panic!("{TURNS} times, and nothing happened");
}

const TURNS: u32 = 5000;

fn id(turn: u32) -> u32 {
    turn * 2 + 1
}

#[test]
fn rapid_reset() {
    let mut talk = Talk::begin();
    let abuse = flood(&mut talk, |talk, turn| {
        talk.open(id(turn), true)?;
        talk.frame(RST_STREAM, 0, id(turn), &ErrorCode::CANCEL.0.to_be_bytes())
    });
    assert_eq!(abuse, Abuse::RapidReset);
}

#[test]
fn made_you_reset() {
    for payload in [[0; 4], HIGHEST_ID.to_be_bytes()] {
        let mut talk = Talk::begin();
        let abuse = flood(&mut talk, |talk, turn| {
            talk.open(id(turn), true)?;
            talk.frame(WINDOW_UPDATE, 0, id(turn), &payload)
        });
        assert_eq!(abuse, Abuse::MadeYouReset);
    }
    let mut talk = Talk::begin();
    let abuse = flood(&mut talk, |talk, turn| {
        talk.open(id(turn), true)?;
        talk.frame(DATA, 0, id(turn), b"after the end")
    });
    assert_eq!(abuse, Abuse::MadeYouReset);
}

#[test]
fn malformed_requests_without_end() {
    let mut talk = Talk::begin();
    let block = block(&[("Upper", "case")]);
    let abuse = flood(&mut talk, |talk, turn| {
        talk.frame(HEADERS, END_HEADERS | END_STREAM, id(turn), &block)
    });
    assert_eq!(abuse, Abuse::MadeYouReset);
}

#[test]
fn continuations_without_end() {
    for piece in [&b""[..], b"x", &[0; MAX_FRAME]] {
        let mut talk = Talk::begin();
        talk.frame(HEADERS, 0, 1, b"").expect("a head begins");
        let abuse = flood(&mut talk, |talk, _| talk.frame(CONTINUATION, 0, 1, piece));
        assert_eq!(abuse, Abuse::Continuation);
    }
}

#[test]
fn frames_that_lead_nowhere() {
    for (kind, id, payload, expected) in [
        (PING, 0, &[0; 8][..], Abuse::Ping),
        (SETTINGS, 0, b"", Abuse::Settings),
        (PRIORITY, 3, &[0, 0, 0, 1, 0], Abuse::Priority),
        (0x10, 0, &[0, 0, 0, 1], Abuse::Priority),
        (DATA, 1, b"", Abuse::EmptyData),
        (WINDOW_UPDATE, 0, &[0, 0, 0, 1], Abuse::WindowUpdate),
        (WINDOW_UPDATE, 1, &[0, 0, 0, 1], Abuse::WindowUpdate),
        (0xfa, 0, b"what is this", Abuse::UnknownFrame),
    ] {
        let mut talk = Talk::begin();
        talk.open(1, false).expect("open");
        talk.server.next_event();
        let abuse = flood(&mut talk, |talk, _| talk.frame(kind, 0, id, payload));
        assert_eq!(abuse, expected);
    }
}

#[test]
fn answers_to_what_was_not_asked() {
    for (kind, payload, expected) in [
        (PING, &[0; 8][..], Abuse::Ping),
        (SETTINGS, b"", Abuse::Settings),
    ] {
        let mut talk = Talk::begin();
        let abuse = flood(&mut talk, |talk, _| talk.frame(kind, ACK, 0, payload));
        assert_eq!(abuse, expected);
    }
}

#[test]
fn streams_beyond_the_limit() {
    let mut talk = Talk::begin();
    for turn in 0..10 {
        talk.open(id(turn), false).expect("open");
    }
    while talk.server.next_event().is_some() {}
    let abuse = flood(&mut talk, |talk, turn| talk.open(id(turn + 10), true));
    assert_eq!(abuse, Abuse::RefusedStream);
}

/// A proxy before us passes on what many cancel, and has room again as soon as it has said so. We
/// have it when our work has ended, here at the end of each second.
#[test]
fn cancelling_faster_than_we_let_go_is_no_abuse() {
    let mut talk = Talk::begin();
    for turn in 0..5 {
        for stream in 0..120 {
            let id = id(turn * 120 + stream);
            talk.open(id, true).expect("a request");
            if talk.requests().is_empty() {
                assert_eq!(talk.reset_code(id), Some(ErrorCode::REFUSED_STREAM));
                continue;
            }
            talk.answer(id, true);
        }
        for stream in 0..120 {
            talk.server.release(id(turn * 120 + stream));
        }
        talk.now += Duration::from_secs(1);
    }
}

/// One entry of the table, referred to by bytes without number: nothing of it is kept.
#[test]
fn a_head_that_is_a_bomb() {
    let mut talk = Talk::begin();
    let mut bomb = request("GET");
    bomb.push(0x40);
    bomb.extend_from_slice(b"\x01a\x7f\xc1\x1e");
    bomb.extend_from_slice(&[b'x'; 4000]);
    bomb.extend_from_slice(&[0x80 | 0x3e; 8000]);
    let mut is_first = true;
    let abuse = flood(&mut talk, |talk, turn| {
        let result = talk.frame(HEADERS, END_HEADERS | END_STREAM, id(turn), &bomb);
        if std::mem::take(&mut is_first) {
            let event = talk.server.next_event();
            let Some(Event::Refused(_, Some(1))) = event else {
                panic!("{event:?}");
            };
            talk.server.release(1);
        }
        result
    });
    assert_eq!(abuse, Abuse::HeaderList);
}

/// The other end asks, and does not listen.
#[test]
fn answers_that_nobody_takes_stop_the_reading() {
    let now = Instant::now();
    let mut server = Session::new(Role::Server, SETTINGS_OF_TESTS, now);
    let mut bytes = PREFACE.to_vec();
    write_settings(&mut bytes, &[]);
    server.receive(&bytes, now).expect("a beginning");
    let mut ping = Vec::new();
    write_header(&mut ping, 8, PING, 0, 0);
    ping.extend_from_slice(&[0; 8]);
    let mut later = now;
    for _ in 0..5000 {
        if server.is_flooded() {
            break;
        }
        later += Duration::from_secs(1);
        server.receive(&ping, later).expect("slow enough");
    }
    assert!(server.is_flooded());
    let waiting = server.output().len();
    assert!(waiting < 80 * 1024, "{waiting} bytes wait");
}

/// gRPC measures its way with a PING for each piece, and tells of each window twice.
#[test]
fn what_accompanies_work_is_no_abuse() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    for _ in 0..20_000 {
        talk.frame(DATA, 0, 1, b"a message").expect("work");
        assert!(talk.room(1).is_ready());
        talk.server.send(1, b"an answer", MORE);
        talk.frame(PING, 0, 0, &[0; 8]).expect("a measurement");
        talk.frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 9])
            .expect("a window");
        talk.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])
            .expect("a window");
        let frame = talk.server.poll_frame(1, &nobody());
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
        talk.said.clear();
    }
}

#[test]
fn requests_without_end_are_no_abuse() {
    let mut talk = Talk::begin();
    for turn in 0..20_000 {
        talk.open(id(turn), true).expect("a request");
        assert_eq!(talk.requests(), [id(turn)]);
        talk.answer(id(turn), true);
        talk.server.release(id(turn));
        talk.listen();
        talk.said.clear();
    }
}

/// A window of one byte after the other: what it makes us say does not pay for it.
#[test]
fn tiny_windows() {
    let mut talk = Talk::begin();
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 0)]);
    talk.say(&settings).expect("settings");
    talk.open(1, true).expect("open");
    talk.server.next_event();
    talk.answer(1, false);
    let cut = Piece {
        ends: false,
        is_cut: true,
    };
    let abuse = flood(&mut talk, |talk, _| {
        talk.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])?;
        assert_eq!(talk.room(1), Poll::Ready(Ok(1)));
        talk.server.send(1, b"x", cut);
        Ok(())
    });
    assert_eq!(abuse, Abuse::WindowUpdate);
}

/// What has to be decompressed on streams that we have reset, or do not take any more.
#[test]
fn heads_that_nobody_wants() {
    let mut talk = Talk::begin();
    let malformed = block(&[("Upper", "case")]);
    talk.frame(HEADERS, END_HEADERS, 1, &malformed)
        .expect("once");
    let trailers = block(&[("a", "b")]);
    let abuse = flood(&mut talk, |talk, _| {
        talk.frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)
    });
    assert_eq!(abuse, Abuse::MadeYouReset);
    // In however many frames.
    let mut talk = Talk::begin();
    talk.frame(HEADERS, END_HEADERS, 1, &malformed)
        .expect("once");
    let abuse = flood(&mut talk, |talk, _| {
        talk.frame(HEADERS, END_STREAM, 1, &trailers)?;
        talk.frame(CONTINUATION, END_HEADERS, 1, &[])
    });
    assert_eq!(abuse, Abuse::MadeYouReset);
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    talk.server.next_event();
    talk.server.end_gently();
    let abuse = flood(&mut talk, |talk, turn| talk.open(id(turn + 1), true));
    assert_eq!(abuse, Abuse::RefusedStream);
}

/// Each of them may change the windows of all streams.
#[test]
fn settings_without_end_in_one_frame() {
    let mut talk = Talk::begin();
    let mut many = Vec::new();
    write_settings(&mut many, &vec![(INITIAL_WINDOW_SIZE, 70_000); 2730]);
    let fault = talk.say(&many).expect_err("too many");
    assert_eq!(fault.abuse, Some(Abuse::Settings));
}

/// Uploads that are all refused: what was under way on them is no abuse.
#[test]
fn bodies_that_come_too_late_are_no_abuse() {
    let mut talk = Talk::with(Settings {
        max_streams: 200,
        ..SETTINGS_OF_TESTS
    });
    for turn in 0..200 {
        talk.open(id(turn), false).expect("open");
        assert_eq!(talk.requests(), [id(turn)]);
    }
    for turn in 0..200 {
        talk.answer(id(turn), true);
        talk.server.release(id(turn));
        assert_eq!(talk.reset_code(id(turn)), Some(ErrorCode::NO_ERROR));
    }
    for turn in 0..200 {
        for _ in 0..4 {
            talk.frame(DATA, 0, id(turn), &[0; 100]).expect("late");
        }
    }
    assert_eq!(talk.open(id(200), true), Ok(()));
}

/// Go tells of each 4 KiB that were read, for the stream and for the connection, and reads later.
#[test]
fn windows_of_a_reader_of_small_pieces() {
    let mut talk = Talk::begin();
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 4 << 20)]);
    talk.say(&settings).expect("settings");
    let more = (1_u32 << 24).to_be_bytes();
    talk.frame(WINDOW_UPDATE, 0, 0, &more).expect("a window");
    talk.open(1, true).expect("open");
    talk.answer(1, false);
    let mut behind = 0;
    for _ in 0..3000 {
        if let Poll::Ready(Ok(room)) = talk.room(1) {
            talk.server.send(1, &vec![0; room], MORE);
            behind += room;
        }
        talk.listen();
        talk.said.clear();
        if behind >= 3 << 20 {
            for _ in 0..2 << 20 >> 12 {
                talk.frame(WINDOW_UPDATE, 0, 1, &[0, 0, 16, 0])
                    .expect("a window");
                talk.frame(WINDOW_UPDATE, 0, 0, &[0, 0, 16, 0])
                    .expect("a window");
            }
            behind -= 2 << 20;
        }
    }
}

/// An upload that is answered early, and given up when the client hears of it.
#[test]
fn giving_up_what_was_answered_is_no_abuse() {
    let mut talk = Talk::begin();
    for turn in 0..2000 {
        talk.open(id(turn), false).expect("a request");
        talk.server.next_event();
        talk.answer(id(turn), true);
        talk.server.release(id(turn));
        let code = ErrorCode::CANCEL.0.to_be_bytes();
        talk.frame(RST_STREAM, 0, id(turn), &code).expect("late");
        talk.said.clear();
    }
}

/// A malformed request now and then is that of one user of many.
#[test]
fn a_bad_request_among_good_ones_is_no_abuse() {
    let mut talk = Talk::begin();
    let bad = block(&[("Upper", "case")]);
    for turn in 0..2000 {
        talk.frame(HEADERS, END_HEADERS | END_STREAM, id(2 * turn), &bad)
            .expect("its own");
        talk.server.next_event();
        talk.open(id(2 * turn + 1), true).expect("a request");
        talk.server.next_event();
        talk.answer(id(2 * turn + 1), true);
        talk.server.release(id(2 * turn + 1));
        talk.said.clear();
    }
}

/// Bytes that were under way when we reset their stream.
#[test]
fn a_malformed_body_costs_its_own_stream() {
    let mut talk = Talk::begin();
    let head = request_of_five();
    talk.frame(HEADERS, END_HEADERS, 1, &head).expect("open");
    for _ in 0..200 {
        talk.frame(DATA, 0, 1, &[0; 100]).expect("only bytes");
    }
    assert_eq!(talk.reset_code(1), Some(ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn goodbyes_without_end() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    let abuse = flood(&mut talk, |talk, _| talk.frame(GOAWAY, 0, 0, &[0; 8]));
    assert_eq!(abuse, Abuse::UnknownFrame);
}
