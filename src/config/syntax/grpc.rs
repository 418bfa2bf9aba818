//! The name of a gRPC service, as a health check asks for it.

use super::Fault;
use crate::config::codes::Code;

/// Visible ASCII: a name of Protocol Buffers, `shop.v1.Orders`, or what else a server knows.
pub(super) fn service(text: &str) -> Result<(), Fault> {
    let wrong = |why: &str| Fault::new(Code::WrongValue, "a service's name", why);
    if text.is_empty() {
        return Err(wrong("without `service` the server as a whole is asked"));
    }
    if let Some(path) = text.strip_prefix('/') {
        let fault = wrong("it is a service, and no path");
        let service = path.split('/').next().unwrap_or_default();
        return Err(if service.is_empty() {
            fault
        } else {
            fault.meant(service)
        });
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let why = format!("`{}` cannot be in it", bad.escape_default());
        return Err(wrong(&why));
    }
    if text.len() > LONGEST {
        return Err(wrong("at most 256 characters"));
    }
    Ok(())
}

/// What fits into one frame of a question, many times over.
const LONGEST: usize = 256;
