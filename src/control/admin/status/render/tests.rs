use super::super::tests::{endpoint, upstream};
use super::super::{Certificate, Configuration};
use super::*;

fn status() -> Status {
    Status {
        version: "1.4.2".into(),
        revision: "abc".into(),
        zone: "eu-1a".into(),
        ready: true,
        draining: false,
        started_at: String::new(),
        uptime_s: 12 * 86_400 + 4 * 3_600 + 59,
        workers: 4,
        configuration: Configuration {
            watched: false,
            generation: 41,
            sha256: String::new(),
            applied_at: String::new(),
            applied_s: 2 * 3_600 + 5 * 60,
            by: "SIGHUP".into(),
        },
        warnings: Vec::new(),
        listeners: vec![Listener {
            name: "web".into(),
            bind: ":8080".into(),
            address: "[::]:8080".into(),
            protocol: "http/1.1".into(),
            connections: 61,
            max_connections: 10_000,
            waiting: 0,
            per_client: None,
            per_subnet: None,
        }],
        routes: vec![
            route("api", "forward", 3_410_000),
            route("web", "not_found", 0),
        ],
        upstreams: vec![
            upstream(
                "api",
                vec![
                    endpoint("10.1.0.11:80", "eu-1a", "healthy"),
                    endpoint("10.1.0.12:80", "eu-1a", "healthy"),
                    endpoint("10.2.0.11:80", "eu-1b", "unhealthy"),
                ],
            ),
            upstream("postgres", vec![endpoint("10.3.0.1:5432", "", "healthy")]),
        ],
        certificates: Vec::new(),
    }
}

fn route(name: &str, action: &str, requests: u64) -> Route {
    Route {
        name: name.into(),
        listener: "web".into(),
        action: action.into(),
        upstreams: Vec::new(),
        in_flight: 61,
        max_in_flight: None,
        is_full: false,
        requests,
        retries: 12,
        retries_refused: 0,
        hedges: 3,
        mean_s: (requests > 0).then_some(0.0124),
    }
}

#[test]
fn one_screen_when_all_is_well() {
    let mut status = status();
    status.upstreams[1].is_checked = false;
    assert_eq!(
        render(&status),
        "\
evenkeel 1.4.2   eu-1a   up 12d 4h   configuration 41 (applied 2h 5min ago by SIGHUP)

everything is as it should be

  listener  address    protocol  connections  note
  web       [::]:8080  http/1.1  61 / 10 000

  route  listener  requests   retries  hedges  mean  in flight
  api    web       3 410 000  12       3       12ms  61

  upstream  healthy  eu-1a  eu-1b  note
  api       2 / 3    2 / 2  0 / 1
  postgres  1 / 1                  not checked
"
    );
}

#[test]
fn what_is_wrong_comes_first_with_its_reasons() {
    let mut status = status();
    status.warnings.push(Warning {
        about: "upstream api".into(),
        what: "1 of 3 endpoints is unhealthy".into(),
        why: vec![
            "10.2.0.11:80: connection refused".into(),
            "and 1 more".into(),
        ],
        effect: "the others get its traffic".into(),
        for_s: Some(17 * 60),
    });
    let screen = render(&status);
    let warning = "
! upstream api: 1 of 3 endpoints is unhealthy                                 17min
    why     10.2.0.11:80: connection refused
            and 1 more
    effect  the others get its traffic
";
    assert!(screen.contains(warning), "{screen}");
    assert!(!screen.contains("as it should be"));
}

#[test]
fn a_listener_tells_who_waits_and_who_is_near_a_limit() {
    let mut status = status();
    let note = |status: &Status| {
        let screen = render(status);
        let line = screen.lines().find(|line| line.starts_with("  web  "));
        let (_, note) = line
            .expect("its row")
            .split_once(" / 10 000")
            .expect("a bound");
        note.trim().to_owned()
    };
    let fullest = |connections, who: &str, full| {
        Some(Fullest {
            limit: 1_000,
            connections,
            who: who.into(),
            full,
        })
    };
    status.listeners[0].per_client = fullest(0, "", 0);
    assert_eq!(note(&status), "client 0 / 1 000");
    status.listeners[0].per_client = fullest(999, "192.0.2.7", 0);
    status.listeners[0].per_subnet = fullest(1_000, "2001:db8::/64", 1);
    assert_eq!(
        note(&status),
        "client 192.0.2.7 999 / 1 000, network 2001:db8::/64 1 000 / 1 000"
    );
    status.listeners[0].waiting = 1_024;
    status.listeners[0].per_client = None;
    status.listeners[0].per_subnet = fullest(1_000, "192.0.2.0/24", 3);
    assert_eq!(
        note(&status),
        "1 024 waiting, network 192.0.2.0/24 and 2 more 1 000 / 1 000"
    );
}

#[test]
fn requests_that_no_route_took_have_a_row() {
    let mut status = status();
    status.routes[1].requests = 5;
    assert!(
        render(&status).contains("  (none)  web       5 "),
        "{}",
        render(&status)
    );
}

#[test]
fn spans_are_short() {
    let spans = [0, 59, 60, 3_599, 3_600, 86_399, 86_400].map(span);
    assert_eq!(
        spans,
        [
            "0s",
            "59s",
            "1min",
            "59min",
            "1h 0min",
            "23h 59min",
            "1d 0h"
        ]
    );
    assert_eq!(
        [milliseconds(0.001_24), milliseconds(1.5)],
        ["1.2ms", "1500ms"]
    );
    assert_eq!(
        [grouped(0), grouped(999), grouped(1_000)],
        ["0", "999", "1 000"]
    );
}

#[test]
fn certificates_have_a_row_each() {
    let certificate = |file: &str, names: &[&str], expires_s| Certificate {
        listener: "web".into(),
        upstream: String::new(),
        file: file.into(),
        names: names.iter().map(ToString::to_string).collect(),
        issuer: "CN=Somebody".into(),
        not_before: String::new(),
        not_after: String::new(),
        expires_s,
        state: String::new(),
        ocsp: None,
    };
    let mut status = status();
    status.certificates = vec![
        certificate("a.pem", &["a.test", "*.a.test"], 5 * 86_400),
        certificate("b.pem", &["1", "2", "3", "4"], -1),
        Certificate {
            listener: String::new(),
            upstream: "api".into(),
            ..certificate("c.pem", &["c.test"], 86_400)
        },
    ];
    let screen = render(&status);
    let rows = "
  certificate  of            names            valid for
  a.pem        web           a.test *.a.test  5d 0h
  b.pem        web           1 2 3 …          expired
  c.pem        upstream api  c.test           1d 0h
";
    assert!(screen.contains(rows), "{screen}");
}
