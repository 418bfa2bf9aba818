//! What options of sockets are written as.

use super::Fault;
use crate::config::codes::Code;
use crate::config::format::dscp_of;

/// The name of an interface, as `dev_valid_name` of the kernel has it.
pub(super) fn interface(text: &str) -> Result<(), Fault> {
    let wrong = |why: &str| Fault::new(Code::WrongValue, "the name of an interface", why);
    if text.is_empty() {
        return Err(wrong("it is empty"));
    }
    if text.len() > LONGEST_INTERFACE {
        return Err(wrong("longer than the 15 bytes that the kernel allows"));
    }
    let bad = |c: &char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if let Some(bad) = text.chars().find(bad) {
        let why = format!("`{}` cannot be in it", bad.escape_default());
        return Err(wrong(&why));
    }
    if text == "." || text == ".." {
        return Err(wrong("the kernel allows no such name"));
    }
    Ok(())
}

/// The name of a class of service.
pub(super) fn dscp(text: &str) -> Result<(), Fault> {
    if dscp_of(text).is_some() {
        return Ok(());
    }
    let why =
        "0 to 63, or one of `cs0` to `cs7`, `af11` to `af43`, `ef`, `va` and `le` is expected";
    let fault = Fault::new(Code::WrongValue, "a class of service", why);
    let lower = text.to_ascii_lowercase();
    Err(if dscp_of(&lower).is_some() {
        fault.meant(lower)
    } else {
        fault
    })
}

/// `IFNAMSIZ` of the kernel has 16 bytes, the last of which is NUL.
const LONGEST_INTERFACE: usize = 15;
