//! Upgrade: another program in this one's place, without a client noticing, or no change at all.
//!
//! Problem: a new version has to be started, and two processes cannot both have been there first.
//! The listening sockets hold connections that nobody has accepted yet, so they must never be
//! closed; and a program that does not start, or not in time, must not have cost anything.
//!
//! So the instance starts its successor as a child and hands it everything it listens on (`offer`),
//! by a line that the child alone has (`channel`, `frame`). The successor does all that can fail,
//! as at any start, and says that it is ready. Then it gets the live state and the word to serve;
//! and only when it says that it accepts does the old one leave: it accepts no more, and goes on
//! with what runs (`drive`). Until then each of the steps can fail, and the old one has done
//! nothing that would have to be undone. Between the word and the answer both accept, and the old
//! one waits without a limit (`commit`). [`Succession`] is the successor's side of it.
//!
//! Where the old one is the first process of a container, its end would end the container. So it
//! stays behind as a *caretaker* ([`Caretaker`]).

mod caretaker;
mod channel;
mod commit;
mod drive;
mod frame;
mod offer;
mod program;
mod remainder;
mod report;
mod spawn;
mod succession;

pub use caretaker::{Caretaker, LastWord};
pub use channel::ChannelError;
pub use drive::{Handover, Parts, Upgrader};
pub use frame::{FrameError, Hello, Offer, Purpose, Ready};
pub use program::Program;
pub use remainder::{Legacy, Remainder};
pub use report::{Report, Requests, Verdict};
pub use spawn::Successor;
pub use succession::{Inheritance, Inherits, Succession, SuccessionError};
