//! Layers of proxies, each with retries: that they do not multiply.
//!
//! Problem: three layers that try twice each make eight attempts of one request, just when all of
//! them fail. Two signs keep it at the retries of one layer. The nearest to what failed is the best
//! one to try again, since it knows other endpoints; the others learn that it has.
//!
//! - A request that is tried again says so, in [`ATTEMPT`]: the number of the attempt, over all
//!   layers. Who gets one above 1 from a proxy that it trusts tries it again only where it surely
//!   reached nobody, and never hedges it.
//! - An answer that failed, of somebody who has tried others or was refused that by the budget,
//!   says so in `Proxy-Status` (RFC 9209) by the parameter [`NO_RETRY`]. Who gets one hands it on:
//!   whoever is in front of him reads the same.
//!
//! An instance with one endpoint says nothing, for another instance may have a better one. So it
//! must not try again either what has reached that endpoint, or each such instance in a row would
//! add its own share: it leaves that to the proxy in front, if it trusts one.

use http::HeaderName;

use crate::message::{self, Fields, Value};
use crate::policy::list::split;

/// The number of the attempt that a request over all layers is, from the second on: at least 1.
pub fn attempt(headers: &Fields) -> u32 {
    let said = headers.get(&ATTEMPT).and_then(Value::to_str);
    let number = said.and_then(|text| text.trim().parse::<u32>().ok());
    number.unwrap_or(1).clamp(1, MOST)
}

/// Says which attempt a request is.
pub fn set_attempt(headers: &mut Fields, number: u32) {
    let text = number.min(MOST).to_string();
    if let Some(value) = Value::new(text.as_bytes()) {
        headers.insert(&ATTEMPT, value);
    }
}

/// Whether an answer comes from one of us who has tried others already, or may not.
pub fn is_final(headers: &Fields) -> bool {
    let mut lines = headers.get_all("proxy-status").filter_map(Value::to_str);
    // A list of structured fields (RFC 8941 §3.1).
    lines.any(|line| split(line, ',').any(is_final_member))
}

fn is_final_member(member: &str) -> bool {
    let mut parts = split(member, ';').map(str::trim);
    parts.next() == Some(NAME) && parts.any(|part| part == NO_RETRY)
}

/// The field that tells a request's attempt.
pub static ATTEMPT: HeaderName = HeaderName::from_static(message::ATTEMPT);

/// The parameter of `Proxy-Status` that says: this was tried elsewhere, or may not be.
pub const NO_RETRY: &str = "no-retry";

/// Who we are in `Proxy-Status`.
const NAME: &str = "evenkeel";

/// Ten attempts in each of a hundred layers: whoever says more says nothing.
const MOST: u32 = 1_000;
