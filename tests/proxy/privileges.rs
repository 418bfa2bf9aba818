//! As little power as possible: what each thread of the program may do once it serves.
//!
//! Only root can give anything up, so these tests need it, and are nothing elsewhere.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::process::{Signal, geteuid};

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::evenkeel::Evenkeel;

const WEB: &str = "[listener.web]\nbind = \"@web\"\n[route.all]\nrespond = { status = 204 }\n";

/// A number that no user of the machine has.
const USER: u32 = 54_321;

/// What the kernel says of each thread, by its name: the values of a line.
fn threads(proxy: &Evenkeel, line: &str) -> Vec<(String, String)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("it runs");
    tasks
        .filter_map(|task| {
            let task = task.ok()?.path();
            let name = fs::read_to_string(task.join("comm")).ok()?;
            let status = fs::read_to_string(task.join("status")).ok()?;
            let value = status.lines().find_map(|it| it.strip_prefix(line))?;
            let value = value
                .trim_start_matches(':')
                .split_whitespace()
                .collect::<Vec<_>>();
            Some((name.trim().to_owned(), value.join(" ")))
        })
        .collect()
}

fn assert_all(proxy: &Evenkeel, line: &str, expected: &str) {
    let threads = threads(proxy, line);
    assert!(
        threads.len() >= 4,
        "main, control, log and a worker: {threads:?}"
    );
    assert!(
        threads.iter().all(|(_, value)| value == expected),
        "{line}: {threads:?}"
    );
}

#[test]
fn every_thread_is_the_user_and_has_no_power() {
    if !geteuid().is_root() {
        return;
    }
    let proxy = Evenkeel::start(&format!("user = \"{USER}\"\n{WEB}"));
    let user = [
        USER.to_string(),
        USER.to_string(),
        USER.to_string(),
        USER.to_string(),
    ]
    .join(" ");
    for (line, expected) in [
        ("Uid", &*user),
        ("Gid", &*user),
        ("Groups", ""),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("CapInh", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        assert_all(&proxy, line, expected);
    }
    assert_eq!(proxy.client().get("/").status, 204);
    let socket = fs::metadata(proxy.socket()).expect("it is there");
    assert_eq!(
        (socket.uid(), socket.permissions().mode() & 0o777),
        (USER, 0o600)
    );
    assert!(proxy.command(&["status"]).status.success(), "root may ask");
    assert!(proxy.metric("process_open_fds", &[]) > 0, "it sees itself");
    let log = proxy.log();
    assert!(log.contains("is root no more"), "{log}");
}

#[test]
fn what_is_kept_is_kept_by_those_who_need_it() {
    if !geteuid().is_root() {
        return;
    }
    let settings = format!("user = \"{USER}\"\n");
    let keep = "[security]\nkeep_capabilities = [\"net_bind_service\"]\n";
    let low = "[listener.low]\nbind = \"127.84.3.2:81\"\nto = [\"127.0.0.1:1\"]\n";
    let mut proxy = Evenkeel::start(&format!("{settings}{keep}{WEB}"));
    let bind_service = format!("{:016x}", 1 << 10);
    assert_all(&proxy, "CapBnd", &bind_service);
    for (name, effective) in threads(&proxy, "CapEff") {
        let keeps = name == "control" || name.starts_with("worker");
        let expected = if keeps {
            &bind_service
        } else {
            "0000000000000000"
        };
        assert_eq!(effective, expected, "{name}");
    }
    proxy.reload(&format!("{settings}{keep}{WEB}{low}"));
    drop(proxy);

    let mut proxy = Evenkeel::start(&format!("{settings}{WEB}"));
    proxy.write_config(&format!("{settings}{WEB}{low}"));
    let refused = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("security.keep_capabilities"), "{said}");
    assert_eq!(proxy.client().get("/").status, 204);
}

/// A mark needs a power, with every connection.
#[test]
fn what_traffic_needs_is_kept_without_a_word() {
    if !geteuid().is_root() {
        return;
    }
    let endpoint = crate::support::endpoint::Endpoint::echo();
    let config = format!(
        "user = \"{USER}\"\n[listener.web]\nbind = \"@web\"\nupstream = \"app\"\n\
         [upstream.app]\nendpoints = [\"{}\"]\nsocket.mark = 7\n",
        endpoint.address()
    );
    let proxy = Evenkeel::start(&config);
    assert_eq!(proxy.client().get("/").status, 200);
    assert_all(&proxy, "CapBnd", &format!("{:016x}", 1 << 12));
}

#[test]
fn the_log_can_be_opened_again() {
    if !geteuid().is_root() {
        return;
    }
    let logs = Files::new(&[("logs/evenkeel.log", "")]);
    let folder = logs.path("logs");
    std::os::unix::fs::chown(&folder, Some(USER), Some(USER)).expect("root may");
    let file = folder.join("evenkeel.log");
    fs::remove_file(&file).expect("it was written");
    let proxy = Evenkeel::start(&format!(
        "user = \"{USER}\"\n[log]\noutput = \"{}\"\n{WEB}",
        file.display()
    ));
    assert_eq!(fs::metadata(&file).expect("it was made").uid(), USER);
    fs::rename(&file, folder.join("evenkeel.log.1")).expect("root may");
    proxy.signal(Signal::USR1);
    eventually("another file is made", || {
        proxy.client().get("/");
        let text = fs::read_to_string(&file).ok()?;
        text.contains("\"access\"").then_some(())
    });
}

/// Whether the kernel confines this instance, which it must where `EVENKEEL_LANDLOCK` says
/// `required`.
fn has_landlock(proxy: &Evenkeel) -> bool {
    let has = !proxy.log().contains("not confined by Landlock");
    let variable = std::env::var("EVENKEEL_LANDLOCK");
    let is_required = variable.is_ok_and(|it| it == "required");
    assert!(has || !is_required, "no Landlock (EVENKEEL_LANDLOCK)");
    has
}

#[test]
fn files_elsewhere_are_out_of_reach() {
    let elsewhere = Files::new(&[("a.pem", "no certificate")]);
    let config = |landlock: &str| format!("{landlock}{WEB}");
    let mut proxy = Evenkeel::start(&config("[security]\nlandlock = true\n"));
    if !has_landlock(&proxy) {
        return;
    }
    assert_all(&proxy, "NoNewPrivs", "1");
    // What lies beside the configuration can be read again; this is what a ConfigMap needs.
    proxy.reload(&config("[security]\nlandlock = true\n"));
    let tls = format!(
        "[listener.tls]\nbind = \"@tls\"\nto = [\"127.0.0.1:1\"]\n\
         tls.certificates = [{{ cert = \"{0}\", key = \"{0}\" }}]\n",
        elsewhere.path("a.pem").display()
    );
    proxy.write_config(&(config("[security]\nlandlock = true\n") + &tls));
    let refused = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("is out of reach since the start (Landlock)"),
        "{said}"
    );
    assert_eq!(proxy.client().get("/").status, 204);

    let folder = elsewhere.path("a.pem");
    let folder = folder.parent().expect("it has one").display().to_string();
    let allowed = format!("[security]\nlandlock = true\nallow_paths = [\"{folder}\"]\n");
    let mut proxy = Evenkeel::start(&config(&allowed));
    proxy.write_config(&(config(&allowed) + &tls));
    let refused = proxy.command(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("E0124") && !said.contains("Landlock"),
        "it was read: {said}"
    );
}

#[test]
fn whom_it_cannot_become_is_told_of() {
    let files = Files::new(&[]);
    let run = |user: &str| {
        let text = format!("user = \"{user}\"\n{}", WEB.replace("@web", "127.0.0.1:0"));
        fs::write(files.path("evenkeel.toml"), text).expect("a writable directory");
        files.run(&["run", "-c", "evenkeel.toml"])
    };
    let done = run("no-such-user");
    assert_eq!(done.code, 1);
    assert!(
        done.err
            .contains("does not know `no-such-user` as a user (/etc/passwd)"),
        "{}",
        done.err
    );
    assert!(run("a:b:c").err.contains("a user or group"));
    if !geteuid().is_root() {
        let done = run("0");
        assert!(done.err.contains("cannot become user 0"), "{}", done.err);
    }
}

/// The file of the program is read to be started, and its folder is named nowhere.
#[test]
fn a_confined_instance_can_be_upgraded() {
    let proxy = Evenkeel::start_replaceable(&format!("[security]\nlandlock = true\n{WEB}"));
    for _ in 0..2 {
        proxy.upgrade_well();
        assert_eq!(proxy.client().get("/").status, 204);
    }
}

/// The kernel lays sixteen rules over each other and no more.
#[test]
fn upgrades_lay_no_rules_over_those_that_are_there() {
    let elsewhere = Files::new(&[("token", "a")]);
    let config = format!("[security]\nlandlock = true\n{WEB}");
    let mut proxy = Evenkeel::start_replaceable(&config);
    if !has_landlock(&proxy) {
        return;
    }
    for _ in 0..17 {
        proxy.upgrade_well();
    }
    assert_eq!(proxy.client().get("/").status, 204);
    let log = proxy.log();
    assert!(!log.contains("Landlock"), "{log}");

    // It is confined all the same, knows it, and so does one that comes after it.
    let token = elsewhere.path("token").display().to_string();
    let secret =
        format!("[route.b]\npath = \"/b\"\nrespond = {{ body = \"${{file:{token}}}\" }}\n");
    let log = format!("[log]\noutput = \"{}\"\n", elsewhere.path("log").display());
    for more in [secret, log] {
        proxy.write_config(&format!("{config}{more}"));
        let refused = proxy.command(&["reload"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            said.contains("(Landlock)") && said.contains("restart"),
            "{said}"
        );
        let upgraded = proxy.upgrade();
        assert_eq!(upgraded.code, 1, "{upgraded:?}");
        let why = upgraded.report["why"].as_str().expect("words");
        assert!(
            why.contains("(Landlock)") && why.contains("restart"),
            "{why}"
        );
    }

    // What is not asked for any more holds until a restart, and that is said.
    proxy.write_config(WEB);
    proxy.upgrade_well();
    eventually("it is told", || {
        let told = "although `security.landlock` is not on any more";
        proxy.log().contains(told).then_some(())
    });
}

/// It is named by an option, or by the environment, and by no file.
#[test]
fn the_admin_socket_of_an_option_is_in_reach() {
    let elsewhere = Files::new(&[("none", "")]);
    let socket = elsewhere.path("admin.sock");
    let environment = format!("EVENKEEL_ADMIN={}", socket.display());
    let files = [("environment".to_owned(), environment)];
    let proxy = Evenkeel::start_among(&files, &format!("[security]\nlandlock = true\n{WEB}"));
    assert!(socket.exists());
    assert_eq!(proxy.client().get("/").status, 204);
}

#[test]
fn the_group_of_the_admin_socket_stays_as_written() {
    if !geteuid().is_root() {
        return;
    }
    let mut proxy = Evenkeel::start(&format!("user = \"{USER}\"\n{WEB}"));
    let path = proxy.socket();
    let admin = format!(
        "[admin]\nsocket = \"{}\"\nhttp = \"@admin\"\ngroup = \"54322\"\n",
        path.display()
    );
    proxy.kill();
    proxy.write_config(&format!("user = \"{USER}\"\n{WEB}{admin}"));
    proxy.restart();
    let socket = fs::metadata(&path).expect("it is there");
    assert_eq!((socket.uid(), socket.gid()), (USER, 54_322));
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
}

/// An instance that was root has left files behind that only root reads.
#[test]
fn what_was_kept_as_root_is_read_as_the_user() {
    if !geteuid().is_root() {
        return;
    }
    let files = Files::new(&[("linked", ""), ("named", "")]);
    let own = fs::Permissions::from_mode(0o600);
    fs::set_permissions(files.path("named"), own).expect("our own file");
    let state = files.path("state");
    let config = format!("state_dir = \"{}\"\n{WEB}", state.display());
    let mut proxy = Evenkeel::start(&config);
    eventually("it is kept", || {
        state.join("last-good").exists().then_some(())
    });
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_for_exit().success());
    for name in ["state", "state.ended", "last-good"] {
        let there = fs::metadata(state.join(name)).expect("it was written");
        assert_eq!((there.uid(), there.mode() & 0o777), (0, 0o600), "{name}");
    }
    // Neither kind of link gives a file away that lies elsewhere.
    fs::remove_file(state.join("state.ended")).expect("it was written");
    symlink(files.path("linked"), state.join("state.ended")).expect("root may");
    fs::hard_link(files.path("named"), state.join("state.unreadable")).expect("root may");
    proxy.write_config(&format!("user = \"{USER}\"\n{config}"));
    proxy.restart();
    let restored = proxy.events("state_restored");
    assert_eq!(restored.len(), 1, "{}", proxy.log());
    let owner = |path: &Path| fs::metadata(path).expect("it is there").uid();
    assert_eq!(owner(&state), USER);
    assert_eq!(owner(&files.path("linked")), 0);
    assert_eq!(owner(&files.path("named")), 0);

    // What is not given is told of, with what to do.
    proxy.kill();
    fs::remove_file(state.join("state")).expect("it is there");
    fs::hard_link(files.path("named"), state.join("state")).expect("root may");
    proxy.restart();
    let ignored = proxy.events("state_ignored");
    let why = ignored[0]["why"].as_str().expect("words");
    assert!(why.contains(&format!("chown -R {USER} ")), "{why}");
}

/// The first file that an empty folder of an `include` gets.
#[test]
fn a_folder_that_is_included_from_is_in_reach_while_it_is_empty() {
    let elsewhere = Files::new(&[("apps/none", "")]);
    let apps = elsewhere.path("apps").display().to_string();
    let config = format!(
        "include = [\"{apps}/*.toml\"]\n[security]\nlandlock = true\n\
         [listener.web]\nbind = \"@web\"\n"
    );
    let mut proxy = Evenkeel::start(&config);
    let route = "[route.all]\nrespond = { status = 204 }\n";
    fs::write(elsewhere.path("apps/a.toml"), route).expect("writable");
    proxy.reload(&config);
    assert_eq!(proxy.client().get("/").status, 204);
}

/// Whichever mistake the file has: it must not be what leaves the process root.
#[test]
fn the_last_good_configuration_says_whom_to_become() {
    if !geteuid().is_root() {
        return;
    }
    let files = Files::new(&[("state/none", "")]);
    let state = files.path("state").display().to_string();
    let environment = format!("EVENKEEL_LAST_GOOD=true\nEVENKEEL__STATE_DIR={state}");
    let environment = ("environment".to_owned(), environment);
    let good = format!("user = \"{USER}\"\n{WEB}");
    let mut proxy = Evenkeel::start_among(&[environment], &good);
    let copy = files.path("state").join("last-good");
    eventually("it is kept", || copy.exists().then_some(()));
    let user = [USER.to_string(), USER.to_string()].join(" ");
    let user = [user.clone(), user].join(" ");
    for is_readable in [false, true] {
        proxy.kill();
        if is_readable {
            proxy.write_config(
                "[listener.web]\nbind = \"@web\"\nto = [\"no-such-host.invalid:80\"]\n",
            );
        } else {
            fs::write(proxy.path("evenkeel.toml"), "garbage [").expect("writable");
        }
        proxy.restart();
        assert_eq!(proxy.client().get("/").status, 204);
        assert_all(&proxy, "Uid", &user);
        assert_all(&proxy, "CapEff", "0000000000000000");
        assert_all(&proxy, "NoNewPrivs", "1");
    }
}
