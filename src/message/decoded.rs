//! Fields that were decoded one by one, as those of HTTP/2 are: nobody has their text in one piece.
//!
//! Whoever decoded them has checked them: a name is a token of no more than 65,535 bytes.

use super::fields::Fields;
use super::line::{END, Line, small};
use super::names::Role;
use super::value::Value;

impl Fields {
    /// Adds a line behind the others, whose name has this role.
    #[inline]
    pub(crate) fn append_decoded(&mut self, name: &[u8], value: Value<'_>, role: Role) {
        let line = self.write(name, value, role);
        self.push(line);
    }

    /// Adds a line before the others.
    pub(crate) fn begin_with(&mut self, name: &[u8], value: Value<'_>, role: Role) {
        self.append_decoded(name, value, role);
        self.store.lines.rotate_right(1);
    }

    /// Puts these pieces, which no value may not have, behind the value of a line. One that is not
    /// the last is copied for that.
    pub(crate) fn extend_line(&mut self, place: usize, pieces: &[&[u8]]) {
        let Some(line) = self.store.lines.get(place).copied() else {
            return;
        };
        let text = &mut self.store.text;
        let (mut start, end) = (line.start as usize, line.end as usize);
        if end < text.len() {
            let copy = text.len();
            text.extend_from_within(start..end);
            start = copy;
        }
        text.truncate(text.len() - END.len());
        for piece in pieces {
            text.extend_from_slice(piece);
        }
        text.extend_from_slice(END);
        self.store.lines[place] = Line {
            start: small(start),
            end: small(self.store.text.len()),
            ..line
        };
    }

    /// All lines, with what their names mean.
    pub(crate) fn with_roles(&self) -> impl Iterator<Item = (&[u8], Value<'_>, Role)> {
        let text = &self.store.text;
        let lines = self.store.lines.iter();
        lines.map(move |line| (line.name(text), line.value(text), line.role))
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn append(fields: &mut Fields, name: &str, value: &str) {
        let value = Value::new(value.as_bytes()).expect("a value");
        fields.append_decoded(name.as_bytes(), value, Role::EndToEnd);
    }

    fn text(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out, |_, _| true);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn lines_stand_in_their_order_and_are_found() {
        let mut fields = Fields::new();
        append(&mut fields, "a", "1");
        append(&mut fields, "b", "2");
        let host = Value::new(b"h").expect("a value");
        fields.begin_with(b"Host", host, Role::Host);
        append(&mut fields, "c", "3");
        assert_eq!(text(&fields), "Host: h\r\na: 1\r\nb: 2\r\nc: 3\r\n");
        assert_eq!(fields.get(header::HOST), Value::new(b"h"));
        let roles: Vec<Role> = fields.with_roles().map(|(_, _, role)| role).collect();
        assert_eq!(roles[..2], [Role::Host, Role::EndToEnd]);
    }

    #[test]
    fn a_line_is_extended_where_it_stands() {
        let mut fields = Fields::new();
        append(&mut fields, "a", "1");
        fields.extend_line(0, &[b"; ", b"2"]);
        assert_eq!(text(&fields), "a: 1; 2\r\n");
        append(&mut fields, "b", "");
        fields.extend_line(0, &[b"; 3"]);
        assert_eq!(text(&fields), "a: 1; 2; 3\r\nb: \r\n");
        fields.extend_line(1, &[b"x"]);
        assert_eq!(text(&fields), "a: 1; 2; 3\r\nb: x\r\n");
        fields.extend_line(2, &[b"x"]);
        assert_eq!(fields.get("a"), Value::new(b"1; 2; 3"));
    }
}
