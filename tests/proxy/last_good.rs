//! A start from the last good configuration, where the file's cannot be put in force; told
//! everywhere, until a reload takes the file.

use std::fs;
use std::os::unix::net::UnixStream;

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;

/// An instance that may start with its last good configuration, with a route in another file.
struct Scene {
    proxy: Evenkeel,
    files: Files,
    config: String,
}

impl Scene {
    fn new(endpoint: &Endpoint) -> Self {
        let files = Files::new(&[("token", "planted-in-a-file\n")]);
        let address = endpoint.address();
        let state = files.path("state").display().to_string();
        let token = files.path("token").display().to_string();
        let config = format!(
            "state_dir = \"{state}\"\ninclude = [\"conf.d/*.toml\"]\n\
             [listener.web]\nbind = \"@web\"\n"
        );
        let route = format!(
            "[route.all]\nupstream = \"app\"\n\
             [route.all.request_headers.set]\nx-inner = \"${{file:{token}}}\"\n\
             [upstream.app]\nendpoints = [\"{address}\"]\n"
        );
        let environment = "EVENKEEL_LAST_GOOD=true".to_owned();
        let beside = [
            ("conf.d/app.toml".to_owned(), route),
            ("environment".to_owned(), environment),
        ];
        let proxy = Evenkeel::start_among(&beside, &config);
        let copy = files.path("state").join("last-good");
        eventually("it is kept", || copy.exists().then_some(()));
        Self {
            proxy,
            files,
            config,
        }
    }

    fn serves(&self) -> bool {
        let mut client = self.proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.response().status == 200
    }

    /// Starts again with this file, and with the last good configuration for it.
    fn starts_instead(&mut self, text: &str, reason: &str) {
        self.proxy.kill();
        fs::write(self.proxy.path("evenkeel.toml"), text).expect("writable");
        self.proxy.restart();
        assert!(self.serves());
        let checks = self.proxy.admin("/readyz?verbose");
        assert_eq!(checks.status, 200);
        let checks = checks.body.text();
        assert!(
            checks.contains("[+]last-good-configuration in force"),
            "{checks}"
        );
        // Whoever may ask for that may not be shown the configuration.
        let place = self.proxy.path("evenkeel.toml").display().to_string();
        assert!(!checks.contains(&place), "{checks}");
        assert_eq!(self.proxy.metric("evenkeel_config_is_last_good", &[]), 1);
        assert_eq!(
            self.proxy
                .metric("evenkeel_config_last_reload_success", &[]),
            0
        );
        let events = self.proxy.events("last_good_in_force");
        let why = events[0]["why"].as_str().expect("words");
        assert!(why.contains(reason), "{why}");
        let status = self.proxy.command(&["status"]);
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains(reason), "{status}");
        assert!(
            status.contains("is the last good one") && status.contains("evenkeel reload"),
            "{status}"
        );
    }
}

#[test]
fn a_broken_file_is_served_around_until_it_is_mended() {
    let endpoint = Endpoint::echo();
    let mut scene = Scene::new(&endpoint);
    let good = fs::read_to_string(scene.proxy.path("evenkeel.toml")).expect("readable");
    scene.starts_instead(
        &format!("{good}\n[listener.other]\nbnd = 7\n"),
        "the configuration has",
    );
    // Not even that much of it can be read; but the environment names the directory.
    let state = scene.files.path("state").display().to_string();
    let environment = format!("EVENKEEL_LAST_GOOD=true\nSTATE_DIRECTORY={state}");
    fs::write(scene.proxy.path("environment"), environment).expect("writable");
    scene.starts_instead("[[[", "the configuration has");
    // Neither the file nor what it included is needed.
    fs::remove_dir_all(scene.proxy.path("conf.d")).expect("it was there");
    scene.starts_instead("", "it has no listener");
    let config = scene.config.replace("include = [\"conf.d/*.toml\"]\n", "");
    let address = endpoint.address();
    scene
        .proxy
        .reload(&format!("{config}to = [\"{address}\"]\n"));
    assert!(scene.serves());
    let checks = scene.proxy.admin("/readyz?verbose").body.text();
    assert!(!checks.contains("last-good"), "{checks}");
    assert_eq!(scene.proxy.metric("evenkeel_config_is_last_good", &[]), 0);
}

#[test]
fn failing_tests_and_names_without_addresses_are_served_around() {
    let endpoint = Endpoint::echo();
    let mut scene = Scene::new(&endpoint);
    let good = fs::read_to_string(scene.proxy.path("evenkeel.toml")).expect("readable");
    let test = "[[test]]\nrequest = \"GET http://a/\"\nexpect = { status = 404 }\n";
    scene.starts_instead(&format!("{good}\n{test}"), "1 test failed");
    let name = "[upstream.far]\nendpoints = [\"nowhere.invalid:80\"]\n\
                [route.far]\npath = \"/far\"\nupstream = \"far\"\n";
    scene.starts_instead(&format!("{good}\n{name}"), "nowhere.invalid");
    // Nor is a user that the machine does not know a reason to stand still.
    scene.starts_instead(&format!("user = \"no-such-user\"\n{good}"), "no-such-user");
}

/// The kernel takes nothing back: what a broken file is confined to must not be what the last good
/// configuration is.
#[test]
fn files_of_the_last_good_configuration_are_in_reach_whatever_the_broken_one_names() {
    let files = Files::new(&[("logs/none", ""), ("sockets/none", "")]);
    let path = |name: &str| files.path(name).display().to_string();
    let landlock = "[security]\nlandlock = true\n";
    let good = format!(
        "{landlock}[log]\noutput = \"{}\"\n[listener.web]\nbind = \"@web\"\n\
         [listener.path]\nbind = \"unix:{}\"\n[route.all]\nrespond = {{ status = 204 }}\n",
        path("logs/evenkeel.log"),
        path("sockets/path")
    );
    let environment = format!(
        "EVENKEEL_LAST_GOOD=true\nEVENKEEL__STATE_DIR={}",
        path("state")
    );
    let environment = ("environment".to_owned(), environment);
    let mut proxy = Evenkeel::start_among(&[environment], &good);
    let copy = files.path("state").join("last-good");
    eventually("it is kept", || copy.exists().then_some(()));
    let wrong = "[listener.web]\nbind = \"@web\"\nto = [\"nowhere.invalid:80\"]\n";
    for broken in [format!("{landlock}bnd = 7\n"), format!("{landlock}{wrong}")] {
        proxy.kill();
        proxy.write_config(&broken);
        for file in ["logs/evenkeel.log", "sockets/path"] {
            fs::remove_file(files.path(file)).expect("it was made");
        }
        proxy.restart();
        assert_eq!(proxy.client().get("/").status, 204);
        let socket = UnixStream::connect(files.path("sockets/path"));
        assert!(socket.is_ok(), "{socket:?}");
        eventually("it writes its log", || {
            let log = fs::read_to_string(files.path("logs/evenkeel.log")).ok()?;
            log.contains("last_good_in_force").then_some(())
        });
    }
}

#[test]
fn the_copy_holds_no_secret_that_was_not_in_the_file() {
    let endpoint = Endpoint::echo();
    let scene = Scene::new(&endpoint);
    let copy = fs::read_to_string(scene.files.path("state").join("last-good")).expect("it is text");
    assert!(copy.contains("${file:") && copy.contains("conf.d/app.toml"));
    assert!(!copy.contains("planted-in-a-file"));
}

#[test]
fn without_a_copy_a_broken_file_is_refused_and_that_is_said() {
    let files = Files::new(&[("evenkeel.toml", "[listener.web]\nbnd = 7\n")]);
    let mut command = files.command(&["run", "--config", "evenkeel.toml", "--last-good"]);
    command.env("STATE_DIRECTORY", files.path("state"));
    let output = command.output().expect("the program was built");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("there is no last good configuration in"),
        "{said}"
    );
    assert!(said.contains("bnd"), "{said}");
}

/// Whoever asks for it and has no place for it would find out on the day that it is needed.
#[test]
fn without_a_place_to_keep_it_in_a_start_and_the_commands_say_so() {
    let endpoint = Endpoint::echo();
    let config = format!(
        "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n",
        endpoint.address()
    );
    let asks = |environment: &str| {
        let environment = ("environment".to_owned(), environment.to_owned());
        Evenkeel::start_among(&[environment], &config)
    };
    let proxy = asks("EVENKEEL_LAST_GOOD=true");
    assert!(proxy.log().contains("W0343"), "{}", proxy.log());
    let file = proxy.path("evenkeel.toml").display().to_string();
    let files = Files::new(&[]);
    let says = |command: &str, environment: &[(&str, &str)]| {
        let mut command = files.command(&[command, "--config", &file]);
        command.envs(environment.iter().copied());
        let output = command.output().expect("the program was built");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).contains("kept nowhere")
    };
    let asked = ("EVENKEEL_LAST_GOOD", "true");
    for command in ["check", "doctor"] {
        assert!(says(command, &[asked]), "{command}");
        assert!(!says(command, &[]), "{command}");
        assert!(
            !says(command, &[("EVENKEEL_LAST_GOOD", "off")]),
            "{command}"
        );
        let state = ("STATE_DIRECTORY", "/var/lib/evenkeel");
        assert!(!says(command, &[asked, state]), "{command}");
    }
    // The service manager has a place for it.
    let state = files.path("state");
    let environment = format!(
        "EVENKEEL_LAST_GOOD=true\nSTATE_DIRECTORY={}",
        state.display()
    );
    let proxy = asks(&environment);
    assert!(!proxy.log().contains("W0343"), "{}", proxy.log());
    let copy = state.join("last-good");
    eventually("it is kept", || copy.exists().then_some(()));
}
