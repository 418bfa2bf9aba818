//! The request of a `[[test]]`: `GET https://host/path`.

use super::{Fault, field, host, path};
use crate::config::codes::Code;

/// A method, a space, and a URL with scheme and host.
pub(super) fn request(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Fault::new(Code::TestRequest, "a request", why);
    let Some((method, url)) = text.split_once(' ') else {
        let fault = fault("a method and a URL are expected: `GET https://host/path`");
        let is_url = text.starts_with("http://") || text.starts_with("https://");
        return Err(if is_url {
            fault.meant(format!("GET {text}"))
        } else {
            fault
        });
    };
    let with = |inner: Fault| fault(&inner.why);
    field::method(method).map_err(with)?;
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Err(fault("the URL begins with `http://` or `https://`"));
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    host::authority(authority).map_err(with)?;
    if target.starts_with('/') {
        path::target(target).map_err(with)?;
    } else if !target.is_empty() {
        path::target(&format!("/{target}")).map_err(with)?;
    }
    Ok(())
}
