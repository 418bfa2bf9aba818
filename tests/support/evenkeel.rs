//! The program itself, started as users start it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::{env, process, thread};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, Response};
use super::clock::eventually;
use super::endpoint::Endpoint;
use super::port::Port;

/// A running instance, killed when this goes.
#[derive(Debug)]
pub(crate) struct Evenkeel {
    child: Child,
    /// Whether it was this harness that ended it.
    killed: bool,
    folder: Folder,
    ports: BTreeMap<String, Port>,
}

/// A temporary directory that goes with its value.
#[derive(Debug)]
struct Folder(PathBuf);

impl Evenkeel {
    /// Starts the program with this configuration and waits until it is ready.
    ///
    /// An address written `"@name"` stands for a free port, `address("name")`. What the text
    /// leaves out is added: the version, one worker, and an `[admin]` with its socket and address.
    ///
    /// # Panics
    /// When the program does not become ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::launch(config, &[], None)
    }

    /// The same, with another place for what the program writes: `log` has nothing then.
    pub(crate) fn start_with_output(config: &str, output: Stdio) -> Self {
        Self::launch(config, &[], Some(output))
    }

    /// The same, with these files by name beside the configuration. One that is called
    /// `environment` has variables for the program, `NAME=value` on each line; one that is called
    /// `program` makes it be started by a link of that name, or by what is in it: a script, in
    /// which `PROGRAM` stands for its path.
    pub(crate) fn start_among(files: &[(String, String)], config: &str) -> Self {
        Self::launch(config, files, None)
    }

    fn launch(config: &str, files: &[(String, String)], output: Option<Stdio>) -> Self {
        let mut ports = BTreeMap::new();
        ports.insert(ADMIN.to_owned(), Port::reserve());
        let folder = Folder::create(&ports[ADMIN]);
        let text = complete(config, &folder, &mut ports);
        fs::write(folder.0.join(CONFIG), text).expect("a writable directory");
        File::create(folder.0.join(LOG)).expect("a writable directory");
        for (name, content) in files {
            let path = folder.0.join(name);
            let parent = path.parent().expect("it lies in the directory");
            fs::create_dir_all(parent).expect("a writable directory");
            fs::write(path, content).expect("a writable directory");
        }
        folder.link_program();
        let mut evenkeel = Self {
            child: folder.run(output),
            killed: false,
            folder,
            ports,
        };
        evenkeel.wait_until_ready();
        evenkeel
    }

    /// One listener, `web`, that sends everything to this endpoint.
    pub(crate) fn forwarding_to(endpoint: &Endpoint) -> Self {
        let address = endpoint.address();
        Self::start(&format!(
            "[listener.web]\nbind = \"@web\"\nto = [\"{address}\"]\n"
        ))
    }

    /// A TCP listener, `web`, in front of these endpoints, with these lines behind its settings.
    pub(crate) fn relaying_to(endpoints: &[&Endpoint], lines: &str) -> Self {
        let addresses: Vec<String> = endpoints
            .iter()
            .map(|endpoint| format!("\"{}\"", endpoint.address()))
            .collect();
        let addresses = addresses.join(", ");
        Self::start(&format!(
            "[listener.web]\nbind = \"@web\"\nprotocols = [\"tcp\"]\nupstream = \"app\"\n{lines}\
             [upstream.app]\nbalance = \"first_healthy\"\nendpoints = [{addresses}]\n"
        ))
    }

    /// The address that `"@name"` stood for.
    ///
    /// # Panics
    /// When the configuration has none of this name.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        self.ports[name].address()
    }

    /// A connection to the listener `web`.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address("web"))
    }

    /// Asks a resource of the admin's address that answers with JSON.
    pub(crate) fn admin_json(&self, path: &str) -> serde_json::Value {
        let response = self.admin(path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        serde_json::from_slice(&response.body.data).expect("JSON")
    }

    /// The number of the configuration in force.
    pub(crate) fn generation(&self) -> u64 {
        let generation = &self.admin_json("/v1/status")["configuration"]["generation"];
        generation.as_u64().expect("a number")
    }

    /// Asks the admin's address.
    pub(crate) fn admin(&self, path: &str) -> Response {
        let mut client = Client::connect(self.address(ADMIN));
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n"
        ));
        client.response()
    }

    /// Everything that the program has written so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.folder.0.join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs another command of the program against this instance.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(arguments)
            .env("EVENKEEL_ADMIN", self.folder.0.join(SOCKET))
            .env("EVENKEEL_CONFIG", self.folder.0.join(CONFIG))
            .output()
            .expect("the program was built")
    }

    /// Replaces the configuration file; the program is not told.
    pub(crate) fn write_config(&mut self, config: &str) {
        let text = complete(config, &self.folder, &mut self.ports);
        fs::write(self.folder.0.join(CONFIG), text).expect("a writable directory");
    }

    /// The Unix socket of its admin API.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.0.join(SOCKET)
    }

    /// A file of this name in the instance's own directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration file and has it taken.
    ///
    /// # Panics
    /// When it is refused.
    pub(crate) fn reload(&mut self, config: &str) {
        self.write_config(config);
        let output = self.command(&["reload"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the reload was refused: {said}");
    }

    /// Ends the program as a crash would.
    pub(crate) fn kill(&mut self) {
        self.killed = true;
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Starts the program again after `kill`.
    pub(crate) fn restart(&mut self) {
        self.child = self.folder.run(None);
        self.killed = false;
        self.wait_until_ready();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), signal).expect("a running program");
    }

    /// Waits for the program to end by itself.
    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        eventually("the program ends", || {
            self.child.try_wait().expect("our own child")
        })
    }

    /// The same, where that is no failure whatever it ends with.
    pub(crate) fn wait_for_exit_of_any_kind(&mut self) -> ExitStatus {
        self.killed = true;
        self.wait_for_exit()
    }

    fn wait_until_ready(&mut self) {
        let address = self.address(ADMIN);
        eventually("the program is ready", || {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                panic!("the program ended with {status}:\n{}", self.log());
            }
            // Until it listens, connecting fails.
            std::net::TcpStream::connect(address).ok()?;
            (self.admin("/readyz").status == 200).then_some(())
        });
    }
}

/// Ends the program by its process id, and makes its crimes known: whatever else a test proves, the
/// program must not have died or panicked.
impl Drop for Evenkeel {
    fn drop(&mut self) {
        let ended = self.child.try_wait().expect("our own child");
        drop(self.child.kill());
        drop(self.child.wait());
        self.folder.end_successors();
        let log = self.log();
        if thread::panicking() {
            // The test framework shows a failed test's output, and only that.
            report(&log);
        } else {
            let panicked = ["panicked at", "\"event\":\"fault\""];
            let panicked = panicked.iter().any(|words| log.contains(words));
            assert!(!panicked, "the program panicked:\n{log}");
            assert!(
                self.killed || ended.is_none_or(|status| status.success()),
                "the program ended with {ended:?}:\n{log}"
            );
        }
    }
}

impl Folder {
    /// The port is nobody else's while it is held, so it makes the name unique.
    fn create(port: &Port) -> Self {
        let name = format!("evenkeel-test-{}", port.address().port());
        let path = env::temp_dir().join(name);
        // One that a killed run has left behind.
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }

    /// Starts the program; what it writes is added to the log.
    fn run(&self, output: Option<Stdio>) -> Child {
        let log = File::options().append(true).open(self.0.join(LOG));
        let log = log.expect("the log was created");
        let environment = fs::read_to_string(self.0.join(ENVIRONMENT)).unwrap_or_default();
        let variables = environment.lines().filter_map(|line| line.split_once('='));
        let link = self.0.join(PROGRAM);
        let program = if link.exists() {
            link
        } else {
            env!("CARGO_BIN_EXE_evenkeel").into()
        };
        Command::new(program)
            .arg("run")
            .arg("--config")
            .arg(self.0.join(CONFIG))
            .envs(variables)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a spare descriptor"))
            .stdout(output.unwrap_or_else(|| log.into()))
            .spawn()
            .expect("the program was built")
    }

    /// Where the file asks for it, makes it a link to the program, or a script that starts it.
    fn link_program(&self) {
        let link = self.0.join(PROGRAM);
        let Ok(script) = fs::read_to_string(&link) else {
            return;
        };
        if script.is_empty() {
            fs::remove_file(&link).expect("a file");
            symlink(env!("CARGO_BIN_EXE_evenkeel"), link).expect("a writable directory");
        } else {
            let script = script.replace("PROGRAM", env!("CARGO_BIN_EXE_evenkeel"));
            fs::write(&link, script).expect("a writable directory");
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(link, mode).expect("our own file");
        }
    }

    /// Ends those that upgrades have put in the program's place: they are nobody's children.
    fn end_successors(&self) {
        let config = self.0.join(CONFIG).display().to_string();
        let running = || {
            let all = fs::read_dir("/proc").expect("it is there");
            let ids = all.filter_map(|one| one.ok()?.file_name().to_str()?.parse::<i32>().ok());
            let is_ours = |id: &i32| {
                let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                let mut words = line.split(|byte| *byte == 0);
                words.any(|word| word == config.as_bytes()) && *id != own_id()
            };
            ids.filter(is_ours).collect::<Vec<_>>()
        };
        eventually("its successors are gone", || {
            let left = running();
            for id in left.iter().filter_map(|id| Pid::from_raw(*id)) {
                // It may have ended by itself meanwhile.
                let _ = kill_process(id, Signal::KILL);
            }
            left.is_empty().then_some(())
        });
    }

    fn socket(&self) -> String {
        self.0.join(SOCKET).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Adds what the text leaves out, and puts an address for every `"@name"`.
fn complete(config: &str, folder: &Folder, ports: &mut BTreeMap<String, Port>) -> String {
    let is_missing = |key: &str| !config.starts_with(key) && !config.contains(&format!("\n{key}"));
    let mut text = Vec::new();
    text.extend(is_missing("version").then_some("version = 1\n"));
    text.extend(is_missing("workers").then_some("workers = 1\n"));
    text.push(config);
    let socket = folder.socket();
    let admin = format!("\n[admin]\nsocket = \"{socket}\"\nhttp = \"@{ADMIN}\"\n");
    text.extend(is_missing("[admin]").then_some(admin.as_str()));

    let text = text.concat();
    let mut pieces = text.split("\"@");
    let mut out = vec![pieces.next().unwrap_or_default().to_owned()];
    for piece in pieces {
        let (name, rest) = piece.split_once('"').expect("a closed string");
        let port = ports.entry(name.to_owned()).or_insert_with(Port::reserve);
        out.push(format!("\"{}\"{rest}", port.address()));
    }
    out.concat()
}

fn own_id() -> i32 {
    i32::try_from(process::id()).expect("a process id")
}

#[expect(clippy::print_stderr, reason = "shown for failed tests only")]
fn report(log: &str) {
    eprintln!("what the program wrote:\n{log}");
}

const ADMIN: &str = "admin";
const CONFIG: &str = "evenkeel.toml";
const ENVIRONMENT: &str = "environment";
const LOG: &str = "log";
const PROGRAM: &str = "program";
const SOCKET: &str = "admin.sock";
