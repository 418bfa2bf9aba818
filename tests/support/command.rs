//! The program's commands without an instance: files to read, and what a shell sees afterwards.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process};

/// A directory with files, which goes with its value.
#[derive(Debug)]
pub(crate) struct Files(PathBuf);

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Files {
    /// These files by name, which may lie in folders.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-files-{}-{number}", process::id());
        let folder = env::temp_dir().join(name);
        // One that a killed run of the same number has left behind.
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).expect("the temporary directory can be written");
        for (name, text) in files {
            let path = folder.join(name);
            let parent = path.parent().expect("it lies in the directory");
            fs::create_dir_all(parent).expect("a writable directory");
            fs::write(path, text).expect("a writable directory");
        }
        Self(folder)
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs the program among the files and waits for its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.command(arguments)
            .output()
            .map(Done::from)
            .expect("the program was built")
    }

    /// The program among the files, with nothing of the caller's own settings.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command
            .args(arguments)
            .current_dir(&self.0)
            .stdin(Stdio::null());
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("EVENKEEL") {
                command.env_remove(name);
            }
        }
        command
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            // Ended by a signal: no code that any test expects.
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }
}
