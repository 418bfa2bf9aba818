//! Rules of the protocol that a stream or the connection ends by.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use super::*;

#[test]
fn a_beginning_may_come_byte_by_byte() {
    let mut bytes = PREFACE.to_vec();
    write_settings(&mut bytes, &[(INITIAL_WINDOW_SIZE, 10)]);
    let block = request("GET");
    write_header(
        &mut bytes,
        block.len(),
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
    );
    bytes.extend_from_slice(&block);
    let now = Instant::now();
    let mut server = Session::new(Role::Server, SETTINGS_OF_TESTS, now);
    let mut waiting = Vec::new();
    for byte in bytes {
        assert!(server.next_event().is_none(), "not before its last byte");
        waiting.push(byte);
        let taken = server.receive(&waiting, now).expect("well-formed");
        waiting.drain(..taken);
    }
    assert!(matches!(server.next_event(), Some(Event::Request(1, _))));
    assert!(waiting.is_empty());
}

#[test]
fn what_is_no_preface_is_told_at_its_first_wrong_byte() {
    let mut server = Session::new(Role::Server, SETTINGS_OF_TESTS, Instant::now());
    let fault = server.receive(b"PRI * HTTP/1", Instant::now());
    assert_eq!(
        fault.expect_err("not of HTTP/2").code,
        ErrorCode::PROTOCOL_ERROR
    );
}

/// RFC 9113 §6.9.2.
#[test]
fn a_smaller_setting_may_take_a_window_below_zero() {
    let mut talk = Talk::begin();
    talk.open(1, true).expect("open");
    talk.answer(1, false);
    assert_eq!(talk.room(1), Poll::Ready(Ok(MAX_FRAME)));
    talk.server.send(1, &[0; 1000], MORE);
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 400)]);
    talk.say(&settings).expect("settings");
    assert_eq!(talk.room(1), Poll::Pending);
    talk.frame(WINDOW_UPDATE, 0, 1, &600_u32.to_be_bytes())
        .expect("a window");
    assert_eq!(talk.room(1), Poll::Pending, "it is 0 again, and no more");
    talk.frame(WINDOW_UPDATE, 0, 1, &7_u32.to_be_bytes())
        .expect("a window");
    assert_eq!(talk.room(1), Poll::Pending, "not worth a frame");
    talk.frame(WINDOW_UPDATE, 0, 1, &193_u32.to_be_bytes())
        .expect("a window");
    assert_eq!(talk.room(1), Poll::Ready(Ok(200)));
}

/// A body that is cut off by a window in a few bytes would go on in a few bytes.
#[test]
fn slivers_are_waited_for_and_small_pieces_are_not() {
    let mut talk = Talk::begin();
    talk.open(1, true).expect("open");
    talk.answer(1, false);
    let window = crate::http2::frame::DEFAULT_WINDOW as usize;
    let mut sent = 0;
    while let Poll::Ready(Ok(room)) = talk.room(1) {
        let piece = room.min(window - 100 - sent);
        if piece == 0 {
            break;
        }
        talk.server.send(1, &vec![0; piece], MORE);
        talk.server.sent(talk.server.output().len());
        sent += piece;
    }
    assert_eq!(sent, window - 100);
    assert_eq!(talk.room(1), Poll::Pending, "100 bytes of a long piece");
    let room = talk.server.poll_room(1, 100, &nobody());
    assert_eq!(room, Poll::Ready(Ok(100)), "all that there is");
    assert!(talk.room(1).is_pending() && talk.server.has_slivers());
    talk.server.hurry();
    assert_eq!(talk.room(1), Poll::Ready(Ok(100)), "it has waited for long");
    assert!(talk.room(1).is_pending(), "only once");
    for id in [0, 1] {
        talk.frame(WINDOW_UPDATE, 0, id, &10_000_u32.to_be_bytes())
            .expect("a window");
    }
    assert_eq!(talk.room(1), Poll::Ready(Ok(10_100)));
}

/// RFC 9113 §8.1.1: a body that is longer than it was to be is malformed, and is not handed on as a
/// request that is whole before that is known.
#[test]
fn the_last_piece_waits_for_the_end() {
    let mut talk = Talk::begin();
    let head = request_of_five();
    for id in [1, 3] {
        talk.frame(HEADERS, END_HEADERS, id, &head).expect("open");
        talk.frame(DATA, 0, id, b"he").expect("a piece");
        let piece = talk.server.poll_frame(id, &nobody());
        assert!(matches!(piece, Poll::Ready(Some(Ok(_)))));
        talk.frame(DATA, 0, id, b"llo").expect("the rest");
        assert!(talk.server.poll_frame(id, &nobody()).is_pending());
    }
    talk.frame(DATA, END_STREAM, 1, b"").expect("the end");
    let piece = talk.server.poll_frame(1, &nobody());
    assert!(matches!(piece, Poll::Ready(Some(Ok(_)))));
    talk.frame(DATA, 0, 3, b"EVIL").expect("a stream's error");
    let piece = talk.server.poll_frame(3, &nobody());
    assert!(matches!(piece, Poll::Ready(Some(Err(_)))));
    assert_eq!(talk.reset_code(3), Some(ErrorCode::PROTOCOL_ERROR));
}

#[test]
fn streams_that_are_not_read_hold_back_only_themselves() {
    let mut talk = Talk::begin();
    let stuck = [1, 3, 5, 7, 9, 11, 13, 15];
    for id in stuck {
        talk.open(id, false).expect("open");
        for _ in 0..3 {
            talk.frame(DATA, 0, id, &[0; MAX_FRAME])
                .expect("within the window");
        }
    }
    talk.open(17, false).expect("open");
    // This one is read, and goes on far beyond what all windows hold.
    for _ in 0..100 {
        talk.frame(DATA, 0, 17, &[0; 16_000])
            .expect("within the window");
        let frame = talk.server.poll_frame(17, &nobody());
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
    }
    assert!(!talk.heard(WINDOW_UPDATE, 17).is_empty());
    for id in stuck {
        assert!(talk.heard(WINDOW_UPDATE, id).is_empty());
        talk.frame(DATA, 0, id, &[0; MAX_FRAME])
            .expect("only its stream ends");
        assert_eq!(talk.reset_code(id), Some(ErrorCode::FLOW_CONTROL_ERROR));
    }
}

/// What was left unread when its stream ended must not stay taken from the connection.
#[test]
fn bodies_that_nobody_reads_are_given_back_to_the_connection() {
    let mut talk = Talk::begin();
    for id in (1..200).step_by(2) {
        talk.open(id, false).expect("open");
        talk.frame(DATA, 0, id, &[0; 10_000])
            .expect("within the window");
        talk.answer(id, true);
        talk.server.release(id);
        assert_eq!(talk.reset_code(id), Some(ErrorCode::NO_ERROR));
        talk.frame(DATA, 0, id, &[0; 10_000])
            .expect("was under way");
    }
}

#[test]
fn padding_is_taken_at_once() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    let mut payload = vec![200_u8, b'x'];
    payload.extend_from_slice(&[0; 200]);
    for _ in 0..2000 {
        talk.frame(DATA, PADDED, 1, &payload)
            .expect("within the window");
        let frame = talk.server.poll_frame(1, &nobody());
        assert!(matches!(frame, Poll::Ready(Some(Ok(_)))));
    }
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    let head = request_of_five();
    for (pieces, code) in [
        (&[&b"hello"[..]][..], None),
        (&[b"he", b"llo"], None),
        (&[b"hell"], Some(ErrorCode::PROTOCOL_ERROR)),
        (&[b"hello!"], Some(ErrorCode::PROTOCOL_ERROR)),
        (&[b"hello", b"!"], Some(ErrorCode::PROTOCOL_ERROR)),
        (&[b""], Some(ErrorCode::PROTOCOL_ERROR)),
    ] {
        let mut talk = Talk::begin();
        talk.frame(HEADERS, END_HEADERS, 1, &head).expect("open");
        for (place, piece) in pieces.iter().enumerate() {
            let flags = if place + 1 == pieces.len() {
                END_STREAM
            } else {
                0
            };
            talk.frame(DATA, flags, 1, piece)
                .expect("only its stream ends");
        }
        assert_eq!(talk.reset_code(1), code, "{pieces:?}");
    }
}

#[test]
fn trailers_end_a_body_and_its_length_holds_for_them() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    talk.frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[("a", "b")]))
        .expect("trailers");
    let Poll::Ready(Some(Ok(frame))) = talk.server.poll_frame(1, &nobody()) else {
        panic!("no trailers");
    };
    assert_eq!(frame.into_trailers().expect("trailers")["a"], "b");
    talk.open(3, false).expect("open");
    talk.frame(HEADERS, END_HEADERS, 3, &block(&[("a", "b")]))
        .expect("only its stream");
    assert_eq!(
        talk.reset_code(3),
        Some(ErrorCode::PROTOCOL_ERROR),
        "it does not end"
    );
}

#[test]
fn a_stream_counts_until_nobody_holds_it() {
    let mut talk = Talk::begin();
    for id in (1..20).step_by(2) {
        talk.open(id, true).expect("open");
        let code = ErrorCode::CANCEL.0.to_be_bytes();
        talk.frame(RST_STREAM, 0, id, &code).expect("reset");
    }
    assert_eq!(talk.requests().len(), 10);
    talk.open(21, true).expect("one too many");
    assert_eq!(talk.reset_code(21), Some(ErrorCode::REFUSED_STREAM));
    talk.server.release(1);
    talk.open(23, true).expect("open");
    assert_eq!(talk.requests(), [23]);
}

/// RFC 9113 §6.8: what comes behind the last stream is decompressed and not looked at.
#[test]
fn a_gentle_end_lets_streams_finish_and_takes_no_more() {
    let mut talk = Talk::begin();
    talk.open(1, true).expect("open");
    talk.server.announce_end();
    talk.open(3, true).expect("still taken");
    talk.server.end_gently();
    talk.open(5, true).expect("not looked at");
    assert_eq!(talk.requests(), [1, 3]);
    let goaways = talk.heard(GOAWAY, 0);
    let lasts: Vec<&[u8]> = goaways.iter().map(|payload| &payload[..4]).collect();
    assert_eq!(lasts, [&HIGHEST_ID.to_be_bytes()[..], &[0, 0, 0, 3]]);
    assert_eq!(talk.reset_code(5), None);
    for id in [1, 3] {
        assert!(!talk.server.is_finished());
        talk.answer(id, true);
        talk.server.release(id);
    }
    assert!(talk.server.is_finished());
}

#[test]
fn a_stream_of_a_client_that_the_end_leaves_out_was_not_processed() {
    let now = Instant::now();
    let mut client = Session::new(Role::Client, SETTINGS_OF_TESTS, now);
    let mut bytes = Vec::new();
    write_settings(&mut bytes, &[]);
    client.receive(&bytes, now).expect("settings");
    let parts = RequestParts {
        method: Method::POST,
        uri: "/".parse().expect("a target"),
        version: Version::HTTP_11,
        headers: Fields::new(),
    };
    let opening = Opening {
        is_https: false,
        ends: false,
        length: None,
        te_trailers: false,
        protocol: None,
    };
    let ids = [(); 2].map(|()| client.open(&parts, &opening).expect("open"));
    assert_eq!(ids, [1, 3]);
    let mut bytes = Vec::new();
    crate::http2::frame::write_goaway(&mut bytes, 1, ErrorCode::NO_ERROR, "");
    write_header(&mut bytes, 4, RST_STREAM, 0, 1);
    bytes.extend_from_slice(&ErrorCode::REFUSED_STREAM.0.to_be_bytes());
    client.receive(&bytes, now).expect("well-formed");
    assert_eq!(
        ids.map(|id| client.broken(id)),
        [Some(StreamError::Unprocessed); 2]
    );
    assert_eq!(client.openable(), 0);
    for id in ids {
        client.release(id);
    }
    assert!(client.is_finished());
}

#[test]
fn what_was_not_finished_is_reset_when_it_is_given_up() {
    let mut talk = Talk::begin();
    for (id, ends, answer, code) in [
        (1, true, None, Some(ErrorCode::INTERNAL_ERROR)),
        (3, true, Some(false), Some(ErrorCode::INTERNAL_ERROR)),
        (5, true, Some(true), None),
        (7, false, Some(true), Some(ErrorCode::NO_ERROR)),
    ] {
        talk.open(id, ends).expect("open");
        if let Some(ends) = answer {
            talk.answer(id, ends);
        }
        talk.server.release(id);
        assert_eq!(talk.reset_code(id), code, "stream {id}");
    }
}

#[test]
fn frames_that_break_the_connection() {
    let ping = [0; 8];
    for (kind, flags, id, payload, code) in [
        (DATA, 0, 0, &b"a"[..], ErrorCode::PROTOCOL_ERROR),
        (DATA, 0, 1, b"a", ErrorCode::PROTOCOL_ERROR),
        (HEADERS, END_HEADERS, 0, b"", ErrorCode::PROTOCOL_ERROR),
        (HEADERS, END_HEADERS, 2, b"", ErrorCode::PROTOCOL_ERROR),
        (
            HEADERS,
            END_HEADERS,
            1,
            b"\xff",
            ErrorCode::COMPRESSION_ERROR,
        ),
        (
            HEADERS,
            END_HEADERS | PADDED,
            1,
            b"\x01",
            ErrorCode::PROTOCOL_ERROR,
        ),
        (CONTINUATION, END_HEADERS, 1, b"", ErrorCode::PROTOCOL_ERROR),
        (PRIORITY, 0, 0, b"12345", ErrorCode::PROTOCOL_ERROR),
        (RST_STREAM, 0, 1, b"1234", ErrorCode::PROTOCOL_ERROR),
        (RST_STREAM, 0, 1, b"123", ErrorCode::FRAME_SIZE_ERROR),
        (SETTINGS, 0, 1, b"", ErrorCode::PROTOCOL_ERROR),
        (SETTINGS, 0, 0, b"12345", ErrorCode::FRAME_SIZE_ERROR),
        (SETTINGS, ACK, 0, b"123456", ErrorCode::FRAME_SIZE_ERROR),
        (0x5, END_HEADERS, 1, b"1234", ErrorCode::PROTOCOL_ERROR),
        (PING, 0, 1, &ping, ErrorCode::PROTOCOL_ERROR),
        (PING, 0, 0, b"", ErrorCode::FRAME_SIZE_ERROR),
        (GOAWAY, 0, 1, &ping, ErrorCode::PROTOCOL_ERROR),
        (GOAWAY, 0, 0, b"", ErrorCode::FRAME_SIZE_ERROR),
        (WINDOW_UPDATE, 0, 0, &[0; 4], ErrorCode::PROTOCOL_ERROR),
        (
            WINDOW_UPDATE,
            0,
            0,
            &[0x7f, 0xff, 0xff, 0xff],
            ErrorCode::FLOW_CONTROL_ERROR,
        ),
        (
            WINDOW_UPDATE,
            0,
            1,
            &[0x7f, 0xff, 0xff, 0xff],
            ErrorCode::PROTOCOL_ERROR,
        ),
    ] {
        let mut talk = Talk::begin();
        let fault = talk.frame(kind, flags, id, payload).expect_err("a fault");
        assert_eq!(fault.code, code, "{kind} {flags} {id}");
        let told = talk.heard(GOAWAY, 0);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0][4..8], code.0.to_be_bytes());
    }
}

/// A head needs none of the connection's window, and must not wait for it.
#[test]
fn heads_have_their_turn_while_the_window_is_used_up() {
    let mut talk = Talk::begin();
    for id in [1, 3, 5] {
        talk.open(id, true).expect("open");
        talk.answer(id, false);
    }
    let mut settings = Vec::new();
    write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    talk.say(&settings).expect("settings");
    // Nobody takes what is said, until the window of the connection has gone.
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let cx = Context::from_waker(&waker);
    while let Poll::Ready(Ok(room)) = talk.room(1) {
        talk.server.send(1, &vec![0; room], MORE);
    }
    talk.listen();
    while let Poll::Ready(Ok(room)) = talk.room(1) {
        talk.server.send(1, &vec![0; room], MORE);
    }
    talk.server.announce_end();
    let filler = [0; 8];
    let mut pings = 0;
    while talk.server.poll_turn(3, &cx).is_ready() {
        let mut ping = Vec::new();
        write_header(&mut ping, 8, PING, 0, 0);
        ping.extend_from_slice(&filler);
        talk.now += Duration::from_secs(1);
        talk.server.receive(&ping, talk.now).expect("slow enough");
        pings += 1;
        assert!(pings < 10_000, "the output never fills");
    }
    assert!(talk.server.poll_room(5, usize::MAX, &cx).is_pending());
    assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    talk.listen();
    assert_eq!(
        woken.0.load(Ordering::Relaxed),
        1,
        "one has its turn, one has no window"
    );
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// RFC 9113 §6.8: what a client had sent before it heard is ignored, and ends nothing else.
#[test]
fn what_comes_after_the_last_stream_is_ignored() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    talk.server.end_gently();
    talk.open(3, false).expect("ignored");
    talk.frame(DATA, 0, 3, b"a body").expect("ignored");
    talk.frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1])
        .expect("ignored");
    talk.frame(RST_STREAM, 0, 3, &[0, 0, 0, 8])
        .expect("ignored");
    assert_eq!(talk.reset_code(3), None);
    talk.frame(DATA, END_STREAM, 1, b"the end").expect("taken");
    assert_eq!(talk.requests(), [1]);
}

#[test]
fn nothing_is_switched_to() {
    let mut talk = Talk::begin();
    talk.open(1, true).expect("open");
    let how = Respond {
        ends: false,
        length: None,
        bodiless: false,
    };
    talk.server.respond(1, &response(101), how);
    assert_eq!(talk.reset_code(1), Some(ErrorCode::INTERNAL_ERROR));
    assert!(talk.heard(HEADERS, 1).is_empty());
}

/// RFC 9110 §9.3.6: the length of a tunnel is not what the answer to its CONNECT says.
#[test]
fn a_tunnel_has_no_length() {
    for (status, is_taken) in [("200", true), ("403", false)] {
        let now = Instant::now();
        let mut client = Session::new(Role::Client, SETTINGS_OF_TESTS, now);
        let parts = RequestParts {
            method: Method::CONNECT,
            uri: "a:443".parse().expect("an authority"),
            version: Version::HTTP_2,
            headers: Fields::new(),
        };
        let opening = Opening {
            is_https: false,
            ends: false,
            length: None,
            te_trailers: false,
            protocol: None,
        };
        let id = client.open(&parts, &opening).expect("room");
        let head = block(&[("content-length", "3")]);
        let mut status_line = Vec::new();
        let status = StatusCode::from_bytes(status.as_bytes()).expect("a status");
        crate::http2::hpack::write_status(&mut status_line, status);
        let head = [status_line, head].concat();
        let mut bytes = Vec::new();
        write_settings(&mut bytes, &[]);
        write_header(&mut bytes, head.len(), HEADERS, END_HEADERS, id);
        bytes.extend_from_slice(&head);
        write_header(&mut bytes, 8, DATA, 0, id);
        bytes.extend_from_slice(b"a tunnel");
        client.receive(&bytes, now).expect("no fault of all");
        assert_eq!(client.broken(id).is_none(), is_taken, "{status}");
    }
}

/// What we have reset may go on for a while, but not behind the other end's own reset.
#[test]
fn nothing_follows_a_reset_of_both() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    talk.server.next_event();
    talk.answer(1, true);
    talk.server.release(1);
    talk.frame(DATA, 0, 1, b"under way").expect("ignored");
    talk.frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]).expect("known");
    assert_eq!(talk.reset_code(1), Some(ErrorCode::NO_ERROR));
    talk.frame(DATA, 0, 1, b"too late").expect("its own fault");
    assert_eq!(talk.reset_code(1), Some(ErrorCode::STREAM_CLOSED));
}

/// Nobody is to be told that a client erred where we have given its stream up.
#[test]
fn a_reset_of_ours_is_no_fault_of_the_other_end() {
    let mut talk = Talk::begin();
    talk.open(1, false).expect("open");
    talk.server.reset(1, ErrorCode::CANCEL);
    let ours = Some(StreamError::GivenUp(ErrorCode::CANCEL));
    assert_eq!(talk.server.broken(1), ours);
    talk.open(3, false).expect("open");
    talk.frame(WINDOW_UPDATE, 0, 3, &[0; 4]).expect("its own");
    let theirs = Some(StreamError::Malformed(ErrorCode::PROTOCOL_ERROR));
    assert_eq!(talk.server.broken(3), theirs);
}
