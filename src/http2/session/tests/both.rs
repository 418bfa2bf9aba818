//! Both roles against each other: whatever the pieces, what is said arrives.

use proptest::prelude::*;

use super::*;

/// What a client sends and a server answers.
#[derive(Debug, Clone)]
struct Plan {
    request: usize,
    response: usize,
    trailers: bool,
}

/// One end of a message that is being sent: how much of it was.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    sent: usize,
    received: usize,
    is_answered: bool,
    has_trailers: bool,
    is_released: bool,
}

struct Both {
    client: Session,
    server: Session,
    /// Bytes on their way, as the socket cut them.
    up: Vec<u8>,
    down: Vec<u8>,
    now: Instant,
}

fn byte(id: u32, at: usize) -> u8 {
    u8::try_from((id as usize * 31 + at) % 251).expect("below 251")
}

/// Sends what there is room for. Whether all was sent.
fn send(session: &mut Session, id: u32, sent: &mut usize, all: usize, trailers: bool) -> bool {
    while let Poll::Ready(room) = session.poll_room(id, usize::MAX, &nobody()) {
        let room = room.expect("not broken");
        if *sent == all {
            if session.has_sent(id) {
                return true;
            }
            if trailers {
                let mut map = http::HeaderMap::new();
                map.insert("a", "b".parse().expect("a value"));
                session.trail(id, &map);
            } else {
                session.send(id, &[], Piece::LAST);
            }
            return true;
        }
        let count = room.min(all - *sent);
        let piece: Vec<u8> = (*sent..*sent + count).map(|at| byte(id, at)).collect();
        *sent += count;
        let ends = *sent == all && !trailers;
        let how = Piece {
            ends,
            is_cut: false,
        };
        session.send(id, &piece, how);
    }
    *sent == all && session.has_sent(id)
}

/// Receives what is there. Whether all was.
fn receive(session: &mut Session, id: u32, progress: &mut Progress) -> bool {
    loop {
        match session.poll_frame(id, &nobody()) {
            Poll::Pending => return false,
            Poll::Ready(None) => return true,
            Poll::Ready(Some(frame)) => match frame.expect("not broken").into_data() {
                Ok(data) => {
                    for &got in &data[..] {
                        assert_eq!(got, byte(id, progress.received));
                        progress.received += 1;
                    }
                }
                Err(_) => progress.has_trailers = true,
            },
        }
    }
}

impl Both {
    fn new(settings: Settings) -> Self {
        let now = Instant::now();
        Self {
            client: Session::new(Role::Client, settings, now),
            server: Session::new(Role::Server, settings, now),
            up: Vec::new(),
            down: Vec::new(),
            now,
        }
    }

    /// Moves so many bytes each way.
    fn move_bytes(&mut self, count: usize) {
        let Self {
            client,
            server,
            up,
            down,
            now,
        } = self;
        carry(client, server, up, (count, *now));
        carry(server, client, down, (count, *now));
    }
}

fn carry(from: &mut Session, to: &mut Session, wire: &mut Vec<u8>, how: (usize, Instant)) {
    let (count, now) = how;
    let output = from.output();
    assert!(output.len() <= 96 * 1024, "{} bytes wait", output.len());
    let count = count.min(output.len());
    wire.extend_from_slice(&output[..count]);
    from.sent(count);
    let taken = to.receive(wire, now).expect("well-formed");
    wire.drain(..taken);
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let size = prop_oneof![Just(0_usize), 1..100_usize, 1..200_000_usize];
    let plan = (size.clone(), size, any::<bool>()).prop_map(|(request, response, trailers)| Plan {
        request,
        response,
        trailers,
    });
    prop::collection::vec(plan, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_said_arrives(
        plans in plans(),
        cuts in prop::collection::vec(1..40_000_usize, 1..20),
        stream_window in prop_oneof![Just(65_535_u32), 65_535..200_000_u32],
    ) {
        let settings = Settings {
            max_streams: 20,
            stream_window,
            connection_window: stream_window.max(70_000),
            ..SETTINGS_OF_TESTS
        };
        let mut both = Both::new(settings);
        let mut cuts = cuts.into_iter().cycle();
        let mut ids = Vec::new();
        let mut asking = vec![Progress::default(); plans.len()];
        let mut answering = asking.clone();
        let mut rounds = 0;
        while asking.iter().chain(&answering).any(|progress| !progress.is_released) {
            rounds += 1;
            prop_assert!(rounds < 200_000, "it does not end: {:?} {:?}", asking, answering);
            if ids.len() < plans.len() && both.client.openable() > 0 {
                let parts = RequestParts {
                    method: Method::POST,
                    uri: "/".parse().expect("a target"),
                    version: Version::HTTP_11,
                    headers: [(http::header::HOST, "a".parse().expect("a value"))]
                        .into_iter()
                        .collect(),
                };
                let opening = Opening {
                    is_https: false,
                    ends: false,
                    length: None,
                    te_trailers: false,
                    protocol: None,
                };
                ids.push(both.client.open(&parts, &opening).expect("room"));
            }
            both.move_bytes(cuts.next().expect("cycled"));
            while let Some(event) = both.server.next_event() {
                prop_assert!(matches!(event, Event::Request(..)));
            }
            for (place, &id) in ids.iter().enumerate() {
                let (plan, ask, answer) = (&plans[place], &mut asking[place], &mut answering[place]);
                if !answer.is_released && both.server.broken(id).is_none() {
                    if !answer.is_answered {
                        answer.is_answered = true;
                        let how = Respond { ends: false, length: None, bodiless: false };
                        both.server.respond(id, &response(200), how);
                    }
                    let all = receive(&mut both.server, id, answer);
                    if send(&mut both.server, id, &mut answer.sent, plan.response, plan.trailers)
                        && all
                    {
                        prop_assert_eq!(answer.received, plan.request);
                        both.server.release(id);
                        answer.is_released = true;
                    }
                }
                if !ask.is_released {
                    let sent = send(&mut both.client, id, &mut ask.sent, plan.request, false);
                    ask.is_answered |=
                        matches!(both.client.poll_head(id, &nobody()), Poll::Ready(Ok(_)));
                    let all = receive(&mut both.client, id, ask);
                    if sent && all && ask.is_answered {
                        prop_assert_eq!(ask.received, plan.response);
                        prop_assert_eq!(ask.has_trailers, plan.trailers);
                        both.client.release(id);
                        ask.is_released = true;
                    }
                }
            }
        }
        prop_assert_eq!(both.client.stream_count() + both.server.stream_count(), 0);
    }

    /// Nothing that comes makes a session panic, say without end, or keep without end.
    #[test]
    fn any_frames_are_survived(
        frames in prop::collection::vec(
            (0..12_u8, any::<u8>(), 0..8_u32, prop::collection::vec(any::<u8>(), 0..40)),
            0..60,
        ),
    ) {
        let mut talk = Talk::begin();
        for (kind, flags, id, payload) in frames {
            if talk.frame(kind, flags, id, &payload).is_err() {
                break;
            }
            for id in talk.requests() {
                if id % 3 == 0 {
                    talk.answer(id, true);
                }
                if id % 5 != 0 {
                    talk.server.release(id);
                }
            }
        }
        prop_assert!(talk.server.stream_count() <= 10);
    }
}
