use http::{HeaderName, HeaderValue, Method, Version};

use super::*;
use crate::config::{SameSite, Sticky, Time};

fn request(target: &str, fields: &[(&'static str, &str)]) -> RequestParts {
    let mut headers = Fields::new();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        headers.append(&HeaderName::from_static(name), &value);
    }
    RequestParts {
        method: Method::GET,
        uri: target.parse().unwrap(),
        version: Version::HTTP_11,
        headers,
    }
}

fn sticky() -> Sticky {
    Sticky {
        cookie: None,
        secret: "0123456789abcdef".to_owned(),
        max_age: None,
        path: None,
        domain: None,
        secure: None,
        http_only: None,
        same_site: None,
    }
}

fn affinity(sticky: Sticky) -> Affinity {
    Affinity::new(&config::Upstream {
        sticky: Some(sticky),
        ..config::Upstream::default()
    })
    .expect("a cookie ties")
}

fn cookies(headers: &Fields) -> Vec<String> {
    let lines = headers.get_all("cookie");
    lines
        .map(|line| line.to_str().unwrap().to_owned())
        .collect()
}

const MARK: &str = "00112233445566778899aabbccddeeff";

#[test]
fn a_key_is_made_of_what_is_written() {
    let client = "10.0.0.9".parse().ok();
    let ask = |by: &str, target: &str, fields: &[_]| {
        HashBy::new(by).key(&request(target, fields), client)
    };
    assert_eq!(
        ask("client_address", "/", &[]),
        client.map(crate::balance::client_key)
    );
    assert_eq!(HashBy::ClientAddress.key(&request("/", &[]), None), None);
    let by_field = ask("field:x-user", "/", &[("x-user", "ann")]);
    assert!(by_field.is_some());
    assert_eq!(
        ask("field:X-User", "/other", &[("x-user", "ann")]),
        by_field
    );
    assert_ne!(ask("field:x-user", "/", &[("x-user", "bob")]), by_field);
    assert_eq!(ask("field:x-user", "/", &[]), None);
    assert_eq!(ask("field:x-user", "/", &[("x-user", "")]), None);
    let by_cookie = ask("cookie:sid", "/", &[("cookie", "a=b; sid=ann;c")]);
    assert_eq!(by_cookie, by_field, "the same text is the same key");
    assert_eq!(
        ask("cookie:sid", "/", &[("cookie", "Sid=ann")]),
        None,
        "names have a case"
    );
    assert_eq!(ask("query:id", "/?x=1&id=a%6en", &[]), by_field);
    assert_eq!(ask("query:id", "/?x=1", &[]), None);
    assert_eq!(ask("path", "/a?x", &[]), ask("path", "/a?y", &[]));
    assert_ne!(ask("path", "/a", &[]), ask("path", "/b", &[]));
}

#[test]
fn the_cookie_of_a_tie_is_taken_out_and_no_other() {
    let affinity = affinity(sticky());
    let mark = Mark::parse(MARK.as_bytes());
    let take = |lines: &[&str]| {
        let fields: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
        let mut request = request("/", &fields);
        let taken = affinity.take(&mut request.headers);
        (taken, cookies(&request.headers))
    };
    let ours = format!("evenkeel={MARK}");
    assert_eq!(take(&[&ours]), (mark, vec![]));
    assert_eq!(
        take(&[&format!("a=1; {ours}; b=\"2\"; c")]),
        (mark, vec!["a=1; b=\"2\"; c".into()])
    );
    assert_eq!(
        take(&["a=1", &ours, "b=2"]),
        (mark, vec!["a=1; b=2".into()])
    );
    // What cannot be ours goes as well, and says nothing.
    assert_eq!(
        take(&["evenkeel=10.0.0.1:80; a=1"]),
        (None, vec!["a=1".into()])
    );
    assert_eq!(take(&[&format!("evenkeel=x; {ours}")]), (mark, vec![]));
    // What is not ours stays as it came.
    assert_eq!(
        take(&["a=1;b=2", "c"]),
        (None, vec!["a=1;b=2".into(), "c".into()])
    );
    assert_eq!(take(&["evenkeels=1"]), (None, vec!["evenkeels=1".into()]));
    assert_eq!(take(&[]), (None, vec![]));
}

#[test]
fn the_cookie_has_the_attributes_that_are_written() {
    let tell = |written: Sticky, is_secure| {
        let mut headers = Fields::new();
        let mark = Mark::parse(MARK.as_bytes()).unwrap();
        affinity(written).tell(&mut headers, mark, is_secure);
        headers
            .get("set-cookie")
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    let plain = format!("evenkeel={MARK}; Path=/; HttpOnly; SameSite=Lax");
    assert_eq!(tell(sticky(), false), plain);
    assert_eq!(tell(sticky(), true), format!("{plain}; Secure"));
    let written = Sticky {
        cookie: Some("at".to_owned()),
        max_age: Some(Time(std::time::Duration::from_hours(1))),
        path: Some("/shop".to_owned()),
        domain: Some("example.com".to_owned()),
        http_only: Some(false),
        same_site: Some(SameSite::None),
        ..sticky()
    };
    assert_eq!(
        tell(written, false),
        format!("at={MARK}; Path=/shop; Domain=example.com; Max-Age=3600; SameSite=None; Secure")
    );
    let never = Sticky {
        secure: Some(false),
        ..sticky()
    };
    assert_eq!(tell(never, true), plain);
}
