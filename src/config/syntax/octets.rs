//! Bytes of a health check over UDP.

use super::Fault;
use crate::config::codes::Code;
use crate::config::octets::{OctetPattern, octets};

/// What is sent.
pub(super) fn sent(text: &str) -> Result<(), Fault> {
    octets(text).map(drop).map_err(|why| fault(&why))
}

/// What is expected.
pub(super) fn expected(text: &str) -> Result<(), Fault> {
    let pattern = text.parse::<OctetPattern>();
    pattern.map(drop).map_err(|why| fault(&why))
}

fn fault(why: &str) -> Fault {
    Fault::new(Code::WrongValue, "bytes of a datagram", why)
}
