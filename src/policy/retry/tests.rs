use http::HeaderName;
use proptest::prelude::*;

use super::layers::{ATTEMPT, attempt, is_final, set_attempt};
use super::*;
use crate::config::{GrpcStatus, Size, Time};
use crate::message::{Fields, Value};

fn asked(method: &Method, attempt: u32) -> Asked<'_> {
    Asked {
        method,
        attempt,
        is_whole: true,
        is_repeated: false,
    }
}

fn status(code: u16) -> Failure {
    Failure::Status(StatusCode::from_u16(code).unwrap())
}

#[test]
fn the_table_of_retries() {
    use Failure::{NoResponse, NotSent, Responding, Stale, TryTimeout, Unprocessed};
    let policy = RetryPolicy::default();
    assert_eq!(policy.attempts, 2, "one retry");
    for (failure, get_first, get_last, post_first, post_last) in [
        (NotSent, true, false, true, false),
        (Unprocessed, true, false, true, false),
        (Stale { unsent: false }, true, true, false, false),
        (Stale { unsent: true }, true, true, true, true),
        (NoResponse, true, false, false, false),
        (TryTimeout, true, false, false, false),
        (Responding, false, false, false, false),
        (status(503), false, false, false, false),
        (Failure::Grpc(Code::Unavailable), false, false, false, false),
    ] {
        let get = |attempt| policy.may_retry(&asked(&Method::GET, attempt), failure);
        let post = |attempt| policy.may_retry(&asked(&Method::POST, attempt), failure);
        assert_eq!((get(1), get(2)), (get_first, get_last), "{failure:?}");
        assert_eq!((post(1), post(2)), (post_first, post_last), "{failure:?}");
        let gone = Asked {
            is_whole: false,
            ..asked(&Method::GET, 1)
        };
        assert!(!policy.may_retry(&gone, failure), "{failure:?}");
    }
    // RFC 9110 §9.2.2.
    let repeatable = |name: &str| {
        let method = Method::from_bytes(name.as_bytes()).unwrap();
        policy.may_retry(&asked(&method, 1), NoResponse)
    };
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(repeatable(method), "{method}");
    }
    for method in ["POST", "PATCH", "CONNECT", "PROPFIND", "get"] {
        assert!(!repeatable(method), "{method}");
    }
}

#[test]
fn retries_are_as_written() {
    let policy = RetryPolicy::new(&config::Retry {
        attempts: Some(3),
        per_try_timeout: Some(Time(Duration::from_secs(1))),
        on: Some(vec![RetryCause::Reset]),
        statuses: vec![
            StatusPattern::Code(429),
            StatusPattern::Range("502-504".to_owned()),
        ],
        grpc_codes: vec![GrpcStatus::Unavailable],
        methods: Some(vec!["POST".to_owned()]),
        body: Some(Size(7)),
        ..config::Retry::default()
    });
    assert_eq!(
        (policy.attempts, policy.per_try_timeout, policy.kept_body),
        (3, Some(Duration::from_secs(1)), 7)
    );
    let may = |method, failure| policy.may_retry(&asked(method, 2), failure);
    assert!(may(&Method::POST, Failure::NoResponse));
    assert!(!may(&Method::GET, Failure::NoResponse), "not its methods");
    assert!(!may(&Method::POST, Failure::NotSent), "not its causes");
    assert!(!may(&Method::POST, Failure::Unprocessed));
    assert!(!may(&Method::POST, Failure::TryTimeout));
    for (code, is_repeated) in [
        (200, false),
        (400, false),
        (429, true),
        (501, false),
        (502, true),
        (504, true),
        (505, false),
        (599, false),
    ] {
        assert_eq!(may(&Method::POST, status(code)), is_repeated, "{code}");
        assert!(!may(&Method::GET, status(code)));
    }
    assert!(may(&Method::POST, Failure::Grpc(Code::Unavailable)));
    assert!(!may(&Method::POST, Failure::Grpc(Code::Internal)));
    assert!(policy.looks_at_answers);
    assert!(!RetryPolicy::default().looks_at_answers);

    let off = RetryPolicy::new(&config::Retry {
        attempts: Some(1),
        ..config::Retry::default()
    });
    assert!(!off.may_retry(&asked(&Method::GET, 1), Failure::NotSent));
    let stale = Failure::Stale { unsent: false };
    let may = off.may_retry(&asked(&Method::GET, 1), stale);
    assert!(may, "a replacement is no retry");
    // But it may run twice.
    let may = policy.may_retry(&asked(&Method::GET, 1), stale);
    assert!(!may, "not its methods");
    assert!(policy.may_retry(&asked(&Method::POST, 1), stale));
    let repeated = Asked {
        is_repeated: true,
        ..asked(&Method::GET, 1)
    };
    assert!(!off.may_retry(&repeated, stale));
    assert!(off.may_retry(&repeated, Failure::Stale { unsent: true }));
}

#[test]
fn a_class_is_all_of_its_statuses() {
    let statuses = Statuses::new(&[StatusPattern::Range("5xx".to_owned())]);
    for code in 100..=599 {
        let is_in = statuses.contains(StatusCode::from_u16(code).unwrap());
        assert_eq!(is_in, code >= 500, "{code}");
    }
    let beyond = StatusCode::from_u16(999).unwrap();
    assert!(!statuses.contains(beyond));
}

#[test]
fn what_another_layer_repeats_is_repeated_only_where_it_reached_nobody() {
    let policy = RetryPolicy::new(&config::Retry {
        statuses: vec![StatusPattern::Code(503)],
        grpc_codes: vec![GrpcStatus::Unavailable],
        ..config::Retry::default()
    });
    let repeated = Asked {
        is_repeated: true,
        ..asked(&Method::GET, 1)
    };
    let failures = [
        Failure::NotSent,
        Failure::Unprocessed,
        Failure::Stale { unsent: true },
        Failure::NoResponse,
        Failure::TryTimeout,
        status(503),
        Failure::Grpc(Code::Unavailable),
    ];
    for failure in failures {
        assert!(policy.may_retry(&asked(&Method::GET, 1), failure));
        let may = policy.may_retry(&repeated, failure);
        assert_eq!(may, failure.reached_nobody(), "{failure:?}");
    }
}

#[test]
fn attempts_are_read_and_said() {
    let mut fields = Fields::new();
    assert_eq!(attempt(&fields), 1);
    set_attempt(&mut fields, 2);
    set_attempt(&mut fields, 3);
    assert_eq!(fields.get(&ATTEMPT).unwrap().as_bytes(), b"3");
    assert_eq!((attempt(&fields), fields.len()), (3, 1));
    for (said, expected) in [("0", 1), ("x", 1), ("", 1), ("-4", 1), ("99999", 1_000)] {
        let mut fields = Fields::new();
        fields.append(&ATTEMPT, Value::new(said.as_bytes()).unwrap());
        assert_eq!(attempt(&fields), expected, "{said}");
    }
}

#[test]
fn only_what_we_say_ourselves_is_final() {
    let said = |line: &str| {
        let mut fields = Fields::new();
        let name = HeaderName::from_static("proxy-status");
        fields.append(&name, Value::new(line.as_bytes()).unwrap());
        is_final(&fields)
    };
    for line in [
        "evenkeel; error=connection_refused; no-retry",
        "evenkeel;no-retry",
        "cdn; error=dns_error, evenkeel; received-status=503; no-retry; details=\"a, b; c\"",
        "cdn; details=\"x\\\", \", evenkeel; no-retry",
        "evenkeel, evenkeel; no-retry",
    ] {
        assert!(said(line), "{line}");
    }
    for line in [
        "",
        "evenkeel",
        "evenkeel; error=connection_refused",
        "other; no-retry",
        "evenkeel; details=\"; no-retry\"",
        "evenkeel; details=\"\\\"; no-retry\"",
        "other; details=\", evenkeel; no-retry\"",
        "evenkeelx; no-retry",
        "evenkeel, other; no-retry",
    ] {
        assert!(!said(line), "{line}");
    }
    assert!(!is_final(&Fields::new()));
}

#[test]
fn pauses_double_up_to_the_longest() {
    let backoff = RetryPolicy::default().backoff;
    let bounds: Vec<u128> = (1..=8)
        .map(|attempt| backoff.bound(attempt).as_millis())
        .collect();
    assert_eq!(bounds, [25, 50, 100, 200, 400, 800, 1_000, 1_000]);
}

proptest! {
    /// Full jitter: between nothing and the bound, and all of that.
    #[test]
    fn pauses_are_spread_over_all_of_their_bound(
        first in 1_u64..100, most in 1_u64..2_000, attempt in 1_u32..=10, seed: u64,
    ) {
        let backoff = Backoff {
            first: Duration::from_millis(first),
            most: Duration::from_millis(most),
        };
        let mut random = fastrand::Rng::with_seed(seed);
        let bound = backoff.bound(attempt);
        prop_assert!(bound <= backoff.most);
        prop_assert!(attempt > 9 || bound >= backoff.bound(attempt + 1) / 2);
        let pauses: Vec<Duration> = (0..256).map(|_| backoff.pause(attempt, &mut random)).collect();
        prop_assert!(pauses.iter().all(|pause| *pause <= bound));
        let early = pauses.iter().filter(|pause| **pause < bound / 2).count();
        // Half of them, within six standard deviations.
        prop_assert!((80..=176).contains(&early), "{early} of 256");
    }

    /// Whatever a neighbour says, it is read without harm.
    #[test]
    fn any_proxy_status_can_be_read(line in "[ -~]{0,80}") {
        let mut fields = Fields::new();
        let name = HeaderName::from_static("proxy-status");
        if let Some(value) = Value::new(line.as_bytes()) {
            fields.append(&name, value);
        }
        _ = is_final(&fields);
    }
}
