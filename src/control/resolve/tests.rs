use super::*;

use crate::config::tests::cases;
use crate::config::{Listener, Zone};

const LIMIT: Duration = Duration::from_secs(5);

fn config(endpoints: &[&str]) -> Config {
    let upstream = Upstream {
        endpoints: endpoints
            .iter()
            .map(|text| entry(text))
            .collect::<Vec<_>>()
            .into(),
        ..Upstream::default()
    };
    Config {
        upstream: [("api".to_owned(), upstream)].into(),
        ..Config::default()
    }
}

fn entry(text: &str) -> EndpointEntry {
    EndpointEntry::Address(text.to_owned())
}

/// A resolver that knows three names.
fn zone_file(host: &str) -> io::Result<Vec<IpAddr>> {
    let texts: &[&str] = match host {
        "one" => &["10.0.0.1"],
        "many" => &["10.0.0.3", "fd00::3", "10.0.0.2", "10.0.0.3"],
        "six" => &["fd00::1"],
        "empty" => &[],
        _ => return Err(io::Error::other("no such name")),
    };
    Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
}

#[tokio::test]
async fn a_name_without_an_address_has_its_place() {
    let outcome = cases::case("E0122");
    let config = outcome.config.as_ref().unwrap();
    let failures = resolve_by(config, LIMIT, &Hosts::new(), zone_file)
        .await
        .unwrap_err();
    let findings: Vec<_> = failures
        .iter()
        .map(|name| name.finding(&outcome.places))
        .collect();
    cases::found("E0122", outcome, findings);
}

async fn names(endpoints: &[&str]) -> Vec<(String, String)> {
    let config = config(endpoints);
    let resolved = resolve_by(&config, LIMIT, &Hosts::new(), zone_file)
        .await
        .unwrap()
        .endpoints;
    resolved["api"]
        .iter()
        .map(|endpoint| (endpoint.name.to_string(), endpoint.address.to_string()))
        .collect()
}

fn pair(name: &str, address: &str) -> (String, String) {
    (name.to_owned(), address.to_owned())
}

#[tokio::test]
async fn literals_and_unix_sockets_need_no_look_up() {
    let never = |_: &str| -> io::Result<Vec<IpAddr>> { panic!("nothing is to be looked up") };
    let config = config(&["10.0.0.1:80", "[fd00::1]:80", "unix:/run/api.sock"]);
    let resolved = resolve_by(&config, LIMIT, &Hosts::new(), never)
        .await
        .unwrap()
        .endpoints;
    let addresses: Vec<String> = resolved["api"]
        .iter()
        .map(|endpoint| endpoint.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["10.0.0.1:80", "[fd00::1]:80", "unix:/run/api.sock"]
    );
}

#[tokio::test]
async fn a_name_with_one_address_keeps_its_name() {
    assert_eq!(
        names(&["one:80", "six:81"]).await,
        [
            pair("one:80", "10.0.0.1:80"),
            pair("six:81", "[fd00::1]:81")
        ]
    );
}

#[tokio::test]
async fn a_name_with_several_addresses_becomes_endpoints_of_one_family() {
    assert_eq!(
        names(&["many:80"]).await,
        [
            pair("10.0.0.2:80", "10.0.0.2:80"),
            pair("10.0.0.3:80", "10.0.0.3:80")
        ]
    );
}

#[tokio::test]
async fn every_name_without_an_address_is_reported() {
    let config = config(&["one:80", "none:80", "empty:80", "host", "none:81"]);
    let failures = resolve_by(&config, LIMIT, &Hosts::new(), zone_file)
        .await
        .unwrap_err();
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "endpoint `none:80` of upstream `api`: no such name",
            "endpoint `empty:80` of upstream `api`: the name has no address",
            "endpoint `host` of upstream `api`: expected host:port, [v6]:port or unix:/path",
            "endpoint `none:81` of upstream `api`: no such name",
        ]
    );
}

#[tokio::test]
async fn settings_zones_and_shorthands_are_kept() {
    let details = EndpointDetails {
        address: "one:80".to_owned(),
        weight: Some(3),
        backup: Some(true),
        max_in_flight: Some(7),
        max_connections: None,
    };
    let mut config = config(&[]);
    let upstream = config.upstream.get_mut("api").unwrap();
    let zone = Zone {
        endpoints: vec![EndpointEntry::Detailed(details)],
    };
    upstream.zone.insert("eu-1a".to_owned(), zone);
    let to = vec![entry("one:81")];
    let listener = toml::from_str("bind = \":80\"").unwrap();
    config
        .listener
        .insert("web".to_owned(), Listener { to, ..listener });
    let resolved = resolve_by(&config, LIMIT, &Hosts::new(), zone_file)
        .await
        .unwrap()
        .endpoints;
    assert_eq!(&*resolved["listener.web"][0].name, "one:81");
    let endpoint = &resolved["api"][0];
    assert_eq!(&*endpoint.zone, "eu-1a");
    assert_eq!((endpoint.weight, endpoint.backup), (3, true));
    assert_eq!(endpoint.max_in_flight, Some(7));
    assert_eq!(endpoint.max_connections, None);
}

#[tokio::test]
async fn a_resolver_that_hangs_is_given_up() {
    let (release, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let hangs = move |_: &str| -> io::Result<Vec<IpAddr>> {
        assert!(
            blocked.lock().unwrap().recv().is_err(),
            "nothing is ever sent"
        );
        Ok(Vec::new())
    };
    let config = config(&["slow:80", "10.0.0.1:80"]);
    let limit = Duration::from_millis(50);
    let failures = resolve_by(&config, limit, &Hosts::new(), hangs)
        .await
        .unwrap_err();
    drop(release);
    assert_eq!(failures.len(), 1);
    assert!(failures[0].why.contains("0.05 s"), "{}", failures[0].why);
}

#[tokio::test]
async fn a_name_that_cannot_be_looked_up_has_what_is_remembered_of_it() {
    let config = config(&["one:80", "gone:81", "lost:82"]);
    let remembered: Hosts = [
        ("gone".to_owned(), vec!["10.9.0.1".parse().unwrap()]),
        ("one".to_owned(), vec!["10.9.0.2".parse().unwrap()]),
    ]
    .into();
    let failures = resolve_by(&config, LIMIT, &remembered, zone_file).await;
    let failures: Vec<String> = failures
        .unwrap_err()
        .into_iter()
        .map(|one| one.endpoint)
        .collect();
    assert_eq!(failures, ["lost:82"]);
    let config = self::config(&["one:80", "gone:81"]);
    let names = resolve_by(&config, LIMIT, &remembered, zone_file)
        .await
        .unwrap();
    let addresses: Vec<String> = names.endpoints["api"]
        .iter()
        .map(|one| one.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["10.0.0.1:80", "10.9.0.1:81"],
        "what is known now wins"
    );
    assert_eq!(names.remembered.len(), 1);
    assert!(names.remembered[0].starts_with("gone: "));
}
