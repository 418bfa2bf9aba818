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

/// The mode of a file: three octal digits, perhaps with a 0 before them.
pub(super) fn mode(text: &str) -> Result<(), Fault> {
    let digits = text.len() == 3 || (text.len() == 4 && text.starts_with('0'));
    if digits && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit)) {
        return Ok(());
    }
    let why = "octal digits for owner, group and others are expected: 0660";
    Err(Fault::new(Code::WrongValue, "the mode of a file", why))
}

/// A user or a group, by name or number.
pub(super) fn account(text: &str) -> Result<(), Fault> {
    let good = !text.is_empty() && !text.contains([':', '\n', '\0']);
    let wrong = || {
        Fault::new(
            Code::WrongValue,
            "a user or group",
            "a name or number is expected",
        )
    };
    good.then_some(()).ok_or_else(wrong)
}

/// A user, perhaps with a group behind it.
pub(super) fn user(text: &str) -> Result<(), Fault> {
    let (user, group) = text.split_once(':').unwrap_or((text, text));
    account(user).and_then(|()| account(group))
}
