//! Names that are met all the time, without hashing, lower-casing or allocating them anew.
//!
//! `http` copies every name that is not in its own list to the heap, and browsers send half a dozen
//! of those with each request. The spellings here are those that are seen on the wire; any other
//! spelling takes the general way and comes to the same name.

use http::header::{self, HeaderName};

use super::lines::FieldError;

/// The name of a field.
pub(super) fn header_name(name: &[u8]) -> Result<HeaderName, FieldError> {
    match known(name) {
        Some(known) => Ok(known),
        None => HeaderName::from_bytes(name).map_err(|_| FieldError::Name),
    }
}

fn known(name: &[u8]) -> Option<HeaderName> {
    standard(name).or_else(|| custom(name))
}

fn standard(name: &[u8]) -> Option<HeaderName> {
    Some(match name {
        b"Accept" | b"accept" => header::ACCEPT,
        b"Accept-Encoding" | b"accept-encoding" => header::ACCEPT_ENCODING,
        b"Accept-Language" | b"accept-language" => header::ACCEPT_LANGUAGE,
        b"Accept-Ranges" | b"accept-ranges" => header::ACCEPT_RANGES,
        b"Access-Control-Allow-Origin" | b"access-control-allow-origin" => {
            header::ACCESS_CONTROL_ALLOW_ORIGIN
        }
        b"Age" | b"age" => header::AGE,
        b"Alt-Svc" | b"alt-svc" => header::ALT_SVC,
        b"Authorization" | b"authorization" => header::AUTHORIZATION,
        b"Cache-Control" | b"cache-control" => header::CACHE_CONTROL,
        b"Content-Disposition" | b"content-disposition" => header::CONTENT_DISPOSITION,
        b"Content-Encoding" | b"content-encoding" => header::CONTENT_ENCODING,
        b"Content-Language" | b"content-language" => header::CONTENT_LANGUAGE,
        b"Content-Range" | b"content-range" => header::CONTENT_RANGE,
        b"Content-Security-Policy" | b"content-security-policy" => header::CONTENT_SECURITY_POLICY,
        b"Content-Type" | b"content-type" => header::CONTENT_TYPE,
        b"Cookie" | b"cookie" => header::COOKIE,
        b"DNT" | b"dnt" => header::DNT,
        b"Date" | b"date" => header::DATE,
        b"ETag" | b"Etag" | b"etag" => header::ETAG,
        b"Expires" | b"expires" => header::EXPIRES,
        b"Forwarded" | b"forwarded" => header::FORWARDED,
        b"If-Match" | b"if-match" => header::IF_MATCH,
        b"If-Modified-Since" | b"if-modified-since" => header::IF_MODIFIED_SINCE,
        b"If-None-Match" | b"if-none-match" => header::IF_NONE_MATCH,
        b"Last-Modified" | b"last-modified" => header::LAST_MODIFIED,
        b"Link" | b"link" => header::LINK,
        b"Location" | b"location" => header::LOCATION,
        b"Origin" | b"origin" => header::ORIGIN,
        b"Pragma" | b"pragma" => header::PRAGMA,
        b"Range" | b"range" => header::RANGE,
        b"Referer" | b"referer" => header::REFERER,
        b"Referrer-Policy" | b"referrer-policy" => header::REFERRER_POLICY,
        b"Server" | b"server" => header::SERVER,
        b"Set-Cookie" | b"set-cookie" => header::SET_COOKIE,
        b"Strict-Transport-Security" | b"strict-transport-security" => {
            header::STRICT_TRANSPORT_SECURITY
        }
        b"Upgrade-Insecure-Requests" | b"upgrade-insecure-requests" => {
            header::UPGRADE_INSECURE_REQUESTS
        }
        b"User-Agent" | b"user-agent" => header::USER_AGENT,
        b"Vary" | b"vary" => header::VARY,
        b"Via" | b"via" => header::VIA,
        b"X-Content-Type-Options" | b"x-content-type-options" => header::X_CONTENT_TYPE_OPTIONS,
        b"X-Frame-Options" | b"x-frame-options" => header::X_FRAME_OPTIONS,
        b"X-XSS-Protection" | b"x-xss-protection" => header::X_XSS_PROTECTION,
        _ => return None,
    })
}

fn custom(name: &[u8]) -> Option<HeaderName> {
    let known = match name {
        b"Priority" | b"priority" => &PRIORITY,
        b"Sec-Fetch-Dest" | b"sec-fetch-dest" => &SEC_FETCH_DEST,
        b"Sec-Fetch-Mode" | b"sec-fetch-mode" => &SEC_FETCH_MODE,
        b"Sec-Fetch-Site" | b"sec-fetch-site" => &SEC_FETCH_SITE,
        b"Sec-Fetch-User" | b"sec-fetch-user" => &SEC_FETCH_USER,
        b"Server-Timing" | b"server-timing" => &SERVER_TIMING,
        b"X-Forwarded-For" | b"x-forwarded-for" => &X_FORWARDED_FOR,
        b"X-Forwarded-Host" | b"x-forwarded-host" => &X_FORWARDED_HOST,
        b"X-Forwarded-Proto" | b"x-forwarded-proto" => &X_FORWARDED_PROTO,
        b"X-Powered-By" | b"x-powered-by" => &X_POWERED_BY,
        b"X-Real-IP" | b"x-real-ip" => &X_REAL_IP,
        b"X-Request-ID" | b"X-Request-Id" | b"x-request-id" => &X_REQUEST_ID,
        b"X-Requested-With" | b"x-requested-with" => &X_REQUESTED_WITH,
        b"sec-ch-ua" => &SEC_CH_UA,
        b"sec-ch-ua-mobile" => &SEC_CH_UA_MOBILE,
        b"sec-ch-ua-platform" => &SEC_CH_UA_PLATFORM,
        b"traceparent" => &TRACEPARENT,
        b"tracestate" => &TRACESTATE,
        _ => return None,
    };
    Some(known.clone())
}

static PRIORITY: HeaderName = HeaderName::from_static("priority");
static SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
static SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
static SEC_FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");
static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");
static X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
static SEC_CH_UA: HeaderName = HeaderName::from_static("sec-ch-ua");
static SEC_CH_UA_MOBILE: HeaderName = HeaderName::from_static("sec-ch-ua-mobile");
static SEC_CH_UA_PLATFORM: HeaderName = HeaderName::from_static("sec-ch-ua-platform");
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[cfg(test)]
mod tests {
    use super::*;

    const STANDARD: &[&str] = &[
        "Accept",
        "Accept-Encoding",
        "Accept-Language",
        "Accept-Ranges",
        "Access-Control-Allow-Origin",
        "Age",
        "Alt-Svc",
        "Authorization",
        "Cache-Control",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Content-Range",
        "Content-Security-Policy",
        "Content-Type",
        "Cookie",
        "DNT",
        "Date",
        "ETag",
        "Expires",
        "Forwarded",
        "If-Match",
        "If-Modified-Since",
        "If-None-Match",
        "Last-Modified",
        "Link",
        "Location",
        "Origin",
        "Pragma",
        "Range",
        "Referer",
        "Referrer-Policy",
        "Server",
        "Set-Cookie",
        "Strict-Transport-Security",
        "Upgrade-Insecure-Requests",
        "User-Agent",
        "Vary",
        "Via",
        "X-Content-Type-Options",
        "X-Frame-Options",
        "X-XSS-Protection",
        "Etag",
    ];
    const CUSTOM: &[&str] = &[
        "Priority",
        "Sec-Fetch-Dest",
        "Sec-Fetch-Mode",
        "Sec-Fetch-Site",
        "Sec-Fetch-User",
        "Server-Timing",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Powered-By",
        "X-Real-IP",
        "X-Request-ID",
        "X-Requested-With",
        "sec-ch-ua",
        "sec-ch-ua-mobile",
        "sec-ch-ua-platform",
        "traceparent",
        "tracestate",
        "X-Request-Id",
    ];

    #[test]
    fn a_known_name_is_the_one_that_it_spells() {
        for name in STANDARD.iter().chain(CUSTOM) {
            let small = name.to_ascii_lowercase();
            for spelling in [*name, &small] {
                let known = known(spelling.as_bytes()).expect(spelling);
                assert_eq!(known.as_str(), small, "{spelling}");
            }
        }
    }

    #[test]
    fn other_spellings_and_names_take_the_general_way() {
        for name in ["ACCEPT", "hOsT", "X-Custom", "a"] {
            assert_eq!(known(name.as_bytes()), None, "{name}");
            let read = header_name(name.as_bytes()).expect(name);
            assert_eq!(read.as_str(), name.to_ascii_lowercase());
        }
        for name in [&b""[..], b"a b", b"\xe4", b"a:"] {
            assert_eq!(header_name(name), Err(FieldError::Name));
        }
    }
}
