//! Fields of a head: the text as it came, and where each line is in it.
//!
//! Problem: a map of names and values costs most of what a proxy does to a request: each field is
//! hashed, checked, counted and copied on the way in and again on the way out, and hardly any of
//! them is ever asked for. Here the text is copied once, the lines are remembered by their
//! places, and what was not touched is written as it stands, in as few pieces as there are.
//! Looking a name up compares four bytes a line, which for the number of fields that messages
//! have is quicker than a hash.
//!
//! The order is that of the wire and names keep their spelling, since some endpoints look at it;
//! they compare in any case (RFC 9110 §5.1). Each line is stored as `name: value CRLF`, so that
//! what is written is one form whatever came.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::line::{END, Key, Line, SEPARATOR, Wanted, short, small};
use super::names::{Role, role};
use super::prepared::{PreparedLine, PreparedName};
use super::recycle::{Memory, Store};
use super::value::Value;

/// Fields, in their order.
#[derive(Clone)]
pub struct Fields {
    pub(super) store: Store,
}

/// Where a line of a block is: its name, and its value without the white space around it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Where the name begins.
    pub(crate) name: usize,
    /// Bytes of the name.
    pub(crate) name_length: usize,
    /// Where the value begins.
    pub(crate) value: usize,
    /// Bytes of the value.
    pub(crate) value_length: usize,
    /// Whether it is known to be as we write one: name, colon, space, value, CRLF.
    pub(crate) is_plain: bool,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self {
            store: Store::take(),
        }
    }

    /// Takes the text of the block whose lines are [kept](Self::keep), unless it is there already.
    /// Before any other line is added, so that places in the block are places in the text.
    #[inline]
    pub(crate) fn take_text(&mut self, block: &[u8]) {
        if self.store.text.is_empty() {
            self.store.text.extend_from_slice(block);
        }
    }

    /// Keeps a plain line of a block whose text is there or still to be taken. For the parser,
    /// which knows that it is plain: name, colon, space, value, CRLF.
    #[expect(
        clippy::inline_always,
        reason = "the compiler does not, at 400 instructions a request"
    )]
    #[inline(always)]
    pub(crate) fn keep(&mut self, block: &[u8], place: Place, role: Role) {
        debug_assert!(place.is_plain, "others are rewritten");
        let name = &block[place.name..place.name + place.name_length];
        let end = place.value + place.value_length + END.len();
        self.push(Line {
            key: Key::of(name),
            start: small(place.name),
            end: small(end),
            name: short(place.name_length),
            role,
        });
    }

    /// Keeps a line that is not plain: a name that is a token, a colon, a value that may be one.
    #[cold]
    pub(crate) fn keep_rewritten(&mut self, block: &[u8], place: Place, role: Role) {
        let name = &block[place.name..place.name + place.name_length];
        let value = &block[place.value..place.value + place.value_length];
        self.take_text(block);
        let line = self.write(name, Value::of_line(value), role);
        self.push(line);
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.store.lines.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.store.lines.is_empty()
    }

    /// The value of the first line of this name.
    pub fn get(&self, name: impl AsRef<str>) -> Option<Value<'_>> {
        let wanted = Wanted::new(name.as_ref().as_bytes());
        let text = &self.store.text;
        let line = self
            .lines(wanted.key)
            .iter()
            .find(|line| wanted.is(line, text))?;
        Some(line.value(text))
    }

    /// The value of the first line of each of these names, in one pass.
    pub fn first_of<const N: usize>(&self, names: [&HeaderName; N]) -> [Option<Value<'_>>; N] {
        let wanted = names.map(|name| Wanted::new(name.as_str().as_bytes()));
        let text = &self.store.text;
        let mut found = [None; N];
        let bits = wanted
            .iter()
            .fold(0, |bits, wanted| bits | wanted.key.bit());
        for line in &self.store.lines {
            if bits & line.key.bit() == 0 {
                continue;
            }
            for (wanted, found) in wanted.iter().zip(&mut found) {
                if found.is_none() && wanted.is(line, text) {
                    *found = Some(line.value(text));
                }
            }
        }
        found
    }

    /// The values of all lines of this name, in their order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = Value<'a>> + 'a {
        let wanted = Wanted::new(name.as_bytes());
        let text = &self.store.text;
        self.lines(wanted.key)
            .iter()
            .filter(move |line| wanted.is(line, text))
            .map(move |line| line.value(text))
    }

    /// Whether there is a line of this name.
    pub fn contains_key(&self, name: impl AsRef<str>) -> bool {
        self.get(name).is_some()
    }

    /// All lines: names as they are spelt, and values.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], Value<'_>)> {
        let text = &self.store.text;
        self.store
            .lines
            .iter()
            .map(move |line| (line.name(text), line.value(text)))
    }

    /// Adds a line behind the others.
    pub fn append<'v>(&mut self, name: &HeaderName, value: impl Into<Value<'v>>) {
        let name = name.as_str().as_bytes();
        let line = self.write(name, value.into(), role(name));
        self.push(line);
    }

    /// Adds a prepared line behind the others.
    pub fn append_prepared(&mut self, prepared: &PreparedLine) {
        let text = &mut self.store.text;
        let start = small(text.len());
        text.extend_from_slice(&prepared.text);
        self.push(Line {
            start,
            end: start + prepared.line.end,
            ..prepared.line
        });
    }

    /// Makes this the only line of its name; it takes the place of the first, if there was one.
    pub fn insert<'v>(&mut self, name: &HeaderName, value: impl Into<Value<'v>>) {
        let name = name.as_str().as_bytes();
        let new = self.write(name, value.into(), role(name));
        let wanted = Wanted::new(name);
        let text = &self.store.text;
        let mut lines = self.lines(new.key).iter();
        let Some(first) = lines.position(|line| wanted.is(line, text)) else {
            self.push(new);
            return;
        };
        let Memory { text, lines, .. } = &mut *self.store;
        lines[first] = new;
        let mut place = 0;
        lines.retain(|line| {
            place += 1;
            place <= first + 1 || !wanted.is(line, text)
        });
    }

    /// [`Fields::insert`] with a prepared name.
    pub fn insert_prepared<'v>(&mut self, name: &PreparedName, value: impl Into<Value<'v>>) {
        let value = value.into();
        if self.store.seen & name.key.bit() != 0 {
            return self.insert(&name.name, value);
        }
        let value = value.as_bytes();
        let text = &mut self.store.text;
        let start = text.len();
        text.extend_from_slice(&name.prefix);
        text.extend_from_slice(value);
        text.extend_from_slice(END);
        let end = text.len();
        self.push(Line {
            key: name.key,
            start: small(start),
            end: small(end),
            name: name.length,
            role: name.role,
        });
    }

    /// Gives a field the value that another one has, unless there is none or it has one already.
    pub fn copy_if_missing(&mut self, from: &HeaderName, to: &HeaderName) {
        let to = to.as_str();
        let wanted = Wanted::new(from.as_str().as_bytes());
        let present = Wanted::new(to.as_bytes());
        let text = &self.store.text;
        let find = |wanted: &Wanted<'_>| {
            let mut lines = self.lines(wanted.key).iter();
            lines.find(|line| wanted.is(line, text)).copied()
        };
        let (Some(source), None) = (find(&wanted), find(&present)) else {
            return;
        };
        let text = &mut self.store.text;
        let start = text.len();
        text.extend_from_slice(to.as_bytes());
        text.extend_from_slice(SEPARATOR);
        text.extend_from_within(source.value_range());
        text.extend_from_slice(END);
        self.push(Line {
            key: present.key,
            start: small(start),
            end: small(self.store.text.len()),
            name: short(to.len()),
            role: role(to.as_bytes()),
        });
    }

    /// Takes out all lines of this name.
    pub fn remove(&mut self, name: impl AsRef<str>) {
        let wanted = Wanted::new(name.as_ref().as_bytes());
        let Memory { text, lines, seen } = &mut *self.store;
        if *seen & wanted.key.bit() != 0 {
            lines.retain(|line| !wanted.is(line, text));
        }
    }

    /// Takes out the lines for which this says so.
    pub(crate) fn remove_lines(&mut self, mut is_such: impl FnMut(Role, &[u8]) -> bool) {
        let Memory { text, lines, .. } = &mut *self.store;
        lines.retain(|line| !is_such(line.role, line.name(text)));
    }

    /// Takes out the lines whose names are such and begin with one of these letters,
    /// which are small.
    pub fn remove_if(&mut self, initials: &[u8], mut is_such: impl FnMut(&[u8]) -> bool) {
        let Memory { text, lines, .. } = &mut *self.store;
        let begins = |line: &Line| initials.contains(&line.key.first());
        if lines.iter().any(begins) {
            lines.retain(|line| !(begins(line) && is_such(line.name(text))));
        }
    }

    /// Takes out such lines among those whose names begin, end and are as long as this one.
    pub fn remove_if_alike(&mut self, name: &str, mut is_such: impl FnMut(&[u8]) -> bool) {
        let key = Wanted::new(name.as_bytes()).key;
        if self.store.seen & key.bit() != 0 {
            let Memory { text, lines, .. } = &mut *self.store;
            lines.retain(|line| !(line.key == key && is_such(line.name(text))));
        }
    }

    /// Writes the lines in their order: those that are end to end, and of the others those that are
    /// to be kept.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>, mut keep: impl FnMut(Role, Value<'_>) -> bool) {
        let text = &self.store.text[..];
        // Lines that stand next to each other leave in one piece.
        let (mut start, mut end) = (0, 0);
        for line in &self.store.lines {
            if line.role != Role::EndToEnd && !keep(line.role, line.value(text)) {
                continue;
            }
            if line.start != end {
                out.extend_from_slice(&text[start as usize..end as usize]);
                start = line.start;
            }
            end = line.end;
        }
        out.extend_from_slice(&text[start as usize..end as usize]);
    }

    #[inline]
    pub(super) fn push(&mut self, line: Line) {
        self.store.seen |= line.key.bit();
        self.store.lines.push(line);
    }

    /// The lines among which those with this key are.
    #[inline]
    fn lines(&self, key: Key) -> &[Line] {
        if self.store.seen & key.bit() != 0 {
            &self.store.lines
        } else {
            &[]
        }
    }

    /// The text and the line of a field that is alone.
    pub(super) fn written(&mut self, name: &[u8], value: Value<'_>) -> (&[u8], Line) {
        let line = self.write(name, value, role(name));
        (&self.store.text, line)
    }

    /// Writes a line at the end of the text.
    pub(super) fn write(&mut self, name: &[u8], value: Value<'_>, role: Role) -> Line {
        let value = value.as_bytes();
        let text = &mut self.store.text;
        let start = text.len();
        text.reserve(name.len() + SEPARATOR.len() + value.len() + END.len());
        text.extend_from_slice(name);
        text.extend_from_slice(SEPARATOR);
        text.extend_from_slice(value);
        text.extend_from_slice(END);
        Line {
            key: Key::of(name),
            start: small(start),
            end: small(text.len()),
            name: short(name.len()),
            role,
        }
    }
}

impl Default for Fields {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.iter().map(|(name, value)| {
            let (name, value) = (name.escape_ascii(), value.as_bytes().escape_ascii());
            format!("{name}: {value}")
        });
        f.debug_list().entries(lines).finish()
    }
}

impl From<&HeaderMap> for Fields {
    fn from(map: &HeaderMap) -> Self {
        let mut fields = Self::new();
        for (name, value) in map {
            fields.append(name, value);
        }
        fields
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in lines {
            fields.append(&name, &value);
        }
        fields
    }
}
