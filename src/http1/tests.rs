//! Both directions together: what is written is read as it was meant.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header};
use proptest::prelude::*;

use super::{
    Framing, Limits, RequestOptions, ResponseFraming, ResponseOptions, encode_request,
    encode_response, parse_request, parse_response,
};
use crate::message::{Fields, RequestParts, ResponseParts, header_name_is_hop_by_hop};

const LIMITS: Limits = Limits {
    head: 64 * 1024,
    fields: 100,
};

/// End-to-end fields; values as they are without the white space around them.
fn fields() -> impl Strategy<Value = HeaderMap> {
    let name = prop_oneof![
        "[a-z0-9!#$%&'*+.^_`|~-]{1,20}",
        prop::sample::select(vec![
            "accept",
            "cookie",
            "sec-fetch-mode",
            "via",
            "x-forwarded-for"
        ])
        .prop_map(str::to_owned),
    ];
    let byte = prop_oneof![Just(b'\t'), 0x20_u8..0x7f, 0x80_u8..];
    let value = prop::collection::vec(byte, 0..40);
    prop::collection::vec((name, value), 0..40).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(name).expect("a token");
            let is_framing = ["content-length", "expect", "host"].contains(&name.as_str());
            if !is_framing && !header_name_is_hop_by_hop(&name) {
                map.append(
                    name,
                    HeaderValue::from_bytes(value.trim_ascii()).expect("a value"),
                );
            }
        }
        map
    })
}

fn framings() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(Framing::None),
        any::<u64>().prop_map(Framing::Length),
        Just(Framing::Chunked)
    ]
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_written(
        method in "[A-Z]{1,10}",
        path in "/[a-zA-Z0-9/?%=&;:@.,~{}|-]{0,40}",
        mut headers in fields(),
        framing in framings(),
        te_trailers in any::<bool>(),
        upgrade in prop::option::of(Just(HeaderValue::from_static("websocket"))),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        prop_assume!(method != "CONNECT");
        headers.insert("host", HeaderValue::from_static("example.org"));
        let mut parts = RequestParts {
            method: method.parse().expect("a token"),
            uri: path.parse::<Uri>().expect("a path"),
            version: Version::HTTP_11,
            headers: Fields::from(&headers),
        };
        if let Framing::Length(length) = framing {
            parts.headers.insert(&header::CONTENT_LENGTH, &HeaderValue::from(length));
        }
        let mut out = Vec::new();
        let options = RequestOptions { upgrade: upgrade.as_ref(), te_trailers };
        encode_request(&mut out, &parts, framing, options);
        let size = out.len();
        out.extend_from_slice(&behind);

        let head = parse_request(&out, LIMITS).expect("well-formed").expect("whole");
        prop_assert_eq!(head.size, size);
        prop_assert_eq!(&head.parts.method, &parts.method);
        prop_assert_eq!(&head.parts.uri, &parts.uri);
        prop_assert!(head.parts.headers.iter().eq(parts.headers.iter()));
        prop_assert_eq!(head.framing, framing);
        prop_assert_eq!(head.te_trailers, te_trailers);
        prop_assert_eq!(head.upgrade.as_deref(), upgrade.as_ref());
        prop_assert!(head.persistent);
    }

    #[test]
    fn a_response_is_read_as_it_was_written(
        status in 200_u16..=599,
        headers in fields(),
        framing in framings(),
        close in any::<bool>(),
        is_head in any::<bool>(),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let method = if is_head { Method::HEAD } else { Method::GET };
        let status = StatusCode::from_u16(status).expect("in range");
        let length = match framing {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        };
        let written = ResponseFraming::choose(&method, Version::HTTP_11, status, length);
        let version = Version::HTTP_11;
        let mut parts = ResponseParts { status, version, headers: Fields::from(&headers) };
        if let (Some(length), false) = (length, status == StatusCode::NO_CONTENT) {
            parts.headers.insert(&header::CONTENT_LENGTH, &HeaderValue::from(length));
        }
        let mut out = Vec::new();
        let options = ResponseOptions { close, ..ResponseOptions::default() };
        encode_response(&mut out, &parts, written, options);
        let size = out.len();
        out.extend_from_slice(&behind);

        let head = parse_response(&out, &method, LIMITS).expect("well-formed").expect("whole");
        prop_assert_eq!(head.size, size);
        prop_assert_eq!(head.parts.status, status);
        prop_assert!(head.parts.headers.iter().eq(parts.headers.iter()));
        prop_assert_eq!(head.framing, match written {
            ResponseFraming::Bodiless => Framing::None,
            ResponseFraming::Length(length) => Framing::Length(length),
            ResponseFraming::Chunked => Framing::Chunked,
            ResponseFraming::UntilClose => Framing::UntilClose,
        });
        prop_assert_eq!(head.persistent, !close);
    }
}
