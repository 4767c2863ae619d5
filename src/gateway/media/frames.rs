//! Decoded sound on its way from a connection's task to the thread that carries its call.
//!
//! Each leg has a channel of its own, with one sender, and the call's waker wakes the thread that reads it. It holds
//! [`BOUND`] frames. What finds it full is dropped, for whoever brings the sound (an exchange that must never find its
//! socket full) cannot be held up: the frame keeps its number, so the call hears silence in its place and counts it as
//! lost. The end is never dropped; it waits until there is room.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::audio::Frequency;
use crate::call::DecodedFrame;
use crate::rtp::dtmf::Key;

/// What waits at most; of frames of 20 ms, 1.3 s.
pub const BOUND: usize = 64;

/// What comes of a leg whose sound is decoded.
#[derive(Debug, PartialEq)]
pub enum Arrival {
    /// The next sound.
    Frame(DecodedFrame),
    /// A key was pressed.
    Key(Key),
    /// Nothing more comes: the party hung up, or what broke.
    End(Option<String>),
}

/// The connection's end of a leg's channel.
#[derive(Debug)]
pub struct FrameSender {
    queue: mpsc::Sender<Arrival>,
    /// The number of the next frame.
    next: u64,
}

/// The media thread's end of a leg's channel.
#[derive(Debug)]
pub struct FrameReceiver {
    queue: mpsc::Receiver<Arrival>,
    over: bool,
}

/// A leg's channel.
#[must_use]
pub fn channel() -> (FrameSender, FrameReceiver) {
    let (sender, receiver) = mpsc::channel(BOUND);
    let sender = FrameSender {
        queue: sender,
        next: 0,
    };
    let receiver = FrameReceiver {
        queue: receiver,
        over: false,
    };
    (sender, receiver)
}

impl FrameSender {
    /// Sends sound that begins `at` since the stream did; false when it was dropped for want of room.
    pub fn send(&mut self, at: Duration, rate: Frequency, samples: Vec<i16>) -> bool {
        let number = self.next;
        self.next += 1;
        let frame = DecodedFrame {
            number,
            at,
            rate,
            samples,
        };
        // A call that is over takes nothing, and that is no loss.
        !matches!(
            self.queue.try_send(Arrival::Frame(frame)),
            Err(TrySendError::Full(_))
        )
    }

    /// Tells of a key; false when it was dropped for want of room.
    pub fn press(&self, key: Key) -> bool {
        !matches!(
            self.queue.try_send(Arrival::Key(key)),
            Err(TrySendError::Full(_))
        )
    }

    /// Says that nothing more comes, and what broke if the party did not hang up.
    pub async fn end(self, broke: Option<String>) {
        // A call that is over need not be told.
        let _ = self.queue.send(Arrival::End(broke)).await;
    }
}

impl FrameReceiver {
    /// What has come; `None` once, when the sender has gone without saying so.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Arrival>> {
        if self.over {
            return Poll::Pending;
        }
        let polled = self.queue.poll_recv(context);
        self.over = matches!(polled, Poll::Ready(None | Some(Arrival::End(_))));
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn send(sender: &mut FrameSender, number: u32) -> bool {
        sender.send(FRAME * number, Frequency::HZ_16000, vec![1; 320])
    }

    /// The numbers of the frames that wait, and what came behind them.
    fn taken(receiver: &mut FrameReceiver) -> (Vec<u64>, Vec<Arrival>) {
        let mut context = Context::from_waker(Waker::noop());
        let (mut numbers, mut others) = (Vec::new(), Vec::new());
        while let Poll::Ready(Some(arrival)) = receiver.poll(&mut context) {
            match arrival {
                Arrival::Frame(frame) => numbers.push(frame.number),
                other => others.push(other),
            }
        }
        (numbers, others)
    }

    #[test]
    fn a_full_channel_drops_the_newest_and_its_number_stays_missing() {
        let (mut sender, mut receiver) = channel();
        let bound = BOUND as u64;
        let sent = (0..BOUND as u32 + 3).filter(|number| send(&mut sender, *number));
        assert_eq!(sent.count(), BOUND);
        assert!(!sender.press(Key::from_char('5').expect("a key")));
        assert_eq!(taken(&mut receiver).0, (0..bound).collect::<Vec<_>>());
        assert!(send(&mut sender, BOUND as u32 + 3));
        assert_eq!(taken(&mut receiver).0, [bound + 3]);
    }

    #[test]
    fn what_is_sent_wakes_who_has_found_nothing_once() {
        let (mut sender, mut receiver) = channel();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let count = || woken.0.load(Ordering::Relaxed);
        assert!(receiver.poll(&mut Context::from_waker(&waker)).is_pending());
        send(&mut sender, 0);
        send(&mut sender, 1);
        assert_eq!(count(), 1, "one wake-up brings both");
        assert_eq!(taken(&mut receiver).0, [0, 1]);
        assert!(receiver.poll(&mut Context::from_waker(&waker)).is_pending());
        drop(sender);
        assert_eq!(count(), 2);
    }

    #[tokio::test]
    async fn the_end_waits_for_room_and_nothing_follows_it() {
        let (mut sender, mut receiver) = channel();
        (0..BOUND as u32).for_each(|number| assert!(send(&mut sender, number)));
        let ends = tokio::spawn(sender.end(None));
        tokio::task::yield_now().await;
        assert!(!ends.is_finished(), "there is no room");
        let (numbers, others) = taken(&mut receiver);
        assert_eq!(numbers.len(), BOUND);
        assert!(others.is_empty());
        ends.await.expect("no panic");
        assert_eq!(taken(&mut receiver), (vec![], vec![Arrival::End(None)]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(receiver.poll(&mut context).is_pending(), "once");
    }

    #[test]
    fn a_sender_that_goes_without_a_word_is_noticed_once() {
        let (sender, mut receiver) = channel();
        drop(sender);
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(receiver.poll(&mut context), Poll::Ready(None));
        assert!(receiver.poll(&mut context).is_pending());
    }

    #[test]
    fn what_is_sent_to_a_call_that_is_over_is_no_loss() {
        let (mut sender, receiver) = channel();
        drop(receiver);
        assert!((0..2 * BOUND as u32).all(|number| send(&mut sender, number)));
    }
}
