use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::config::System;
use crate::control::{Report, Verdict};

/// A proxy with a configuration file, in a directory of its own.
struct Proxy {
    home: PathBuf,
    running: Option<Running>,
}

impl Proxy {
    fn start(text: &str) -> Self {
        Self::try_start(text).unwrap()
    }

    fn try_start(text: &str) -> Result<Self, BindError> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("app-{}-{number}", std::process::id());
        let mut proxy = Self {
            home: std::env::temp_dir().join(name),
            running: None,
        };
        fs::create_dir(&proxy.home).unwrap();
        proxy.write(text);
        let options = Options {
            file: Some(proxy.file()),
            ..Options::default()
        };
        let bound = App::bind(config::load(&proxy.file(), &System), options)?;
        proxy.running = Some(bound.start());
        Ok(proxy)
    }

    fn file(&self) -> PathBuf {
        self.home.join("evenkeel.toml")
    }

    /// Writes the file; every proxy here logs into its own directory and ends at once.
    fn write(&self, text: &str) {
        let log = self.home.join("log");
        let common = format!("[log]\noutput = {log:?}\n[shutdown]\ngrace = \"0s\"\n");
        fs::write(self.file(), format!("{common}{text}")).unwrap();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn address(&self, listener: &str) -> SocketAddr {
        self.running().addresses()[listener]
    }

    async fn reload(&self, text: &str) -> Report {
        self.write(text);
        self.running().requests().reload("test").await.unwrap()
    }

    fn events(&self, kind: &str) -> usize {
        let events = self.running().events().list(0);
        events
            .iter()
            .filter(|event| event.event.kind == kind)
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            let ended = running.wait();
            assert!(ended.is_ok() || thread::panicking(), "{ended:?}");
        }
        fs::remove_dir_all(&self.home).unwrap();
    }
}

/// The body of the answer to a GET on a connection of its own.
fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    body.to_owned()
}

/// One listener whose answer is `body`.
fn says(body: &str) -> String {
    format!(
        "[listener.web]\nbind = \"127.0.0.1:0\"\n[route.all]\nrespond = {{ body = \"{body}\" }}\n"
    )
}

#[test]
fn it_serves_and_ends_when_asked() {
    let proxy = Proxy::start(&says("one"));
    let address = proxy.address("web");
    assert_ne!(address.port(), 0);
    assert_eq!(get(address), "one");
    drop(proxy);
    assert!(
        TcpStream::connect(address).is_err(),
        "still accepts after its end"
    );
}

#[test]
fn a_dropped_handle_ends_the_proxy() {
    let mut proxy = Proxy::start(&says("one"));
    let address = proxy.address("web");
    drop(proxy.running.take());
    let patience = Duration::from_millis(10);
    for _ in 0..500 {
        if TcpStream::connect(address).is_err() {
            return;
        }
        thread::park_timeout(patience);
    }
    panic!("still accepts");
}

#[test]
fn nothing_starts_from_a_wrong_configuration() {
    let wrong = says("one").replace("bind", "bnid");
    let error = Proxy::try_start(&wrong).err().unwrap();
    assert!(
        matches!(error, BindError::Rejected(Rejection::Mistakes(2))),
        "{error:?}"
    );

    let test = "[[test]]\nrequest = \"GET http://a/\"\nexpect = { status = 404 }\n";
    let error = Proxy::try_start(&(says("one") + test)).err().unwrap();
    assert!(
        matches!(error, BindError::Rejected(Rejection::Tests(_))),
        "{error:?}"
    );

    let name = "[listener.web]\nbind = \"127.0.0.1:0\"\nto = [\"no-such-host.invalid:80\"]\n";
    let error = Proxy::try_start(name).err().unwrap();
    let BindError::Rejected(rejection) = &error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(rejection, Rejection::Unresolved(names) if names[0].endpoint == "no-such-host.invalid:80"),
        "{rejection:?}"
    );
}

#[test]
fn a_port_in_use_is_told_with_its_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = says("one").replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string());
    let error = Proxy::try_start(&text).err().unwrap().to_string();
    assert!(error.starts_with("listener `web`: "), "{error}");
    assert!(error.contains("in use"), "{error}");
}

#[tokio::test]
async fn a_reload_takes_the_file_and_keeps_the_address() {
    let proxy = Proxy::start(&says("one"));
    let address = proxy.address("web");
    let report = proxy.reload(&says("two")).await;
    assert_eq!(report.result, Verdict::Applied);
    assert_eq!(report.generation, 2);
    assert_eq!(report.why, "route all changed");
    assert_eq!(get(address), "two");
    assert_eq!(proxy.events("config_applied"), 1);
}

#[tokio::test]
async fn a_refused_reload_changes_nothing() {
    let proxy = Proxy::start(&says("one"));
    let address = proxy.address("web");
    let first = proxy.reload(&says("one")).await;
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = elsewhere.local_addr().unwrap();
    let refused = [
        says("two").replace("respond", "rspond"),
        says("two") + "[[test]]\nrequest = \"GET http://a/\"\nexpect = { status = 404 }\n",
        says("two") + "[upstream.a]\nendpoints = [\"no-such-host.invalid:80\"]\n",
        says("two") + &format!("[listener.more]\nbind = \"{elsewhere}\"\n"),
    ];
    for text in &refused {
        let report = proxy.reload(text).await;
        assert_eq!(report.result, Verdict::Rejected, "{text}");
        assert_eq!(report.generation, first.generation, "{text}");
        assert_eq!(report.sha256, first.sha256, "{text}");
        assert!(!report.why.is_empty(), "{text}");
        assert_eq!(get(address), "one", "{text}");
    }
    assert_eq!(proxy.events("config_rejected"), refused.len());
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_refuses_the_reload() {
    let proxy = Proxy::start(&says("one"));
    let address = proxy.address("web");
    let text = format!("[log]\noutput = \"/nonexistent/log\"\n{}", says("two"));
    fs::write(proxy.file(), text).unwrap();
    let report = proxy.running().requests().reload("test").await.unwrap();
    assert_eq!(report.result, Verdict::Rejected);
    assert!(
        report.why.starts_with("the log cannot be written to"),
        "{}",
        report.why
    );
    assert_eq!(get(address), "one");
}

#[tokio::test]
async fn listeners_come_and_go_with_reloads() {
    let proxy = Proxy::start(&says("one"));
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let more = format!("[listener.more]\nbind = \"{free}\"\n");
    let report = proxy.reload(&(says("two") + &more)).await;
    assert_eq!(report.result, Verdict::Applied, "{report:?}");
    assert_eq!(get(free), "two");
    let renamed = more.replace("more", "other");
    assert_eq!(
        proxy.reload(&(says("three") + &renamed)).await.result,
        Verdict::Applied
    );
    assert_eq!(get(free), "three");
    assert_eq!(proxy.reload(&says("four")).await.result, Verdict::Applied);
    let refuses = async {
        while TcpStream::connect(free).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, refuses)
        .await
        .expect("a removed listener still accepts");
}

#[tokio::test]
async fn those_who_ask_meanwhile_are_answered_together() {
    let proxy = Proxy::start(&says("one"));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let requests = proxy.running().requests().clone();
        asking.spawn(async move { requests.reload("test").await.unwrap() });
    }
    let reports = asking.join_all().await;
    assert!(
        reports
            .iter()
            .all(|report| report.result == Verdict::Applied)
    );
    let last = reports
        .iter()
        .map(|report| report.generation)
        .max()
        .unwrap();
    assert!(last < 20, "{last} generations for 20 requests at once");
}

#[tokio::test]
async fn what_only_a_start_can_change_is_said() {
    let proxy = Proxy::start(&says("one"));
    let report = proxy
        .reload(&format!("[admin]\nhttp = \"127.0.0.1:0\"\n{}", says("one")))
        .await;
    assert_eq!(report.result, Verdict::Applied);
    assert_eq!(
        report.notes,
        ["a change of `[admin]` is taken at the next start"]
    );
}

#[tokio::test]
async fn without_a_file_there_is_nothing_to_reload() {
    let text = says("one") + "[log]\noutput = \"stderr\"\n[shutdown]\ngrace = \"0s\"\n";
    let outcome = config::load_text("text", &text, &System);
    let running = App::bind(outcome, Options::default()).unwrap().start();
    let report = running.requests().reload("test").await.unwrap();
    assert_eq!(report.result, Verdict::Rejected);
    assert!(
        report.why.contains("without a configuration file"),
        "{}",
        report.why
    );
    running.stop();
    assert_eq!(running.wait().unwrap().drained.cut, 0);
}

#[test]
fn the_admin_socket_goes_where_the_options_say() {
    let directory = std::env::temp_dir();
    let socket = directory.join(format!("app-admin-{}.sock", std::process::id()));
    let text = says("one") + "[log]\noutput = \"stderr\"\n[shutdown]\ngrace = \"0s\"\n";
    let options = |usual: &Path| Options {
        usual_socket: Some(usual.to_path_buf()),
        ..Options::default()
    };
    let load = || config::load_text("text", &text, &System);
    let bound = App::bind(load(), options(&socket)).unwrap();
    assert!(socket.exists());
    drop(bound);
    // A place that is not to be had is no fault.
    assert!(App::bind(load(), options(Path::new("/nonexistent/admin.sock"))).is_ok());
    // Unless somebody named it.
    let named = Options {
        admin: config::Admin {
            socket: Some("/nonexistent/admin.sock".into()),
            http: None,
            ..config::Admin::default()
        },
        ..Options::default()
    };
    assert!(matches!(
        App::bind(load(), named.clone()),
        Err(BindError::Admin(_))
    ));
    // And that is known before any listener is bound.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let text = format!("{text}[listener.more]\nbind = \"{taken}\"\n");
    let outcome = config::load_text("text", &text, &System);
    assert!(matches!(
        App::bind(outcome, named),
        Err(BindError::Admin(_))
    ));
}
