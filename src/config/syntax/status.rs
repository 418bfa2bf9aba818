//! Statuses: a class or a range.

use super::Fault;
use crate::config::codes::Code;

/// `2xx` or `200-399`.
pub(super) fn pattern(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::Status, "a pattern of statuses", why);
    if let Some(class) = text.strip_suffix("xx") {
        return match class {
            "1" | "2" | "3" | "4" | "5" => Ok(()),
            _ => Err(fault("there are 1xx, 2xx, 3xx, 4xx and 5xx")),
        };
    }
    if let Some(class) = text.strip_suffix("XX") {
        return Err(fault("the class stands in small letters").meant(format!("{class}xx")));
    }
    let Some((first, last)) = text.split_once('-') else {
        return Err(fault(
            "a class `\"2xx\"` or a range `\"200-399\"` is expected",
        ));
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok(()),
        (Some(_), Some(_)) => {
            Err(fault("the range ends before it begins").meant(format!("{last}-{first}")))
        }
        _ => Err(fault("a status is a number from 100 to 599")),
    }
}

fn status(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (100..=599).contains(&number).then_some(number)
}
