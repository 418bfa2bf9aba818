use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use super::*;
use crate::telemetry::metrics::{Format as MetricsFormat, Registry};
use tracing::level_filters::LevelFilter;

fn settings(output: Output) -> Settings {
    Settings {
        access: true,
        format: Format::Json,
        query: false,
        output,
        level: LevelFilter::INFO,
    }
}

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| Origin::new("web", "api"));

static LISTENER: LazyLock<Origin> = LazyLock::new(|| Origin::new("web", ""));

static TARGET: LazyLock<Target> = LazyLock::new(|| Target::new("api", "eu-1a", "10.1.0.11:8080"));

fn entry() -> Entry<'static> {
    Entry {
        at: UNIX_EPOCH + Duration::new(1_767_323_045, 6_000),
        request_id: b"4bf92f3577b34da6a3ce929d0e0e4736",
        origin: &ORIGIN,
        target: Some(&TARGET),
        client: "192.0.2.7:51234".parse().unwrap(),
        proxy: None,
        method: "GET",
        scheme: "http",
        host: b"api.example.com",
        path: b"/v1/users",
        query: Some(b"token=secret"),
        status: Some(200),
        grpc: None,
        request_bytes: 0,
        response_bytes: 1_234,
        version: "1.1",
        tls: None,
        client_certificate: None,
        user_agent: b"curl/8.5.0",
        referer: b"",
        attempts: 1,
        queued: None,
        connect: None,
        first_byte: Some(Duration::from_micros(2_345)),
        total: Duration::from_micros(2_500),
        overhead: Some(Duration::from_micros(45)),
        end: End::Ok,
        error: None,
        generation: 41,
    }
}

fn dropped(registry: &Registry, stream: &str) -> u64 {
    let mut text = String::new();
    registry.encode(MetricsFormat::Text, &mut text);
    let name = format!("evenkeel_log_dropped_total{{stream=\"{stream}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

/// A real pipe, and the output that writes into it.
fn pipe() -> (PipeReader, Output, io::PipeWriter) {
    let (reader, writer) = io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
    (reader, Output::File(path.into()), writer)
}

fn file(name: &str) -> std::path::PathBuf {
    let name = format!("evenkeel-{}-{name}.log", std::process::id());
    let path = std::env::temp_dir().join(name);
    drop(std::fs::remove_file(&path));
    path
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_json_line_is_as_documented() {
    let mut out = Vec::new();
    json::line(&mut out, &mut Clock::default(), &entry(), None);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"ts":"2026-01-02T03:04:05.000006Z","level":"info","kind":"access","#,
            r#""request_id":"4bf92f3577b34da6a3ce929d0e0e4736","listener":"web","route":"api","#,
            r#""upstream":"api","zone":"eu-1a","endpoint":"10.1.0.11:8080","#,
            r#""client.address":"192.0.2.7","http.request.method":"GET","url.scheme":"http","#,
            r#""server.address":"api.example.com","url.path":"/v1/users","#,
            r#""http.response.status_code":200,"http.request.body.size":0,"#,
            r#""http.response.body.size":1234,"network.protocol.version":"1.1","#,
            r#""user_agent.original":"curl/8.5.0","attempts":1,"first_byte_s":0.002345,"#,
            r#""total_s":0.002500,"overhead_s":0.000045,"end":"ok","generation":41}"#,
            "\n"
        )
    );
}

#[test]
fn a_json_line_takes_whatever_a_client_sends() {
    let mut hostile = entry();
    hostile.user_agent = b"\"},{\"x\":\"\n\xff\x00\\";
    hostile.path = "/\"\u{1}\u{7f}✓".as_bytes();
    hostile.error = Some("connection_timeout");
    hostile.connect = Some(Duration::from_secs(3));
    hostile.end = End::Timeout;
    let mut out = Vec::new();
    json::line(&mut out, &mut Clock::default(), &hostile, hostile.query);
    assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1));
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(line["user_agent.original"], "\"},{\"x\":\"\n\u{fffd}\0\\");
    assert_eq!(line["url.path"], "/\"\u{1}\u{7f}✓");
    assert_eq!(line["url.query"], "token=secret");
    assert_eq!(line["error.type"], "connection_timeout");
    assert_eq!(line["connect_s"], 3.0);
    assert_eq!(line["end"], "timeout");
}

#[test]
fn names_are_escaped_like_everything_else() {
    let origin = Origin::new("a\"b", "c\\d");
    let target = Target::new("\u{1}", "", "é");
    let entry = Entry {
        origin: &origin,
        target: Some(&target),
        grpc: Some(14),
        ..entry()
    };
    let mut out = Vec::new();
    json::line(&mut out, &mut Clock::default(), &entry, None);
    let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&line["listener"], &line["route"]),
        (&"a\"b".into(), &"c\\d".into())
    );
    assert_eq!(
        (&line["upstream"], &line["endpoint"]),
        (&"\u{1}".into(), &"é".into())
    );
    assert_eq!(line.get("zone"), None);
    assert_eq!(line["rpc.grpc.status_code"], 14);
}

/// A session of bytes that nobody reads.
fn session() -> Entry<'static> {
    Entry {
        request_id: b"",
        origin: &LISTENER,
        method: "",
        scheme: "tcp",
        host: b"",
        path: b"",
        query: None,
        status: None,
        version: "",
        user_agent: b"",
        first_byte: None,
        overhead: None,
        ..entry()
    }
}

#[test]
fn what_does_not_exist_is_left_out() {
    let mut out = Vec::new();
    json::line(&mut out, &mut Clock::default(), &session(), None);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        concat!(
            r#"{"ts":"2026-01-02T03:04:05.000006Z","level":"info","kind":"access","#,
            r#""listener":"web","upstream":"api","zone":"eu-1a","endpoint":"10.1.0.11:8080","#,
            r#""client.address":"192.0.2.7","url.scheme":"tcp","http.request.body.size":0,"#,
            r#""http.response.body.size":1234,"attempts":1,"total_s":0.002500,"end":"ok","#,
            r#""generation":41}"#,
            "\n"
        )
    );
    let mut out = Vec::new();
    combined::line(&mut out, &mut Clock::default(), &session(), None);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"-\" - 1234 \"-\" \"-\"\n"
    );
}

#[test]
fn a_combined_line_is_what_nginx_writes() {
    let mut written = entry();
    written.user_agent = b"a \"quoted\" agent";
    let mut out = Vec::new();
    combined::line(&mut out, &mut Clock::default(), &written, Some(b"a=1"));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /v1/users?a=1 HTTP/1.1\" 200 1234 \
         \"-\" \"a \\x22quoted\\x22 agent\"\n"
    );
}

fn apply(sink: &Sink, settings: &Settings) -> io::Result<()> {
    sink.apply(settings, Some(settings.output.open()?));
    Ok(())
}

#[test]
fn lines_reach_the_file_and_the_query_stays_out() {
    let path = file("reach");
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(Output::File(path.clone())), &registry).unwrap();
    let log = sink.access_log();
    for _ in 0..500 {
        log.record(&entry());
    }
    assert!(sink.finish(PATIENCE));
    // Five hundred lines are several blocks; the last one waits to be flushed.
    let before = lines(&path).len();
    assert!((300..500).contains(&before), "{before}");
    log.flush();
    assert!(sink.finish(PATIENCE));
    let lines = lines(&path);
    assert_eq!(lines.len(), 500);
    for line in &lines {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line.get("url.query"), None);
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o777 & !0o640, 0);
    assert_eq!(dropped(&registry, "access"), 0);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_pipe_that_nobody_reads_stops_nobody() {
    let (mut reader, output, writer) = pipe();
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(output), &registry).unwrap();
    // From here on only the sink holds the writing end.
    drop(writer);
    let log = sink.access_log();
    let started = tokio::time::Instant::now();
    let written = 100_000;
    for _ in 0..written {
        log.record(&entry());
    }
    log.flush();
    // 60 MB of lines against a pipe of 64 KiB: were any of it waited for, this would not return.
    assert!(started.elapsed() < PATIENCE);
    let dropped = dropped(&registry, "access");
    assert!(dropped > written / 2, "{dropped}");

    let finishing = tokio::time::Instant::now();
    assert!(!sink.finish(Duration::from_millis(50)));
    assert!(finishing.elapsed() < PATIENCE);

    // Once someone reads again, everything that was not counted as dropped is there, whole.
    drop((log, sink));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
    let lines = lines.collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(lines.len() as u64 + dropped, written);
}

#[test]
fn a_reader_that_went_away_costs_only_lines() {
    let (reader, output, writer) = pipe();
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(output), &registry).unwrap();
    drop((reader, writer));
    let log = sink.access_log();
    for _ in 0..3 {
        log.record(&entry());
        log.flush();
    }
    assert!(sink.finish(PATIENCE));
    assert_eq!(dropped(&registry, "access"), 3);
}

#[test]
fn a_full_disk_costs_only_lines_and_is_tried_again() {
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(Output::File("/dev/full".into())), &registry).unwrap();
    let log = sink.access_log();
    for _ in 0..200 {
        log.record(&entry());
    }
    log.flush();
    assert!(sink.finish(PATIENCE));
    assert_eq!(dropped(&registry, "access"), 200);

    let path = file("after-full");
    apply(&sink, &settings(Output::File(path.clone()))).unwrap();
    log.record(&entry());
    log.flush();
    assert!(sink.finish(PATIENCE));
    assert_eq!(lines(&path).len(), 1);
    assert_eq!(dropped(&registry, "access"), 200);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn rotation_loses_no_line() {
    let (path, rotated) = (file("rotate"), file("rotate-1"));
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(Output::File(path.clone())), &registry).unwrap();
    let log = sink.access_log();
    log.record(&entry());
    log.flush();
    assert!(sink.finish(PATIENCE));
    std::fs::rename(&path, &rotated).unwrap();
    log.record(&entry());
    log.flush();
    assert!(sink.finish(PATIENCE));
    sink.reopen();
    log.record(&entry());
    log.flush();
    assert!(sink.finish(PATIENCE));
    assert_eq!((lines(&rotated).len(), lines(&path).len()), (2, 1));
    std::fs::remove_file(path).unwrap();
    std::fs::remove_file(rotated).unwrap();
}

#[test]
fn settings_change_while_it_runs() {
    let path = file("settings");
    let registry = Registry::new(1);
    let mut settings = settings(Output::File(path.clone()));
    let sink = Writer::spawn(&settings, &registry).unwrap();
    let log = sink.access_log();
    settings.access = false;
    apply(&sink, &settings).unwrap();
    assert!(!log.is_on());
    log.record(&entry());
    settings.access = true;
    settings.format = Format::Combined;
    settings.query = true;
    apply(&sink, &settings).unwrap();
    assert!(log.is_on());
    log.record(&entry());
    log.flush();
    assert!(sink.finish(PATIENCE));
    let lines = lines(&path);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("GET /v1/users?token=secret HTTP/1.1"));

    let missing = std::env::temp_dir().join("evenkeel-no-such-directory/access.log");
    settings.output = Output::File(missing);
    assert!(apply(&sink, &settings).is_err());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_log_of_a_worker_that_ends_is_handed_over() {
    let path = file("drop");
    let registry = Registry::new(1);
    let sink = Writer::spawn(&settings(Output::File(path.clone())), &registry).unwrap();
    let log = sink.access_log();
    log.record(&entry());
    drop(log);
    assert!(sink.finish(PATIENCE));
    assert_eq!(lines(&path).len(), 1);
    std::fs::remove_file(path).unwrap();
}
