//! The engine beside nginx and HAProxy: how many requests did you see?
//!
//! Problem: a request is smuggled when two neighbours count differently. A proxy of another make
//! is such a neighbour, with a parser that nobody here wrote. So the same bytes go to all three,
//! each in front of an endpoint that counts; and where one forwards what another does not, there
//! must be a rule that says why.

mod process;
mod rules;

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;
use tokio::time::timeout;

use self::process::{Folder, HAPROXY, NGINX, Peer};
use self::rules::{Compared, RULES};
use crate::align::{What, align, check};
use crate::client::Client;
use crate::endpoint::{Endpoint, Script};
use crate::engine::Engine;
use crate::refusals::REFUSALS;
use crate::rest::Motion;
use crate::rule::Rule;
use crate::run::{self, Outcome};

/// The three proxies, each in front of its own endpoint.
#[derive(Debug)]
pub struct Peers {
    runtime: Runtime,
    endpoint: Endpoint,
    engine: Engine,
    // Before the folder that they listen in.
    nginx: Peer,
    haproxy: Peer,
    _folder: Folder,
}

impl Peers {
    /// Starts the others; `None` where one of them is not installed, which is told.
    ///
    /// # Panics
    ///
    /// If one does not start, or if all must be there.
    pub fn start() -> Option<Self> {
        let programs = ["nginx", "haproxy", "setpriv"];
        let missing: Vec<&str> = programs
            .into_iter()
            .filter(|name| !is_installed(name))
            .collect();
        if !missing.is_empty() {
            let is_required = std::env::var_os(REQUIRED).is_some_and(|value| value == "required");
            assert!(!is_required, "{} cannot be found", missing.join(" and "));
            return None;
        }
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let started = runtime.block_on(async {
            let folder = Folder::new()?;
            let nginx = Peer::start(NGINX, &folder).await?;
            let haproxy = Peer::start(HAPROXY, &folder).await?;
            io::Result::Ok((folder, nginx, haproxy, Endpoint::bind("peers")?))
        });
        let (folder, nginx, haproxy, endpoint) = started.expect("both run");
        Some(Self {
            engine: Engine::new(endpoint.path()),
            runtime,
            endpoint,
            nginx,
            haproxy,
            _folder: folder,
        })
    }

    /// Runs one input. False if it is none: its first byte says how the rest is split.
    ///
    /// # Panics
    ///
    /// If the engine forwards otherwise than another, and no rule accepts that.
    pub fn run(&self, input: &[u8]) -> bool {
        let [how, bytes @ ..] = input else {
            return false;
        };
        let local = LocalSet::new();
        local.block_on(&self.runtime, async {
            let ours = run::requests(&self.engine, &self.endpoint, (*how, bytes)).await;
            check(bytes, &ours);
            let mut found = Ok(());
            for pause in PAUSES {
                let asked = Asked {
                    how: *how,
                    bytes,
                    answers: ours.answers,
                    pause,
                };
                found = self.ask(asked, &ours).await;
                if found.is_ok() {
                    return;
                }
            }
            if let Err(difference) = found {
                panic!("no rule accepts {difference}");
            }
        });
        true
    }

    /// Asks both others; a difference that no rule accepts comes back.
    async fn ask(&self, asked: Asked<'_>, ours: &Outcome) -> Result<(), String> {
        let nginx = ask(&self.nginx, asked);
        let haproxy = ask(&self.haproxy, asked);
        let (nginx, haproxy) = tokio::join!(nginx, haproxy);
        compare(asked.bytes, ours, self.nginx.name, nginx.as_ref())?;
        compare(asked.bytes, ours, self.haproxy.name, haproxy.as_ref())
    }
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    how: u8,
    bytes: &'a [u8],
    /// How many answers it should get, as we have it.
    answers: usize,
    /// How long it waits for them before it ends its side.
    pause: Duration,
}

/// What a peer does with a client's bytes; `None` if it is not done in time.
async fn ask(peer: &Peer, asked: Asked<'_>) -> Option<Outcome> {
    let motion = Motion::default();
    let session = peer.endpoint.session(Script::Usual, &motion);
    let stream = peer.connect().await.expect("it listens");
    let mut client = Client::new(stream, &motion);
    client.send(asked.how, asked.bytes).await;
    // HAProxy forgets what it has not begun with once the client has ended its side.
    drop(timeout(asked.pause, client.answered(asked.answers)).await);
    client.finish().await;
    let is_closed = timeout(PATIENCE, client.closed()).await.is_ok();
    let received = client.received();
    client.end().await;
    let seen = session.end().await;
    is_closed.then_some(Outcome {
        seen,
        received,
        // Whether it would have gone on cannot be told: the client has ended its side.
        is_closed: true,
        has_ended: true,
        answers: 0,
        second: Vec::new(),
    })
}

/// Compares us with one other; the first difference that no rule accepts comes back.
fn compare(
    bytes: &[u8],
    ours: &Outcome,
    name: &'static str,
    theirs: Option<&Outcome>,
) -> Result<(), String> {
    let Some(theirs) = theirs else {
        return Ok(());
    };
    let mut found = Ok(());
    align(bytes, ours, theirs, &mut |case| {
        let compared = Compared { name, case };
        let is_same = match case.what {
            What::Both { ours, theirs } => {
                ours.method() == theirs.method() && rules::path(ours) == rules::path(theirs)
            }
            // See `ask`; and what is not forwarded is not counted.
            What::Closed { .. } => true,
            What::GoesOn { .. }
            | What::WeRefused { .. }
            | What::WeSaidNothing { .. }
            | What::WeForwarded { .. } => false,
        };
        if is_same || found.is_err() {
            return;
        }
        let refusal = REFUSALS.iter().find(|rule| (rule.holds)(case));
        found = match refusal {
            Some(_) => Rule::judge(refusal, case),
            None => {
                let rule = RULES.iter().find(|rule| (rule.holds)(&compared));
                Rule::judge(rule, &compared)
            }
        };
    });
    found
}

/// Whether a program is where programs are.
fn is_installed(name: &str) -> bool {
    process::path()
        .split(':')
        .any(|folder| Path::new(folder).join(name).exists())
}

/// Set to `required` where nothing may be skipped, as in CI.
const REQUIRED: &str = "EVENKEEL_PEERS";

/// Longer than an answer takes, where it does come: a client that gets fewer has said all. On a
/// busy machine it may take longer, so whoever differs is asked again, with more patience.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// Far longer than an answer takes. What takes longer is not compared: it is no request whose end
/// has come.
const PATIENCE: Duration = Duration::from_secs(3);
