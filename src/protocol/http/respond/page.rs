//! The bodies of our own answers.

use std::fmt::Write;

use serde::Serialize;

use super::Cause;

/// RFC 9457 §3.1.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
}

/// A problem document.
pub(super) fn problem(cause: Cause, id: Option<&str>) -> String {
    let problem = Problem {
        r#type: format!("{TYPE}{}", cause.word()),
        title: cause.title(),
        status: cause.status().as_u16(),
        instance: id,
    };
    serde_json::to_string(&problem).expect("strings and numbers can be written as JSON")
}

/// A line of text, and one with the id.
pub(super) fn text(cause: Cause, id: Option<&str>) -> String {
    let mut text = format!(
        "{} {} ({})\n",
        cause.status().as_u16(),
        cause.title(),
        cause.word()
    );
    if let Some(id) = id {
        text.push_str("request id: ");
        text.push_str(id);
        text.push('\n');
    }
    text
}

/// One screen that needs nothing else from the net. The id is large: it is what a person reads out
/// on the telephone.
pub(super) fn html(cause: Cause, id: Option<&str>) -> String {
    let (status, title, word) = (cause.status().as_u16(), cause.title(), cause.word());
    let id = match id {
        Some(id) => format!(
            "<p>If you ask for help, give this number:</p>\n<p class=\"id\">{}</p>\n",
            escape(id)
        ),
        None => String::new(),
    };
    let mut page = String::with_capacity(1024);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{status} {title}</title>\n<style>\n{STYLE}</style>\n\
         <main>\n<h1>{title}</h1>\n{id}<p class=\"word\">{status} {word}</p>\n</main>\n</html>\n"
    );
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// What a problem's type begins with. A name, not an address (RFC 9457 §3.1.1 allows either): no
/// site has to be kept alive for it.
const TYPE: &str = "urn:evenkeel:error:";

const STYLE: &str = "\
:root { color-scheme: light dark; font: 1.1rem/1.5 system-ui, sans-serif; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; }
main { padding: 1rem; text-align: center; }
.id { font: 700 1.6rem/1.3 ui-monospace, monospace; overflow-wrap: anywhere; }
.word { opacity: .6; }
";
