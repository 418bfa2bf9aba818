//! The side of the instance that takes over.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::channel::{Channel, ChannelError};
use super::drive::UPGRADES;
use super::frame::{Frame, Hello, Offer, PROTOCOL, Ready};
use super::remainder::Legacy;
use super::spawn::{CARETAKER_FD, CONFINED, UPGRADE_FD};
use crate::control::inherited::{Activation, Inherited};
use crate::control::privileges::confined::Confined;
use crate::net::{AdoptError, descriptor};
use crate::telemetry::metrics::Registry;
use crate::telemetry::process::BUILD;

/// What a process is started with beside its command line. Clones share it, and one takes it.
#[derive(Debug, Clone, Default)]
pub struct Inheritance {
    parts: Arc<Mutex<Inherits>>,
    confined: Confined,
}

/// What there is to inherit.
#[derive(Debug, Default)]
pub struct Inherits {
    /// The line to the instance that this one takes over from.
    pub predecessor: Option<OwnedFd>,
    /// The line to the caretaker of this container.
    pub caretaker: Option<OwnedFd>,
    /// What systemd opened.
    pub activation: Activation,
}

/// An instance that hands over to this one.
#[derive(Debug)]
pub struct Succession {
    channel: Channel,
    /// Who it is.
    pub hello: Hello,
    offered: Vec<(Offer, Vec<OwnedFd>)>,
    state: Vec<u8>,
}

/// Why this instance cannot take over.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// The environment names no line.
    #[error("{0} names no descriptor of ours ({1}): only evenkeel itself sets it")]
    NoLine(&'static str, io::Error),
    /// The sockets of the environment are none.
    #[error("LISTEN_FDS names descriptors that are not there: {0}")]
    NoSockets(io::Error),
    /// The instance before is gone, or cannot be understood.
    #[error("the instance that hands over: {0}")]
    Line(#[from] ChannelError),
    /// It speaks otherwise.
    #[error(
        "the instance that hands over ({version}) speaks form {theirs} of an upgrade, this program \
         form {PROTOCOL}: restart it instead"
    )]
    Protocol {
        /// The version of its program.
        version: String,
        /// What it speaks.
        theirs: u32,
    },
    /// It hands over something else than it says.
    #[error("what it hands over for {place}: {source}")]
    Socket {
        /// Where that should be.
        place: String,
        /// What is wrong with it.
        source: AdoptError,
    },
    /// It says nothing.
    #[error("the instance that hands over says nothing")]
    Silent,
}

impl Inheritance {
    /// What this process inherits. Once only, before anything else opens descriptors.
    pub fn of_this_process() -> Result<Self, SuccessionError> {
        Self::take(|name| env::var_os(name))
    }

    fn take(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, SuccessionError> {
        let line = |name: &'static str| {
            let Some(value) = variable(name) else {
                return Ok(None);
            };
            let number = value.to_str().and_then(|value| value.parse().ok());
            let number = number.ok_or_else(|| io::ErrorKind::InvalidInput.into());
            let found = number.and_then(descriptor);
            found
                .map(Some)
                .map_err(|error| SuccessionError::NoLine(name, error))
        };
        let parts = Inherits {
            predecessor: line(UPGRADE_FD)?,
            caretaker: line(CARETAKER_FD)?,
            activation: Activation::take(&variable, std::process::id())
                .map_err(SuccessionError::NoSockets)?,
        };
        // Nobody else says so.
        let told = variable(CONFINED).filter(|_| parts.predecessor.is_some());
        let confined = Confined::told(told);
        let parts = Arc::new(Mutex::new(parts));
        Ok(Self { parts, confined })
    }

    /// Whether there is an instance that this one takes over from.
    pub fn is_succession(&self) -> bool {
        self.lock().predecessor.is_some()
    }

    /// What this process is confined to from its start.
    pub fn confined(&self) -> &Confined {
        &self.confined
    }

    /// Gives it to whom it is for.
    pub fn take_all(&self) -> Inherits {
        std::mem::take(&mut *self.lock())
    }

    /// A panic elsewhere cannot leave it half-changed.
    fn lock(&self) -> MutexGuard<'_, Inherits> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Succession {
    /// Hears what is handed over. Within a runtime only.
    pub async fn begin(line: OwnedFd) -> Result<Self, SuccessionError> {
        let channel = Channel::inherited(line);
        let channel = channel.map_err(|error| SuccessionError::NoLine(UPGRADE_FD, error))?;
        match timeout(PATIENCE, Self::hear(channel)).await {
            Ok(heard) => heard,
            Err(_) => Err(SuccessionError::Silent),
        }
    }

    async fn hear(channel: Channel) -> Result<Self, SuccessionError> {
        let (Frame::Hello(hello), _) = channel.hear().await? else {
            return Err(ChannelError::OutOfTurn.into());
        };
        if hello.protocol != PROTOCOL {
            let refused = SuccessionError::Protocol {
                version: hello.version,
                theirs: hello.protocol,
            };
            drop(channel.say(&Frame::Failed(refused.to_string())).await);
            return Err(refused);
        }
        let mut offered: Vec<(Offer, Vec<OwnedFd>)> = Vec::new();
        let mut state = Vec::new();
        loop {
            match channel.hear().await? {
                (Frame::Socket(offer), descriptors) => match offered.last_mut() {
                    Some((last, known)) if last.more && last.number == offer.number => {
                        known.extend(descriptors);
                        last.more = offer.more;
                    }
                    _ => offered.push((offer, descriptors)),
                },
                (Frame::State(piece), _) => state.extend(piece),
                (Frame::Offered, _) => break,
                _ => return Err(ChannelError::OutOfTurn.into()),
            }
        }
        Ok(Self {
            channel,
            hello,
            offered,
            state,
        })
    }

    /// Makes what was handed over sockets of this process.
    pub fn adopt(&mut self, inherited: &Inherited, workers: usize) -> Result<(), SuccessionError> {
        for (offer, descriptors) in self.offered.drain(..) {
            let place = offer.description.place();
            let adopted = inherited.succeed(offer, descriptors, workers);
            adopted.map_err(|source| SuccessionError::Socket { place, source })?;
        }
        Ok(())
    }

    /// What it knew of its endpoints when it began to hand over.
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// Says why this instance ends.
    pub async fn failed(&self, why: String) {
        // Where nobody hears it, it is in the log.
        drop(self.channel.say(&Frame::Failed(why)).await);
    }

    /// Says that all that can fail has succeeded, and waits for the word to serve. Returns what
    /// the instance before has counted until then.
    pub async fn ready(
        &self,
        takes: Vec<u32>,
        notes: Vec<String>,
    ) -> Result<Vec<u8>, SuccessionError> {
        let ready = Ready {
            version: BUILD.version.to_owned(),
            takes,
            notes,
        };
        self.channel.say(&Frame::Ready(ready)).await?;
        let mut counted = Vec::new();
        loop {
            match self.channel.hear().await?.0 {
                Frame::State(piece) => counted.extend(piece),
                Frame::Commit => return Ok(counted),
                _ => return Err(ChannelError::OutOfTurn.into()),
            }
        }
    }

    /// Says that this instance accepts, and waits until the other has left: the service manager
    /// believes this one from then on. Returns what the other one still counts.
    pub async fn serving(self, registry: &Registry) -> Legacy {
        let said = async {
            self.channel.say(&Frame::Serving).await?;
            self.channel.hear().await
        };
        // This instance serves. Whatever has become of the other one, that is what counts.
        let said = timeout(PATIENCE, said).await;
        if let Ok(Err(error)) = &said {
            tracing::warn!(%error, "the instance before did not take its leave");
        }
        let is_end = matches!(said, Ok(Ok((Frame::End, _))));
        registry
            .counter(&UPGRADES, &[("result", "succeeded")])
            .inc();
        Legacy::new(self.channel, is_end)
    }
}

/// What is said at once takes a moment, unless the other one hangs.
const PATIENCE: Duration = Duration::from_secs(5);
