use http::{HeaderName, HeaderValue, header};
use proptest::prelude::*;

use super::*;

fn field(name: &str) -> HeaderName {
    name.parse().expect(name)
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        fields.append(&field(name), Value::new(value.as_bytes()).expect(value));
    }
    fields
}

/// A block of lines, read as the parser reads it: names and values found, and kept.
fn read(block: &str) -> Fields {
    let mut fields = Fields::new();
    let mut start = 0;
    for line in block.split_inclusive("\r\n") {
        let colon = line.find(':').expect(line);
        let value = line[colon + 1..].trim();
        let at = if value.is_empty() {
            colon + 2
        } else {
            colon + 1 + line[colon + 1..].find(value).expect(value)
        };
        let place = Place {
            name: start,
            name_length: colon,
            value: start + at,
            value_length: value.len(),
            is_plain: line[colon..].starts_with(": ")
                && line[at..] == [value, "\r\n"].concat()
                && at == colon + 2,
        };
        let role = role(&line.as_bytes()[..colon]);
        if place.is_plain {
            fields.keep(block.as_bytes(), place, role);
        } else {
            fields.keep_rewritten(block.as_bytes(), place, role);
        }
        start += line.len();
    }
    fields.take_text(block.as_bytes());
    fields
}

fn written(fields: &Fields) -> String {
    let mut out = Vec::new();
    fields.write_to(&mut out, |_, _| true);
    String::from_utf8(out).expect("ASCII")
}

#[test]
fn lines_leave_as_they_came_but_for_the_space_around_values() {
    let plain = "Host: a\r\nX-CamelCase: b c\r\nempty: \r\n";
    assert_eq!(written(&read(plain)), plain);
    let odd = "A:1\r\nB: \t2 \t\r\nC:\r\nD:   \r\nE: 5\r\n";
    assert_eq!(
        written(&read(odd)),
        "A: 1\r\nB: 2\r\nC: \r\nD: \r\nE: 5\r\n"
    );
}

#[test]
fn names_compare_in_any_case_and_values_keep_their_order() {
    let fields = read("Accept: 1\r\nACCEPT: 2\r\nacceqt: 3\r\naccept: 4\r\nAccept-: 5\r\n");
    let values: Vec<_> = fields.get_all("accept").filter_map(Value::to_str).collect();
    assert_eq!(values, ["1", "2", "4"]);
    let last = fields.get_all("Accept").next_back().and_then(Value::to_str);
    assert_eq!(last, Some("4"));
    assert_eq!(
        fields.get(header::ACCEPT).and_then(Value::to_str),
        Some("1")
    );
    assert!(!fields.contains_key("accep") && fields.contains_key("accept-"));
}

#[test]
fn insert_takes_the_place_of_the_first_and_removes_the_others() {
    let mut fields = read("a: 1\r\nB: 2\r\nc: 3\r\nb: 4\r\n");
    fields.insert(&field("b"), Value::new(b"new").expect("a value"));
    assert_eq!(written(&fields), "a: 1\r\nb: new\r\nc: 3\r\n");
    fields.insert(&field("d"), &HeaderValue::from_static("last"));
    assert_eq!(written(&fields), "a: 1\r\nb: new\r\nc: 3\r\nd: last\r\n");
    fields.remove("B");
    fields.append(&field("a"), &HeaderValue::from_static("2"));
    assert_eq!(written(&fields), "a: 1\r\nc: 3\r\nd: last\r\na: 2\r\n");
    fields.remove_if(b"ax", |name| name == b"a");
    assert_eq!((fields.len(), fields.is_empty()), (2, false));
}

#[test]
fn a_value_is_copied_only_where_there_is_none() {
    let (host, to) = (header::HOST, field("x-forwarded-host"));
    let mut fields = read("HOST: shop\r\n");
    fields.copy_if_missing(&host, &to);
    fields.copy_if_missing(&host, &to);
    assert_eq!(written(&fields), "HOST: shop\r\nx-forwarded-host: shop\r\n");
    let mut fields = read("X-Forwarded-Host: other\r\nhost: shop\r\n");
    fields.copy_if_missing(&host, &to);
    assert_eq!(fields.len(), 2);
    let mut fields = Fields::new();
    fields.copy_if_missing(&host, &to);
    assert!(fields.is_empty());
}

#[test]
fn what_is_written_can_be_chosen_by_role_and_value() {
    let fields = read("a: 1\r\nConnection: x\r\nb: 2\r\nc: 3\r\nHost: h\r\n");
    let mut out = Vec::new();
    fields.write_to(&mut out, |role, value| {
        assert_ne!(role, Role::EndToEnd, "those are not asked about");
        role != Role::Connection && value == Value::new(b"h").expect("a value")
    });
    assert_eq!(out, b"a: 1\r\nb: 2\r\nc: 3\r\nHost: h\r\n");
}

#[test]
fn a_value_cannot_end_its_line() {
    for bytes in [&b"a\r"[..], b"\n", b"a\0b"] {
        assert_eq!(Value::new(bytes), None);
    }
    let value = Value::new(b"\xff\t").expect("a value");
    assert_eq!((value.to_str(), value.len()), (None, 2));
    assert_eq!(
        value.to_header_value().expect("a value").as_bytes(),
        b"\xff\t"
    );
}

#[test]
fn a_copy_is_its_own() {
    let mut one = fields(&[("a", "1")]);
    let other = one.clone();
    one.remove("a");
    assert_eq!(format!("{other:?}"), "[\"a: 1\"]");
}

/// What may be done to fields.
#[derive(Debug, Clone)]
enum Step {
    Append(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Copy(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let step = prop_oneof![
        (name.clone(), any::<u8>()).prop_map(|(name, value)| Step::Append(name, value)),
        (name.clone(), any::<u8>()).prop_map(|(name, value)| Step::Insert(name, value)),
        name.clone().prop_map(Step::Remove),
        (name.clone(), name).prop_map(|(from, to)| Step::Copy(from, to)),
    ];
    prop::collection::vec(step, 0..20)
}

/// Some with the same length and ends.
const NAMES: [&str; 6] = ["a", "abc", "aXc", "host", "content-length", "x-y"];

proptest! {
    /// Whatever is done, they are what a plain list would be.
    #[test]
    fn fields_are_a_list(steps in steps()) {
        let mut fields = Fields::new();
        let mut list: Vec<(&str, String)> = Vec::new();
        let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other);
        for step in steps {
            match step {
                Step::Append(at, value) => {
                    let value = HeaderValue::from(u16::from(value));
                    fields.append(&field(NAMES[at]), &value);
                    list.push((NAMES[at], value.to_str().expect("digits").to_owned()));
                }
                Step::Insert(at, value) => {
                    let value = HeaderValue::from(u16::from(value));
                    fields.insert(&field(NAMES[at]), &value);
                    let value = value.to_str().expect("digits").to_owned();
                    let place = list.iter().position(|(name, _)| is(name, NAMES[at]));
                    list.retain({
                        let mut seen = false;
                        move |(name, _)| !is(name, NAMES[at]) || !std::mem::replace(&mut seen, true)
                    });
                    match place {
                        Some(place) => list[place].1 = value,
                        None => list.push((NAMES[at], value)),
                    }
                }
                Step::Remove(at) => {
                    fields.remove(NAMES[at]);
                    list.retain(|(name, _)| !is(name, NAMES[at]));
                }
                Step::Copy(from, to) => {
                    fields.copy_if_missing(&field(NAMES[from]), &field(NAMES[to]));
                    let value = list.iter().find(|(name, _)| is(name, NAMES[from]));
                    if let Some((_, value)) = value.cloned()
                        && !list.iter().any(|(name, _)| is(name, NAMES[to]))
                    {
                        list.push((NAMES[to], value));
                    }
                }
            }
            let lines = list.iter();
            let expected: Vec<_> = lines.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let expected = expected.concat().replace("aXc", "axc");
            prop_assert_eq!(written(&fields), expected);
            for name in NAMES {
                let expected = list.iter().filter(|(other, _)| is(name, other));
                let values = fields.get_all(name).filter_map(Value::to_str);
                prop_assert!(values.eq(expected.map(|(_, value)| value.as_str())));
            }
        }
    }
}
