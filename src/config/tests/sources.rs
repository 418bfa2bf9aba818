//! Variables, overrides, included files and secrets.

use super::*;

const WEB: &str = "
[listener.web]
bind = ':8080'
upstream = 'api'

[upstream.api]
endpoints = ['10.0.0.11:3000']
";

#[test]
fn variables_are_replaced_after_parsing() {
    let made = Made::default()
        .with_variable("PORT", "8081")
        .with_variable("HOSTILE", "\"\n[listener.evil]\nbind = \":1\"\n${PORT}");
    let text = "
        zone = '${ZONE:-eu-1a}'
        [log]
        output = 'a${HOSTILE}$$${MISSING:-}b'
        [listener.web]
        bind = ':${PORT}'
        to = ['10.0.0.11:3000']
        max_connections = '${LIMIT:-1000}'
        forwarded = '${FORWARDED:-true}'
    ";
    let config = good(text, &made);
    assert_eq!(config.zone.as_deref(), Some("eu-1a"));
    let output = "a\"\n[listener.evil]\nbind = \":1\"\n${PORT}$b";
    assert_eq!(config.log.output.as_deref(), Some(output));
    assert_eq!(config.listener.len(), 1);
    let web = &config.listener["web"];
    assert_eq!(web.bind, ":8081");
    assert_eq!(web.max_connections, Some(1000));
    assert_eq!(web.forwarded, Some(true));
}

/// Only a string that is nothing but a variable stands for a number.
#[test]
fn a_number_is_one_variable_and_nothing_else() {
    let text = WEB.replace(
        "upstream =",
        "max_connections = '1${ZEROES:-000}'\nupstream =",
    );
    let outcome = load_text("test.toml", &text, &Nothing);
    assert_eq!(codes(&outcome), ["E0104"]);
    let text = WEB.replace("upstream =", "max_connections = '1000'\nupstream =");
    assert_eq!(codes(&load_text("test.toml", &text, &Nothing)), ["E0104"]);
}

#[test]
fn the_environment_overrides_scalars() {
    let made = Made::default()
        .with_variable("EVENKEEL__UPSTREAM__API__BALANCE", "random")
        .with_variable("EVENKEEL__UPSTREAM__MY_API_2__ZONE__EU_1A__ENDPOINTS", "x")
        .with_variable("EVENKEEL__LISTENER__WEB__MAX_CONNECTIONS", "7")
        .with_variable("EVENKEEL__LOG__ACCESS", "false")
        .with_variable("EVENKEEL__ZONE", "${NOT_REPLACED:-x}")
        .with_variable("EVENKEEL__DEFAULTS__TIMEOUTS__CONNECT", "1s")
        .with_variable("EVENKEEL_SOMETHING_ELSE", "x");
    let outcome = load_text("test.toml", WEB, &made);
    assert_eq!(
        codes(&outcome),
        ["E0110", "E0113"],
        "{}",
        outcome.render(Style::default())
    );

    let made = Made::default()
        .with_variable("EVENKEEL__UPSTREAM__API__BALANCE", "random")
        .with_variable("EVENKEEL__LISTENER__WEB__MAX_CONNECTIONS", "7")
        .with_variable("EVENKEEL__LISTENER__WEB__BIND", ":8081")
        .with_variable("EVENKEEL__LOG__ACCESS", "false")
        .with_variable("EVENKEEL__DEFAULTS__TIMEOUTS__CONNECT", "1s");
    let config = good(WEB, &made);
    assert_eq!(config.upstream["api"].balance, Some(Balance::Random));
    assert_eq!(config.listener["web"].max_connections, Some(7));
    assert_eq!(config.listener["web"].bind, ":8081");
    assert_eq!(config.log.access, Some(false));
    assert_eq!(
        config.defaults.timeouts.connect,
        Some("1s".parse().unwrap())
    );
}

/// What the service manager says is less than what the file says, and that less than an override.
#[test]
fn the_directory_of_the_state_may_be_that_of_the_service_manager() {
    let of = |text: &str, made: &Made| good(&format!("{text}{WEB}"), made).state_dir;
    let written = "state_dir = \"/written\"\n";
    let made = Made::default();
    assert_eq!(of("", &made), None);
    assert_eq!(of(written, &made), Some("/written".into()));
    let made = made.with_variable("STATE_DIRECTORY", "/var/lib/one:/var/lib/two");
    assert_eq!(of("", &made), Some("/var/lib/one".into()));
    assert_eq!(of(written, &made), Some("/written".into()));
    let made = made.with_variable("EVENKEEL__STATE_DIR", "/over");
    assert_eq!(of(written, &made), Some("/over".into()));
    let made = Made::default().with_variable("STATE_DIRECTORY", "");
    assert_eq!(of("", &made), None);
}

/// `-` and `.` in a name are `_` in a variable's.
#[test]
fn names_are_found_in_their_environment_form() {
    let text = WEB.replace("api", "my-api.v2");
    let text = text.replace("[upstream.my-api.v2]", "[upstream.'my-api.v2']");
    let made = Made::default().with_variable("EVENKEEL__UPSTREAM__MY_API_V2__BALANCE", "random");
    let config = good(&text, &made);
    assert_eq!(config.upstream["my-api.v2"].balance, Some(Balance::Random));
}

#[test]
fn files_are_merged() {
    let main = "include = ['conf.d/*.toml', 'conf.d/10-api.toml', '*.toml']\nversion = 1\n\
                [listener.web]\nbind = ':8080'\n[[test]]\nrequest = 'GET http://a/'\nexpect = { status = 200 }\n";
    let api = "[route.api]\nupstream = 'api'\n[upstream.api]\nendpoints = ['${file:address}']\n";
    let tests = "[[test]]\nrequest = 'GET http://b/'\nexpect = { status = 200 }\n";
    let made = Made::default()
        .with_file("etc/main.toml", main)
        .with_file("etc/conf.d/10-api.toml", api)
        .with_file("etc/conf.d/address", "10.0.0.11:3000\n")
        .with_file("etc/conf.d/20-tests.toml", tests)
        .with_file("etc/conf.d/20-tests.toml~", "not TOML")
        .with_file("etc/conf.d/.hidden.toml", "not TOML");
    let outcome = load(Path::new("etc/main.toml"), &made);
    assert_eq!(
        codes(&outcome),
        [] as [&str; 0],
        "{}",
        outcome.render(Style::default())
    );
    let config = outcome.config.unwrap();
    assert_eq!(
        config.upstream["api"].endpoints.listed(),
        [EndpointEntry::Address("10.0.0.11:3000".into())]
    );
    let requests: Vec<&str> = config
        .test
        .iter()
        .map(|test| test.request.as_str())
        .collect();
    assert_eq!(
        requests,
        ["GET http://a/", "GET http://b/"],
        "in the order of the files"
    );
    let names: Vec<&str> = outcome.sources.names().collect();
    assert_eq!(
        names,
        [
            "etc/main.toml",
            "etc/conf.d/10-api.toml",
            "etc/conf.d/20-tests.toml"
        ]
    );
}

/// A certificate is looked for beside the file that names it.
#[test]
fn paths_begin_in_the_folder_of_their_file() {
    let listener = |name: &str, port: u16, cert: &str| {
        format!(
            "[listener.{name}]\nbind = ':{port}'\nto = ['10.0.0.11:3000']\n\
             tls.certificates = [{{ cert = '{cert}', key = '${{DIR}}/{name}.key', \
             ocsp = '{name}.ocsp' }}]\n"
        )
    };
    let main = format!(
        "include = ['conf.d/b.toml']\nadmin.socket = 'admin.sock'\n{}",
        listener("a", 8443, "tls/a.pem")
    );
    let paths = |folder: &str, directory: &str| {
        let made = Made::default()
            .with_variable("DIR", directory)
            .with_file(&format!("{folder}main.toml"), &main)
            .with_file(
                &format!("{folder}conf.d/b.toml"),
                &listener("b", 9443, "../b.pem"),
            );
        let config = load(Path::new(&format!("{folder}main.toml")), &made)
            .config
            .unwrap();
        assert_eq!(config.admin.socket.as_deref(), Some("admin.sock".as_ref()));
        ["a", "b"].map(|name| {
            let tls = config.listener[name].tls.as_ref().unwrap();
            let Certificate { cert, key, ocsp } = &tls.certificates[0];
            let ocsp = ocsp.as_ref().unwrap();
            format!("{} {} {}", cert.display(), key.display(), ocsp.display())
        })
    };
    assert_eq!(
        paths("/etc/", "/run"),
        [
            "/etc/tls/a.pem /run/a.key /etc/a.ocsp",
            "/etc/conf.d/../b.pem /run/b.key /etc/conf.d/b.ocsp"
        ]
    );
    assert_eq!(
        paths("etc/", "keys"),
        [
            "etc/tls/a.pem etc/keys/a.key etc/a.ocsp",
            "etc/conf.d/../b.pem etc/conf.d/keys/b.key etc/conf.d/b.ocsp"
        ]
    );
    assert_eq!(
        paths("", "keys"),
        [
            "tls/a.pem keys/a.key a.ocsp",
            "conf.d/../b.pem conf.d/keys/b.key conf.d/b.ocsp"
        ]
    );
}

/// What is no path may be the key itself: no finding quotes it.
#[test]
fn a_key_in_a_variable_is_not_quoted() {
    let text = WEB.replace(
        "upstream = 'api'",
        "upstream = 'api'\ntls.certificates = [{ cert = 'a.pem', key = '${KEY}' }]",
    );
    let key = "-----BEGIN PRIVATE KEY-----\nhidden\n-----END PRIVATE KEY-----\n";
    let made = Made::default().with_variable("KEY", key);
    let outcome = load_text("test.toml", &text, &made);
    assert_eq!(codes(&outcome), ["E0123"]);
    assert!(!outcome.render(Style::default()).contains("hidden"));
    assert!(!outcome.to_json().to_string().contains("hidden"));
}

#[test]
fn the_environment_overrides_settings_of_tls() {
    let text = WEB.replace(
        "upstream = 'api'",
        "upstream = 'api'\ntls.certificates = [{ cert = 'a.pem', key = 'a.key' }]",
    );
    let made = Made::default()
        .with_variable("EVENKEEL__LISTENER__WEB__TLS__MIN_VERSION", "1.3")
        .with_variable("EVENKEEL__LISTENER__WEB__TLS__MAX_HANDSHAKES", "7")
        .with_variable("EVENKEEL__LISTENER__WEB__TIMEOUTS__TLS_HANDSHAKE", "1s");
    let config = good(&text, &made);
    let tls = config.listener["web"].tls.as_ref().unwrap();
    assert_eq!(tls.min_version, Some(TlsVersion::V1_3));
    assert_eq!(tls.max_handshakes, Some(7));
}

/// A mistake in one file does not hide those in another, but nothing is guessed about relations.
#[test]
fn mistakes_of_all_files_are_found_at_once() {
    let main = "include = ['a.toml', 'b.toml']\nwrokers = 2\n[listener.web]\nbind = ':8080'\nupstream = 'api'\n";
    let made = Made::default()
        .with_file("a.toml", "[upstream.api\nendpoints = []\n")
        .with_file("b.toml", "[route.b]\nupstream = 'b'\npath = 'b'\n");
    let outcome = load_text("main.toml", main, &made);
    assert_eq!(codes(&outcome), ["E0102", "E0101", "E0102", "E0115"]);
}

#[test]
fn a_file_that_is_not_there_is_one_finding() {
    let outcome = load(Path::new("/nowhere/evenkeel.toml"), &System);
    assert_eq!(codes(&outcome), ["E0108"]);
    assert!(outcome.config.is_none());
    assert_eq!(
        outcome.render(Style::default()),
        "error[E0108]: the configuration `/nowhere/evenkeel.toml` cannot be read: no such file or folder\n\n"
    );
    assert_eq!(
        outcome.to_json()["diagnostics"][0]["file"],
        serde_json::Value::Null
    );
}

/// Pipes and devices never end or never begin.
#[test]
fn only_regular_files_are_read() {
    let error = System.read(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.to_string(), "it is not a regular file");
    assert!(System.read(Path::new("/")).is_err());
}

#[test]
fn secrets_are_not_shown() {
    let text = WEB.replace(
        "[upstream.api]",
        "[route.api]
         path = '/api'
         upstream = 'api'
         headers = { x-api-key = 'plain' }
         request_headers = { set = { x-token = 'Bearer ${file:/run/token}', x-team = '${TEAM:-a}' } }
         response_headers = { add = { Set-Cookie = 'plain' } }
         [upstream.api]",
    );
    let made = Made::default()
        .with_file("/run/token", "hidden\r\n")
        .with_variable("TEAM", "visible");
    let config = good(&text, &made);
    let set = &config.route["api"].request_headers.set;
    assert_eq!(set["x-token"], "Bearer hidden");
    for effective in [false, true] {
        let shown = show(&config, effective);
        assert!(
            !shown.contains("hidden") && !shown.contains("plain"),
            "{shown}"
        );
        assert!(shown.contains("visible"));
        assert_eq!(shown.matches("***").count(), 3, "{shown}");
    }
    let debug = format!("{config:?}");
    assert!(
        !debug.contains("hidden") && !debug.contains("plain"),
        "{debug}"
    );
}

/// A finding shows the lines beside what it is about.
#[test]
fn secrets_in_variables_are_not_in_findings() {
    let made = Made::default()
        .with_variable(
            "EVENKEEL__UPSTREAM__API__STICKY__SECRET",
            "hidden-hidden-hidden",
        )
        .with_variable("EVENKEEL__UPSTREAM__API__STICKY__SECRETS", "1");
    let text = format!("{WEB}sticky = {{ secret = 'x', cookie = 'at' }}\n");
    let outcome = load_text("test.toml", &text, &made);
    assert_eq!(codes(&outcome), ["E0110"]);
    let shown = outcome.render(Style::default());
    assert!(!shown.contains("hidden"), "{shown}");
}

/// A list is written with commas; each of its items is checked at its place.
#[test]
fn lists_are_overridden_too() {
    let with = |value: &str| {
        Made::default().with_variable("EVENKEEL__LISTENER__WEB__TRUSTED_PROXIES", value)
    };
    let config = good(WEB, &with("10.0.0.0/8, 192.0.2.0/24"));
    assert_eq!(config.listener["web"].trusted_proxies.len(), 2);
    assert_eq!(good(WEB, &with("")).listener["web"].trusted_proxies, []);
    let outcome = load_text("test.toml", WEB, &with("10.0.0.0/8,everyone"));
    let label = outcome.diagnostics[0].primary.as_ref().unwrap();
    assert_eq!(outcome.sources.slice(label.place), "everyone");
    let tables = Made::default().with_variable("EVENKEEL__TEST", "x");
    assert_eq!(codes(&load_text("test.toml", WEB, &tables)), ["E0110"]);
}

/// Two names may be one in the environment, which has no dashes.
#[test]
fn a_variable_that_may_mean_two_settings_is_refused() {
    let text = WEB.to_owned()
        + "[upstream.a-b]\nendpoints = ['a:1']\n[upstream.a_b]\nendpoints = ['a:1']\n";
    let made = Made::default().with_variable("EVENKEEL__UPSTREAM__A_B__BALANCE", "random");
    let outcome = load_text("test.toml", &text, &made);
    assert!(codes(&outcome).contains(&"E0110"), "{:?}", codes(&outcome));
    assert!(
        outcome
            .render(Style::default())
            .contains("may mean `a-b` or `a_b`")
    );
    let text = WEB.to_owned()
        + "[upstream.a-b]\nendpoints = ['a:1']\n[route.x]\npath = '/x'\nupstream = 'a-b'\n";
    assert_eq!(
        good(&text, &made).upstream["a-b"].balance,
        Some(Balance::Random)
    );
}

/// Findings quote values, but not secret ones.
#[test]
fn secrets_are_not_in_findings() {
    let made = Made::default()
        .with_file("/run/a", "hidden value")
        .with_variable(
            "EVENKEEL__ROUTE__API__REQUEST_HEADERS__SET__AUTHORIZATION",
            "hidden\u{7}",
        );
    let text = WEB.replace(
        "[upstream.api]",
        "[route.api]
         path = '/api'
         upstream = '${file:/run/a}'
         listener = '${file:/run/a}'
         request_headers = { set = { authorization = 'x' } }
         [upstream.api]
         balance = '${file:/run/a}'
         min_healthy = '${file:/run/a}'",
    );
    let outcome = load_text("test.toml", &text, &made);
    assert_eq!(
        codes(&outcome),
        ["E0201", "E0201", "E0104", "E0104", "E0117"]
    );
    for text in [
        outcome.render(Style::default()),
        outcome.to_json().to_string(),
    ] {
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[test]
fn the_closing_line_counts() {
    let outcome = load_text("a.toml", "", &Nothing);
    assert_eq!(outcome.summary(""), "a.toml: 0 errors, 1 warning");
    let outcome = load_text("a.toml", "a = 1\nb = 1", &Nothing);
    assert_eq!(
        outcome.summary("nothing changed"),
        "a.toml: 2 errors, 1 warning; nothing changed"
    );
}
