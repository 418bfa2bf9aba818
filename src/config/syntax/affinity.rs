//! What ties clients to endpoints: keys, cookies and secrets.

use super::{Fault, field};
use crate::config::codes::Code;

/// What a key is made of: `client_address`, `path`, or `field:`, `cookie:` or `query:` and a name.
pub(super) fn hash_key(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Err(Fault::new(Code::HashKey, "what a key is made of", why));
    if ["client_address", "path"].contains(&text) {
        return Ok(());
    }
    let Some((kind, name)) = text.split_once(':') else {
        return fault(WORDS);
    };
    match kind {
        "field" => field::name(name).or_else(|found| fault(&found.why)),
        "cookie" => cookie_name(name).or_else(|found| fault(&found.why)),
        "query" if name.is_empty() => fault("the name of the parameter is missing"),
        "query" => Ok(()),
        "header" => Err(Fault::new(Code::HashKey, "what a key is made of", WORDS)
            .meant(format!("field:{name}"))),
        _ => fault(WORDS),
    }
}

/// A cookie's name (RFC 6265 §4.1.1).
pub(super) fn cookie_name(text: &str) -> Result<(), Fault> {
    field::name(text).map_err(|found| Fault::new(Code::CookieForm, "a cookie's name", found.why))
}

/// A cookie's path (RFC 6265 §4.1.1): what browsers do not take as one would be another one.
pub(super) fn cookie_path(text: &str) -> Result<(), Fault> {
    let fault = |why: &str| Err(Fault::new(Code::CookieForm, "a cookie's path", why));
    if !text.starts_with('/') {
        return fault("it begins with `/`");
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b';')
    {
        return fault("it is of visible ASCII without `;`");
    }
    Ok(())
}

/// A secret that nobody tries out.
pub(super) fn secret(text: &str) -> Result<(), Fault> {
    if text.chars().count() < LEAST_SECRET {
        let why = "at least 16 characters, such as `openssl rand -hex 32` makes";
        return Err(Fault::new(Code::StickySecret, "a secret that holds", why));
    }
    Ok(())
}

const WORDS: &str = "one of: client_address, field:<name>, cookie:<name>, query:<name>, path";

/// 128 bits, if it is random.
const LEAST_SECRET: usize = 16;
