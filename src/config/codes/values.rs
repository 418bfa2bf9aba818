//! The explanations of `E01xx`: one value or file by itself.

use super::{Code, Explanation};

/// In the order of their numbers.
pub(super) const VALUES: &[Explanation] = &[
    Explanation {
        code: Code::Syntax,
        id: "E0101",
        summary: "this is not valid TOML, or JSON",
        text: "The file cannot be read as TOML, or as JSON if its name ends in `.json`. Everything \
               that the parser could still make out was checked, but names and relations were not: \
               they would only repeat the same mistake in other words.",
    },
    Explanation {
        code: Code::UnknownSetting,
        id: "E0102",
        summary: "unknown setting",
        text: "A key that no setting has at this place. Nothing is silently ignored: a misspelt limit \
               that is not in force is found in the next overload. The suggestion is the nearest \
               setting that is known here.",
    },
    Explanation {
        code: Code::MissingSetting,
        id: "E0103",
        summary: "a setting is missing",
        text: "A table lacks a setting without which it means nothing, such as the `bind` of a \
               listener.",
    },
    Explanation {
        code: Code::WrongValue,
        id: "E0104",
        summary: "wrong type or value",
        text: "The value has another type than the setting, is not one of the words that the setting \
               knows, or lies outside its range.",
    },
    Explanation {
        code: Code::Unit,
        id: "E0105",
        summary: "not a value with a unit",
        text: "Times (`500ms`, `30s`, `5m`, `2h`, `1d`), sizes (`512B`, `64KiB`, `1MiB`, `2GiB`) and \
               ratios (`20%`) are strings with a unit, since a bare number has meant seconds to one \
               reader and milliseconds to another. Zero and what exceeds the setting's range are \
               refused as well.",
    },
    Explanation {
        code: Code::Address,
        id: "E0106",
        summary: "not an address",
        text: "A listener binds `:8080`, `10.0.0.1:8080` or `[::1]:8080`. An endpoint is `host:port`, \
               `[v6]:port` or `unix:/path`. A network is `10.0.0.0/8`. A Unix socket's path has at \
               most 107 bytes, which is a limit of the kernel.",
    },
    Explanation {
        code: Code::Variable,
        id: "E0107",
        summary: "a variable is not set",
        text: "`${NAME}` names an environment variable that is not set, or `${file:/path}` a file \
               that cannot be read. `${NAME:-default}` has a value in any case.",
    },
    Explanation {
        code: Code::Unreadable,
        id: "E0108",
        summary: "a file cannot be read",
        text: "The configuration itself, a file that `include` names, or the folder of such a glob \
               cannot be read, or is not UTF-8.",
    },
    Explanation {
        code: Code::DefinedTwice,
        id: "E0109",
        summary: "defined twice",
        text: "The same table or setting stands twice, in one file or in two. Neither is preferred: \
               the order of files would decide what is served. Names of header fields count as the \
               same whatever their case. The unnamed upstream of a listener's `to`, and the route to a \
               listener's own upstream, go by `listener.<name>`, which no other upstream or route \
               may be called then.",
    },
    Explanation {
        code: Code::Override,
        id: "E0110",
        summary: "an environment variable overrides nothing",
        text: "A variable that begins with `EVENKEEL__` names no setting. The rest of its name is the \
               path to the setting in capitals, its parts joined by two underscores: \
               `EVENKEEL__UPSTREAM__API__BALANCE`. Only strings, numbers, booleans and lists of them \
               are set in this way, and only inside listeners, routes, upstreams and zones that a file \
               defines.",
    },
    Explanation {
        code: Code::VariableSyntax,
        id: "E0111",
        summary: "malformed variable",
        text: "`${…}` holds a name of letters, digits and underscores, such a name with a default \
               (`${ZONE:-eu-1a}`), or a file (`${file:/run/secrets/token}`). Variables do not nest. \
               `$$` is a plain `$`.",
    },
    Explanation {
        code: Code::NotInInclude,
        id: "E0112",
        summary: "belongs into the main file",
        text: "An included file may hold `listener`, `route`, `upstream` and `test`. Settings of the \
               whole instance, and further includes, stand in the main file, so that one look there \
               shows them.",
    },
    Explanation {
        code: Code::Name,
        id: "E0113",
        summary: "malformed name",
        text: "Names of listeners, routes, upstreams and zones become metric labels, log fields and \
               parts of environment variables: 1 to 64 letters, digits, `-`, `_` and `.`, beginning \
               with a letter or digit.",
    },
    Explanation {
        code: Code::Host,
        id: "E0114",
        summary: "malformed host",
        text: "A host is a DNS name in ASCII (`api.example.com`; international names in their `xn--` \
               form) or an IP address, without scheme, port and path. A route may also name \
               `*.example.com`, which stands for every name below `example.com` but not for itself.",
    },
    Explanation {
        code: Code::Path,
        id: "E0115",
        summary: "malformed path",
        text: "A path begins with `/` and holds what may stand in a request's target; everything else \
               is percent-encoded. A route's path is a prefix (`/v1/`), an exact path (`=/v1/ping`) \
               or a regular expression (`~^/v[0-9]+/`).",
    },
    Explanation {
        code: Code::Regex,
        id: "E0116",
        summary: "a regular expression does not compile",
        text: "The syntax is that of Rust's regex crate: no look-around and no back-references, and \
               so matching takes time linear in the input. The compiled form is limited to 1 MiB.",
    },
    Explanation {
        code: Code::Field,
        id: "E0117",
        summary: "malformed header field",
        text: "A field's name is a token (RFC 9110 §5.6.2): letters, digits and ``!#$%&'*+-.^_`|~``. \
               Its value is visible ASCII with spaces and tabs between, never line breaks.",
    },
    Explanation {
        code: Code::Status,
        id: "E0118",
        summary: "malformed status",
        text: "A status is a number from 100 to 599, a class (`\"2xx\"`) or a range (`\"200-399\"`).",
    },
    Explanation {
        code: Code::Method,
        id: "E0119",
        summary: "malformed method",
        text: "A method is a token, and its case matters (RFC 9110 §9.1): `GET`, not `get`.",
    },
    Explanation {
        code: Code::TestRequest,
        id: "E0120",
        summary: "malformed test",
        text: "A `[[test]]` has a request of the form `GET https://host/path`, and expects at least \
               one of `route`, `upstream`, `status` and `location`.",
    },
    Explanation {
        code: Code::Version,
        id: "E0121",
        summary: "unknown version of the format",
        text: "This program reads version 1 of the format. A file with a later version was written \
               for a later program.",
    },
    Explanation {
        code: Code::NoAddress,
        id: "E0122",
        summary: "a name without an address",
        text: "The name of an endpoint cannot be looked up. It is found at a start and a reload, which \
               need every address; `evenkeel check` asks no name server. The configuration is refused \
               as a whole: an upstream that lacks endpoints is noticed when they are needed.",
    },
    Explanation {
        code: Code::File,
        id: "E0123",
        summary: "not the path of a file",
        text: "A certificate, or a key, is named by the path of its file, relative to the folder of the \
               configuration file that names it. `${file:…}` would put there what stands in the file. \
               Whether there is such a file is found by `evenkeel check`, at a start and at a reload.",
    },
    Explanation {
        code: Code::Certificate,
        id: "E0124",
        summary: "a certificate that cannot be used",
        text: "The file of a certificate or of its key cannot be read, is not PEM, lacks what it should \
               hold, has its certificates in the wrong order, or the key has a password or is that of \
               another certificate. It is found by `evenkeel check`, at a start and at a reload, where what is in \
               force stays.",
    },
    Explanation {
        code: Code::ClientAuthority,
        id: "E0125",
        summary: "authorities of clients that cannot be used",
        text: "The file `ca` or one of `crl` cannot be read, is not PEM, or lacks what it should hold; \
               or a list of revoked certificates is malformed, signed by none of the authorities in \
               `ca`, or the second of one authority, of which only one would count. With lists, no two \
               authorities in `ca` may have the same name and different keys, and none may be \
               revoked. It is found by `evenkeel check`, at a start and at a reload, where what is in \
               force stays.",
    },
    Explanation {
        code: Code::TokenFile,
        id: "E0126",
        summary: "a token that cannot be used",
        text: "`admin.token_file` names a file that cannot be read, or in which there is no token: one \
               line of visible ASCII, of 16 characters at least. `openssl rand -hex 32` makes one.",
    },
];
