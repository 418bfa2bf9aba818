//! The annotated examples, and what `config show` makes of them.

use std::fs;
use std::path::PathBuf;

use super::*;

fn examples() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn examples_are_taken_without_a_finding() {
    let names: Vec<String> = examples()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "affinity.toml",
            "evenkeel.toml",
            "http2.toml",
            "minimal.toml",
            "passthrough.toml",
            "proxy-protocol.toml",
            "sidecar.toml",
            "tcp.toml",
            "tls.toml",
            "udp.toml",
            "unix.toml",
            "zones.toml"
        ]
    );
    for path in examples() {
        let config = good(&fs::read_to_string(&path).unwrap(), &Nothing);
        for listener in config.listener.values() {
            if listener.bind.starts_with("unix:") {
                continue;
            }
            let port: u16 = listener.bind.rsplit(':').next().unwrap().parse().unwrap();
            assert!(port > 1024, "{} needs a privilege", path.display());
        }
    }
}

/// The configurations within the manifests of pods.
#[test]
fn configurations_of_pods_are_taken_without_a_finding() {
    for name in ["sidecar", "edge"] {
        let manifest = format!("deploy/kubernetes/{name}.yaml");
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(manifest);
        let manifest = fs::read_to_string(manifest).unwrap();
        let (_, block) = manifest.split_once("  evenkeel.toml: |\n").unwrap();
        let (block, _) = block.split_once("\n---").unwrap();
        let lines = block.lines().map(|line| line.get(4..).unwrap_or_default());
        let text: Vec<&str> = lines.collect();
        let config = good(&text.join("\n"), &Nothing);
        assert_eq!(config.listener["web"].bind, ":8080", "{name}");
    }
}

/// What is shown, with a secret where one is hidden: the mask is refused, as it can be guessed.
fn unmasked(shown: &str) -> String {
    shown.replace("\"***\"", "\"only for trying it out\"")
}

/// What is shown is itself a configuration, and the same one.
#[test]
fn what_is_shown_means_the_same() {
    for path in examples() {
        let config = good(&fs::read_to_string(&path).unwrap(), &Nothing);
        let shown = unmasked(&show(&config, false));
        assert_eq!(
            good(&shown, &Nothing),
            config,
            "{}\n{shown}",
            path.display()
        );
    }
}

/// What is shown as effective is one too, says more, and has nothing left to say after that.
#[test]
fn what_is_effective_is_a_configuration() {
    for path in examples() {
        let config = good(&fs::read_to_string(&path).unwrap(), &Nothing);
        let effective = good(&unmasked(&show(&config, true)), &Nothing);
        let shown = show(&effective, false);
        assert!(shown.len() > show(&config, false).len());
        assert_eq!(
            good(&unmasked(&show(&effective, true)), &Nothing),
            effective,
            "{}",
            path.display()
        );
    }
}

#[test]
fn effective_settings_are_defaults_and_what_is_inherited() {
    let text = "
        [defaults.timeouts]
        connect = '1s'
        [listener.web]
        bind = ':8080'
        [route.api]
        upstream = 'api'
        [upstream.api]
        endpoints = [{ address = '10.0.0.11:3000' }]
        timeouts = { response_head = '5s' }
    ";
    let effective: toml::Table = show(&good(text, &Nothing), true).parse().unwrap();
    let at = |path: &str| {
        let mut keys = path.split('.');
        let first = &effective[keys.next().unwrap()];
        keys.fold(first.clone(), |value, key| match key.parse::<usize>() {
            Ok(index) => value[index].clone(),
            Err(_) => value
                .get(key)
                .cloned()
                .unwrap_or(toml::Value::Boolean(false)),
        })
    };
    let nothing = toml::Value::Boolean(false);
    assert_eq!(
        at("defaults.timeouts.connect").as_str(),
        Some("1s"),
        "written"
    );
    assert_eq!(
        at("defaults.timeouts.client_idle").as_str(),
        Some("75s"),
        "default"
    );
    assert_eq!(
        at("listener.web.timeouts.client_idle").as_str(),
        Some("75s")
    );
    assert_eq!(
        at("listener.web.timeouts.connect"),
        nothing,
        "does not apply"
    );
    assert_eq!(
        at("upstream.api.timeouts.connect").as_str(),
        Some("1s"),
        "inherited"
    );
    assert_eq!(
        at("upstream.api.timeouts.response_head").as_str(),
        Some("5s"),
        "its own"
    );
    assert_eq!(at("upstream.api.balance").as_str(), Some("power_of_two"));
    assert_eq!(at("upstream.api.endpoints.0.weight").as_integer(), Some(1));
    assert_eq!(at("upstream.api.health"), nothing, "not checked by default");
    assert_eq!(at("route.api.retry.attempts").as_integer(), Some(2));
    assert_eq!(at("route.api.timeouts"), nothing, "depends on the upstream");
    assert_eq!(at("route.api.path").as_str(), Some("/"));
    assert_eq!(at("shutdown.grace").as_str(), Some("5s"));
}
