//! What a configuration takes from outside its text: variables and files.
//!
//! Everything outside comes through one trait, so that a test or a fuzz target says exactly what
//! there is, and nothing in a hostile text can reach a file that it should not.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Variables and files.
pub trait Environment: fmt::Debug {
    /// The value of a variable; `None` if it is not set.
    fn variable(&self, name: &str) -> Option<String>;

    /// Every variable, for those whose name begins with `EVENKEEL__`.
    fn variables(&self) -> Vec<(String, String)>;

    /// The content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The names in a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
}

/// The process's own environment and file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

/// No variables and no files: a text that has to stand alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> Vec<(String, String)> {
        let readable = |text: OsString| text.into_string().ok();
        std::env::vars_os()
            .filter_map(|(name, value)| Some((readable(name)?, readable(value)?)))
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A pipe or device could block or never end, and it is the reload that would wait.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?
            .take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        let names = entries.into_iter().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }
}

impl Environment for Nothing {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// The reason of a failed read in plain words, without the number of the system's error.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_owned()
        }
    }
}

/// A hundred thousand endpoints take 10 MB.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;
