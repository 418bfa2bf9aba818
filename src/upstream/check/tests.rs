//! Written settings and what they mean.

use super::*;

fn http(http: &config::HealthHttp) -> Result<HttpProbe, HealthCheckError> {
    HttpProbe::new(http)
}

fn statuses(patterns: &[&str]) -> Result<Statuses, HealthCheckError> {
    let patterns: Vec<_> = patterns
        .iter()
        .map(|pattern| StatusPattern::Range((*pattern).to_owned()))
        .collect();
    Statuses::new(&patterns)
}

#[test]
fn defaults_are_those_of_the_reference() {
    let written = config::Health {
        tcp: Some(config::HealthTcp {}),
        ..config::Health::default()
    };
    let check = HealthCheck::new(&written).expect("valid");
    assert_eq!(check.probe, Probe::Tcp);
    assert_eq!((check.interval, check.timeout), (INTERVAL, TIMEOUT));
    assert_eq!((check.healthy_after, check.unhealthy_after), (2, 3));
    let probe = http(&config::HealthHttp::default()).expect("valid");
    assert_eq!((probe.method, probe.target.as_str()), (Method::GET, "/"));
    assert_eq!(probe.expected.to_string(), "200–399");
}

#[test]
fn statuses_are_codes_classes_and_ranges() {
    let statuses = statuses(&["2xx", "301", "400-404"]).expect("valid");
    let good = |code| statuses.contains(StatusCode::from_u16(code).expect("a status"));
    for code in [200, 299, 301, 400, 404] {
        assert!(good(code), "{code}");
    }
    for code in [199, 300, 302, 399, 405, 500] {
        assert!(!good(code), "{code}");
    }
    assert_eq!(statuses.to_string(), "200–299, 301, 400–404");
}

#[test]
fn what_is_no_status_is_refused() {
    for pattern in ["", "xx", "2x", "300-200", "600", "6xx", "99", "-5", "200-"] {
        assert_eq!(
            statuses(&[pattern]),
            Err(HealthCheckError::Status(pattern.to_owned()))
        );
    }
    assert!(Statuses::new(&[StatusPattern::Code(0)]).is_err());
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    assert_eq!(
        HealthCheck::new(&config::Health::default()),
        Err(HealthCheckError::NotOneProbe)
    );
    let zero = config::Health {
        tcp: Some(config::HealthTcp {}),
        interval: Some(config::Time(Duration::ZERO)),
        ..config::Health::default()
    };
    assert_eq!(
        HealthCheck::new(&zero),
        Err(HealthCheckError::Zero("interval"))
    );
    let method = config::HealthHttp {
        method: Some("DELETE".into()),
        ..config::HealthHttp::default()
    };
    assert_eq!(
        http(&method),
        Err(HealthCheckError::Method("DELETE".into()))
    );
    let path = config::HealthHttp {
        path: Some("healthz".into()),
        ..config::HealthHttp::default()
    };
    assert_eq!(http(&path), Err(HealthCheckError::Path("healthz".into())));
    let header = config::HealthHttp {
        headers: [("x y".to_owned(), "1".to_owned())].into(),
        ..config::HealthHttp::default()
    };
    assert_eq!(http(&header), Err(HealthCheckError::Header("x y".into())));
}
