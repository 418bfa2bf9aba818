//! Paths of files that are read by others than the configuration.

use super::Fault;
use crate::config::codes::Code;

/// The path of a file. That there is one is for its reader to find out.
pub(super) fn path(text: &str) -> Result<(), Fault> {
    let wrong = |why: &str| Err(Fault::new(Code::File, "the path of a file", why));
    if text.is_empty() {
        wrong("it is empty")
    } else if text.starts_with("-----BEGIN ") || text.contains(['\n', '\r']) {
        wrong("this is what stands in a file, and not its path")
    } else if text.contains('\0') {
        wrong("a path cannot hold a NUL byte")
    } else if text.ends_with('/') {
        wrong("this is the path of a folder")
    } else {
        Ok(())
    }
}
