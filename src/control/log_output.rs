//! Where the log goes after a reload.
//!
//! Problem: the place of the log may be gone, full or on a disk that hangs just when somebody has
//! to change something else. So it is opened away from the control plane's thread, and where the
//! configuration names the same place as before, the reload goes on without: lines go on to what
//! was opened then. Only a new place that cannot be opened refuses a configuration.

use std::io;

use super::aside::aside;
use super::changes;
use super::prepare::Rejection;
use crate::telemetry::access::{Opened, Settings};

/// Opens what these settings name; `None`, with a note, where lines have to go on to where they
/// went by the settings before.
pub async fn open(
    settings: &Settings,
    before: &Settings,
    notes: &mut Vec<String>,
) -> Result<Option<Opened>, Rejection> {
    let output = settings.output.clone();
    let opened = aside(settings.output.file(), move || output.open()).await;
    match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if settings.output == before.output => {
            notes.push(changes::log_not_opened(&error));
            Ok(None)
        }
        Err(error) => Err(Rejection::Log(error)),
    }
}
