//! The program that an upgrade starts: where this one was found, as it was started.
//!
//! Problem: once the file has been replaced, the kernel says of a running program only that its
//! file is deleted. So where it is to be found is decided at the start. And it is the name that was
//! used, with its links: who installs versions beside each other turns a link.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How this program was started, to start it again.
#[derive(Debug, Clone)]
pub struct Program {
    /// Where its file is, or will be.
    pub path: PathBuf,
    /// What it was called.
    pub(super) name: OsString,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// The program of this process. `None` where the system does not say where it is.
    pub fn of_this_process() -> Option<Self> {
        let mut line = env::args_os();
        let name = line.next().unwrap_or_default();
        let own = env::current_exe().ok()?;
        let written = found(&name, env::var_os("PATH").as_deref());
        // What was called so may be something else.
        let written = written.filter(|path| is_same(path, &own));
        Some(Self {
            path: written.unwrap_or(own),
            name,
            arguments: line.collect(),
        })
    }

    /// Why it is doubtful to start it: whoever may write the file decides what serves here.
    pub(super) fn doubt(&self) -> Option<String> {
        let file = fs::metadata(&self.path).ok()?;
        let everybody = file.permissions().mode() & OTHERS_WRITE != 0;
        everybody.then(|| format!("{} can be written by everybody", self.path.display()))
    }
}

/// The file of a program by the name that it was called by.
fn found(name: &OsStr, search: Option<&OsStr>) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.as_bytes().contains(&b'/') {
        // Not resolved: a link may lead elsewhere by then.
        return std::path::absolute(name).ok();
    }
    let places = env::split_paths(search?);
    let files = places.map(|place| place.join(name));
    let mut absolute = files.filter(|file| file.is_absolute() && file.is_file());
    absolute.next()
}

fn is_same(one: &Path, other: &Path) -> bool {
    let numbers = |path| -> io::Result<_> {
        let file = fs::metadata(path)?;
        Ok((file.dev(), file.ino()))
    };
    matches!((numbers(one), numbers(other)), (Ok(one), Ok(other)) if one == other)
}

const OTHERS_WRITE: u32 = 0o002;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_what_it_was_called() {
        let search = OsStr::new("/nonexistent:/bin:/usr/bin");
        let found = |name: &str| found(OsStr::new(name), Some(search));
        let shell = found("sh").expect("every system has one");
        assert!(is_same(&shell, Path::new("/bin/sh")));
        assert_eq!(
            found("/opt/link/evenkeel"),
            Some("/opt/link/evenkeel".into())
        );
        let here = env::current_dir().unwrap();
        assert_eq!(found("./a"), Some(here.join("a")));
        assert_eq!(found(""), None);
        assert_eq!(found("no-such-program"), None);
    }
}
