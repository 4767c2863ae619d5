//! Where drafts are drawn up: one thread beside those of the media, for a long call's draft takes milliseconds.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use crate::call::{Drafted, Redraft};
use crate::ticket::Drafter;

/// Takes a draft, on the desk's thread.
type Reply = Box<dyn FnOnce(Drafted) + Send>;

/// The thread; it ends with this.
pub struct DraftingDesk {
    drafter: Arc<Drafter>,
    waiting: SyncSender<(Redraft, Reply)>,
}

impl DraftingDesk {
    /// Starts the thread, for so many calls at once: each has one draft drawn up at a time.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(drafter: Arc<Drafter>, calls: usize) -> io::Result<Self> {
        let own = drafter.clone();
        let (waiting, asked) = sync_channel::<(Redraft, Reply)>(calls.max(1));
        std::thread::Builder::new()
            .name("drafts".to_owned())
            .spawn(move || {
                for (redraft, reply) in asked {
                    reply(redraft.draw(&own));
                }
            })?;
        Ok(Self { drafter, waiting })
    }

    /// Who draws them up.
    pub fn drafter(&self) -> &Drafter {
        &self.drafter
    }

    /// Has a draft drawn up; never waits. The bound is the number of calls, each of which asks for one at a time.
    pub fn ask(&self, redraft: Redraft, reply: Reply) {
        if let Err(refused) = self.waiting.try_send((redraft, reply)) {
            let (redraft, reply) = match refused {
                TrySendError::Full(asked) | TrySendError::Disconnected(asked) => asked,
            };
            reply(redraft.refuse());
        }
    }
}
