//! The token that opens the admin API over TCP.
//!
//! It stands in a file, as a mounted secret does, and may be replaced there: each reload reads it
//! again. What cannot be read leaves the one before in force.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::HeaderValue;

use super::entrances::EntranceError;
use crate::control::aside::aside;

/// A token and where it stands.
pub(super) struct TokenFile {
    path: PathBuf,
    token: Mutex<Vec<u8>>,
}

/// Why a file has no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// Nobody could send this.
    #[error("a token is one line of visible ASCII")]
    Malformed,
    /// It could be guessed.
    #[error(
        "it has {0} characters, and a token at least {LEAST}: `openssl rand -hex 32` makes one"
    )]
    Short(usize),
}

impl TokenFile {
    /// Reads it.
    pub(super) fn read(path: &Path) -> Result<Self, EntranceError> {
        let token = read(path).map_err(|error| EntranceError::Token(path.into(), error))?;
        Ok(Self {
            path: path.into(),
            token: Mutex::new(token),
        })
    }

    /// Reads it again; what went wrong leaves the one before.
    pub(super) async fn renew(&self) -> Result<(), String> {
        let path = self.path.clone();
        let token = aside([&*self.path], move || read(&path)).await?;
        let token = token.map_err(|error| format!("{}: {error}", self.path.display()))?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// Whether a field `Authorization` has it (RFC 6750 §2.1). Takes as long wherever they differ.
    pub(super) fn is_in(&self, field: Option<&HeaderValue>) -> bool {
        let Some((scheme, sent)) = field.and_then(|value| value.as_bytes().split_at_checked(7))
        else {
            return false;
        };
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        scheme.eq_ignore_ascii_case(b"bearer ")
            && verify_slices_are_equal(sent.trim_ascii(), &token).is_ok()
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenFile").field(&self.path).finish()
    }
}

/// The token in a file. Blocks; `check` asks too.
pub fn read(path: &Path) -> Result<Vec<u8>, TokenError> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file").into());
    }
    let bytes = fs::read(path)?;
    let token = bytes.trim_ascii();
    if !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::Malformed);
    }
    if token.len() < LEAST {
        return Err(TokenError::Short(token.len()));
    }
    Ok(token.to_vec())
}

/// 64 bits, if all that is written are hexadecimal digits.
const LEAST: usize = 16;
