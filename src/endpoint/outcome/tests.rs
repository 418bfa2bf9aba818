use super::*;

fn answered(status: u16, retry_after: Option<u64>) -> Outcome {
    Outcome::Answered {
        status: StatusCode::from_u16(status).expect("a status"),
        took: Some(Duration::ZERO),
        retry_after: retry_after.map(Duration::from_secs),
        is_whole: true,
    }
}

#[test]
fn statuses_count_as_the_table_says() {
    let blame = Blame::usual(5);
    for (status, is_failure) in [
        (100, false),
        (200, false),
        (304, false),
        (404, false),
        (429, false),
        (500, true),
        (501, false),
        (502, true),
        (503, true),
        (504, true),
        (505, false),
        (507, true),
        (511, false),
        (599, true),
        (611, false),
        (700, false),
        (999, false),
    ] {
        let fault = answered(status, None).fault(&blame);
        assert_eq!(fault, is_failure.then_some(Fault::Status(status)));
    }
    assert_eq!(answered(503, Some(1)).fault(&blame), None, "it sheds load");
    let written = blame.with_statuses([429, 503]);
    assert!(answered(503, Some(1)).fault(&written).is_some());
    assert!(answered(429, None).fault(&written).is_some());
    assert!(answered(500, None).fault(&written).is_none());
    assert!(Outcome::GrpcEnded(14).fault(&written).is_some());
}

#[test]
fn calls_of_grpc_count_as_the_table_says() {
    let blame = Blame::usual(5);
    let failures: Vec<u8> = (0..=255)
        .filter(|code| Outcome::GrpcEnded(*code).fault(&blame).is_some())
        .collect();
    assert_eq!(failures, [2, 13, 14, 15]);
    let written = blame.with_grpc([4]);
    assert!(Outcome::GrpcEnded(4).fault(&written).is_some());
    assert!(Outcome::GrpcEnded(14).fault(&written).is_none());
    assert!(answered(500, None).fault(&written).is_some());
}

#[test]
fn other_ends_count_as_the_table_says() {
    let blame = Blame::usual(5);
    for (outcome, fault) in [
        (Outcome::Ended, None),
        (Outcome::Proved, None),
        (Outcome::Abandoned, None),
        (Outcome::Broken, Some(Fault::Broken)),
        (Outcome::CutShort, Some(Fault::Broken)),
        (Outcome::FellSilent, Some(Fault::TimedOut)),
        (Outcome::TimedOut, Some(Fault::TimedOut)),
    ] {
        assert_eq!(outcome.fault(&blame), fault, "{outcome:?}");
    }
    for failure in ConnectFailure::ALL {
        let fault = Outcome::NoConnection(failure).fault(&blame);
        let theirs = !failure.is_ours();
        assert_eq!(fault, theirs.then_some(Fault::Connect(failure)));
    }
}

#[test]
fn what_counts_besides_answers_can_be_chosen() {
    let none = Ends {
        connect: false,
        reset: false,
        timeout: false,
    };
    let refused = Outcome::NoConnection(ConnectFailure::Refused);
    let kinds: [(Ends, &[Outcome]); 3] = [
        (
            Ends {
                connect: true,
                ..none
            },
            &[refused],
        ),
        (
            Ends {
                reset: true,
                ..none
            },
            &[Outcome::Broken, Outcome::CutShort],
        ),
        (
            Ends {
                timeout: true,
                ..none
            },
            &[Outcome::TimedOut, Outcome::FellSilent],
        ),
    ];
    for (ends, counted) in kinds {
        let blame = Blame::usual(5).with_ends(ends).with_statuses([500]);
        for (_, outcomes) in kinds {
            for outcome in outcomes {
                let counts = outcome.fault(&blame).is_some();
                assert_eq!(counts, counted.contains(outcome), "{outcome:?} at {ends:?}");
            }
        }
        assert!(answered(500, None).fault(&blame).is_some());
    }
}

#[test]
fn a_probe_refutes_only_connections_that_could_not_be_made() {
    let refuted: Vec<ConnectFailure> = ConnectFailure::ALL
        .into_iter()
        .filter(|failure| Fault::Connect(*failure).is_connection())
        .collect();
    assert_eq!(
        refuted,
        [
            ConnectFailure::Refused,
            ConnectFailure::TimedOut,
            ConnectFailure::Unroutable,
            ConnectFailure::Unavailable
        ]
    );
}

#[test]
fn a_fault_survives_its_atomic() {
    let connect = ConnectFailure::ALL.map(Fault::Connect);
    let others = [
        Fault::Status(500),
        Fault::Grpc(14),
        Fault::Broken,
        Fault::TimedOut,
    ];
    for fault in connect.into_iter().chain(others) {
        assert_eq!(Fault::unpack(fault.pack()), Some(fault));
    }
    assert_eq!(Fault::unpack(0), None);
}
