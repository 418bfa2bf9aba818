//! From the word to serve on: whoever has it may accept, so nobody ends it any more.
//!
//! Problem: once the word is said, the new instance has connections that nobody else knows of,
//! maybe before it has said that it accepts. To end it then, as one that is late, would lose them.
//! So there is no time limit here. This instance goes on to accept as well, which is all that
//! clients need; that it waits for an answer is told, and if the new one dies it is as if it had
//! never been. Where the service is to end meanwhile, both have to, and the new one is no service
//! manager's child: it is told, and its end is waited for as for a connection's.

use tokio::time::{Instant, sleep_until};

use super::channel::{Channel, ChannelError};
use super::drive::{Failure, heard};
use super::frame::Frame;
use super::spawn::{Spawned, wait_for};
use crate::drain::Watcher;

/// Waits until a new instance that has the word to serve says that it does. The end of this one,
/// if it is asked for meanwhile, is that of both.
pub(super) async fn served(
    spawned: &mut Spawned,
    channel: &Channel,
    mut drain: Watcher,
    deadline: Instant,
) -> Result<(), Failure> {
    let said = heard(channel);
    tokio::pin!(said);
    let mut is_told = false;
    loop {
        tokio::select! {
            biased; // who is asked for the end leaves it to nobody any more
            () = drain.started() => {
                end_both(spawned, channel, &drain).await;
                return Err(Failure::Draining);
            }
            frame = &mut said => return match frame? {
                Frame::Serving => Ok(()),
                _ => Err(ChannelError::OutOfTurn.into()),
            },
            () = sleep_until(deadline), if !is_told => {
                is_told = true;
                tracing::warn!(
                    pid = spawned.pid(),
                    "the new instance has the word to serve and does not say that it does; this \
                     one goes on to serve, and waits: it may have accepted connections by now"
                );
            }
        }
    }
}

/// Asks the new instance for its end, and waits for it for as long as the drain allows.
async fn end_both(spawned: &mut Spawned, channel: &Channel, drain: &Watcher) {
    let _until_then = drain.hold();
    // Its drain began a little later than ours: where ours is over first, it goes on by itself.
    let mut child = spawned.spare();
    drop(channel.say(&Frame::End).await);
    if let Some(child) = &mut child {
        wait_for(child).await;
    }
}
