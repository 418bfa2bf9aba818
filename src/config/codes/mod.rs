//! Every finding that the checker can make, with its stable code and its explanation.
//!
//! Codes are a promise: scripts and alerts name them, so a code never changes its meaning and is
//! never given away again. `E01xx` is about one value or file, `E02xx` about values that do not fit
//! together, `W03xx` about what works but probably not as it is meant.

use std::fmt;

mod connections;
mod relations;
mod values;
mod warnings;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken, and a person should look; `check --strict` refuses it.
    Warning,
}

/// The kind of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is documented by its explanation")]
pub enum Code {
    Syntax,
    UnknownSetting,
    MissingSetting,
    WrongValue,
    Unit,
    Address,
    Variable,
    Unreadable,
    DefinedTwice,
    Override,
    VariableSyntax,
    NotInInclude,
    Name,
    Host,
    Path,
    Regex,
    Field,
    Status,
    Method,
    TestRequest,
    Version,
    NoAddress,
    File,
    Certificate,
    ClientAuthority,
    TokenFile,
    UnknownName,
    DoubleBind,
    NoAction,
    ManyActions,
    NoEndpoints,
    DoubleEndpoint,
    HealthProbe,
    HealthInterval,
    NoTarget,
    HttpOnly,
    TimeoutWithoutEffect,
    SameMatch,
    ZeroSplit,
    ReservedField,
    WithoutEffect,
    Protocols,
    TwoTargets,
    RedirectNowhere,
    FailedTest,
    NoCertificate,
    DoubleCertificate,
    TlsOfNothing,
    DoubleClientRule,
    NobodyAsked,
    ServerNameListener,
    ServerNameSetting,
    SameServerName,
    NoServerName,
    HstsPreload,
    RedirectsAll,
    TlsConflict,
    NoNameToAsk,
    AlpnWithoutHttp,
    ProtocolAndTls,
    WithoutHttp2,
    Windows,
    GrpcProbe,
    DrainOfClosed,
    NotOverUdp,
    NobodyBelieved,
    DatagramsInText,
    SocketOption,
    KeepaliveTime,
    LimitWithoutEffect,
    WithoutFile,
    NothingAllowed,
    AllowedNowhere,
    NoDestination,
    OnlyRelayed,
    NotOfDestinations,
    NotIntercepted,
    HstsOnTcp,
    PassUnasked,
    EjectionTimes,
    OnlyOverUdp,
    HashKey,
    StickySecret,
    CookieForm,
    InsecureSameSite,
    AlpnOfRequests,
    HedgedMethod,
    RetriedStatus,
    RetryWithoutEffect,
    ZoneLoss,
    RetriesCannotFinish,
    Unreachable,
    UnusedUpstream,
    IdleListener,
    NoEffect,
    EmptyInclude,
    NeverEnough,
    OnlyBackups,
    NoListener,
    TrustsEveryone,
    OwnListener,
    Expiry,
    OldRevocations,
    NoRevocations,
    EveryName,
    HostsPassedThrough,
    UncoveredHost,
    UnusedCertificateName,
    StaleOcsp,
    LogsTlsKeys,
    RulePassedThrough,
    UnshownOcsp,
    Unverified,
    AgeBelowIdle,
    OtherTransport,
    OneClientEach,
    WaitsForHeader,
    ReplayedData,
    HiddenLimit,
    TrustsLocal,
    AllAllowed,
    KeepsNothing,
}

/// What there is to say about a code.
#[derive(Debug, Clone, Copy)]
pub struct Explanation {
    /// The code that is explained.
    pub code: Code,
    /// The stable code: `E0102`.
    pub id: &'static str,
    /// A few words.
    pub summary: &'static str,
    /// Why it matters and what to do, in Markdown.
    pub text: &'static str,
}

impl Severity {
    /// `error` or `warning`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl Code {
    /// The stable code: `E0102`.
    pub fn id(self) -> &'static str {
        self.explanation().id
    }

    /// Whether the configuration is refused for it.
    pub fn severity(self) -> Severity {
        if self.id().starts_with('W') {
            Severity::Warning
        } else {
            Severity::Error
        }
    }

    /// What there is to say about it.
    pub fn explanation(self) -> &'static Explanation {
        &CODES[self as usize] // the assertion below holds both in one order
    }

    /// The code of that name, in either case.
    pub fn from_id(id: &str) -> Option<Self> {
        CODES
            .iter()
            .find(|entry| entry.id.eq_ignore_ascii_case(id))
            .map(|entry| entry.code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// The explanations of all parts in one table.
const fn joined() -> [Explanation; COUNT] {
    let mut all = [values::VALUES[0]; COUNT];
    let (mut part, mut filled) = (0, 0);
    while part < PARTS.len() {
        let mut at = 0;
        while at < PARTS[part].len() {
            all[filled] = PARTS[part][at];
            (filled, at) = (filled + 1, at + 1);
        }
        part += 1;
    }
    all
}

/// Every code, in the order of their numbers.
pub const CODES: [Explanation; COUNT] = joined();

const PARTS: [&[Explanation]; 4] = [
    values::VALUES,
    relations::RELATIONS,
    connections::CONNECTIONS,
    warnings::WARNINGS,
];

/// As many as the enum has; its last one says so.
const COUNT: usize = Code::KeepsNothing as usize + 1;

/// The explanations stand in the order of the enum; a build in which they do not fails here.
const _: () = {
    let mut at = 0;
    while at < CODES.len() {
        assert!(CODES[at].code as usize == at, "CODES is out of order");
        at += 1;
    }
};
