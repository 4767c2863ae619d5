//! What an `AudioSocket` connection carries: one octet that says what follows, two with its length (big-endian), and that.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::audio::Frequency;

/// Octets before the payload.
const HEADER: usize = 3;

const HANG_UP: u8 = 0x00;
const ID: u8 = 0x01;
const KEY: u8 = 0x03;
const AUDIO: u8 = 0x10;
const ERROR: u8 = 0xff;

/// What ends a connection properly.
pub(super) const GOODBYE: [u8; HEADER] = [HANG_UP, 0, 0];

/// 20 ms of nothing at 8 kHz.
pub(super) const SILENCE: [u8; HEADER + 320] = {
    let mut frame = [0; HEADER + 320];
    [frame[0], frame[1], frame[2]] = [AUDIO, 1, 64];
    frame
};

/// Samples a second of the kinds from [`AUDIO`] on.
const RATES: [u32; 9] = [
    8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000,
];

/// A frame of more sound than this is none of Asterisk's.
const LONGEST: Duration = Duration::from_millis(500);

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// The connection ends.
    HangUp,
    /// Which call the sound is of.
    Id([u8; 16]),
    /// A key was pressed.
    Key(char),
    /// Linear samples.
    Audio(Frequency, Vec<i16>),
    /// The other side is in trouble.
    Error(u8),
    /// A kind that is not known; it is left aside.
    Unknown,
}

/// Why a connection cannot be read any further.
#[derive(Debug)]
pub(super) enum FrameError {
    /// A frame is not what its kind says.
    Malformed {
        kind: u8,
        length: usize,
        why: &'static str,
    },
    /// The connection is broken.
    Broken(std::io::Error),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { kind, length, why } => write!(
                f,
                "a frame of kind {kind:#04x} with {length} octets {why}; let Asterisk's AudioSocket connect here"
            ),
            Self::Broken(source) => write!(f, "the connection broke ({source})"),
        }
    }
}

/// The first frame in `octets` and how many of them it takes; `None` when it is not whole yet.
fn cut(octets: &[u8]) -> Result<Option<(Frame, usize)>, FrameError> {
    let [kind, high, low, rest @ ..] = octets else {
        return Ok(None);
    };
    let (kind, length) = (*kind, usize::from(u16::from_be_bytes([*high, *low])));
    let malformed = |why| Err(FrameError::Malformed { kind, length, why });
    let rate = kind
        .checked_sub(AUDIO)
        .and_then(|place| RATES.get(usize::from(place)))
        .and_then(|hertz| Frequency::new(*hertz));
    // Judged before it is waited for.
    match (kind, rate) {
        (ID, _) if length != 16 => return malformed("names no call"),
        (KEY, _) if length != 1 => return malformed("is no key"),
        (_, Some(_)) if length % 2 != 0 => return malformed("ends within a sample"),
        (_, Some(rate)) if rate.duration_of(length as u64 / 2) > LONGEST => {
            return malformed("holds more than half a second");
        }
        _ => {}
    }
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = match (kind, rate) {
        (HANG_UP, _) => Frame::HangUp,
        (ID, _) => payload.try_into().map_or(Frame::Unknown, Frame::Id),
        (KEY, _) => Frame::Key(char::from(payload[0])),
        (ERROR, _) => Frame::Error(payload.first().copied().unwrap_or_default()),
        (_, Some(rate)) => {
            let samples = payload.chunks_exact(2);
            let samples = samples.map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
            Frame::Audio(rate, samples.collect())
        }
        _ => Frame::Unknown,
    };
    Ok(Some((frame, HEADER + length)))
}

/// The frames of one connection.
pub(super) struct Frames<R> {
    stream: R,
    /// What has come and is not cut yet: less than one frame and one read.
    octets: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self {
            stream,
            octets: Vec::new(),
        }
    }

    /// The next frame; the end of the stream is a hang-up. Nothing is lost when this is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Result<Frame, FrameError> {
        loop {
            if let Some((frame, length)) = cut(&self.octets)? {
                self.octets.drain(..length);
                return Ok(frame);
            }
            let read = self.stream.read_buf(&mut self.octets).await;
            if read.map_err(FrameError::Broken)? == 0 {
                return Ok(Frame::HangUp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut octets = vec![kind];
        octets.extend((payload.len() as u16).to_be_bytes());
        octets.extend(payload);
        octets
    }

    async fn frames(octets: &[u8]) -> Vec<Frame> {
        let mut frames = Frames::new(octets);
        let mut read = Vec::new();
        loop {
            let frame = frames.next().await.expect("well-formed");
            let is_last = frame == Frame::HangUp;
            read.push(frame);
            if is_last {
                return read;
            }
        }
    }

    #[tokio::test]
    async fn frames_are_read_in_order_and_what_is_unknown_is_left_aside() {
        let octets = [
            frame(1, &[7; 16]),
            frame(0x10, &[1, 0, 0xff, 0xff]),
            frame(2, &[0; 40]),
            frame(3, b"#"),
            frame(0x18, &[0, 0x80]),
            frame(0xff, &[2]),
            frame(0, &[]),
            frame(0x10, &[9, 9]),
        ]
        .concat();
        let rate = |hertz| Frequency::new(hertz).expect("not zero");
        assert_eq!(
            frames(&octets).await,
            [
                Frame::Id([7; 16]),
                Frame::Audio(rate(8_000), vec![1, -1]),
                Frame::Unknown,
                Frame::Key('#'),
                Frame::Audio(rate(192_000), vec![i16::MIN]),
                Frame::Error(2),
                Frame::HangUp,
            ]
        );
        // Cut anywhere, and the end of the stream is a hang-up.
        for end in 0..octets.len() {
            let read = frames(&octets[..end]).await;
            assert_eq!(read.last(), Some(&Frame::HangUp), "{end}");
        }
    }

    #[tokio::test]
    async fn what_is_not_what_its_kind_says_is_refused_before_it_has_come() {
        for (octets, why) in [
            (&[1, 0, 15][..], "names no call"),
            (&[3, 0, 2], "is no key"),
            (&[0x10, 0, 3], "within a sample"),
            (&[0x10, 0xff, 0xfe], "more than half a second"),
        ] {
            let said = Frames::new(octets).next().await.expect_err(why).to_string();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn random_octets_never_panic() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(4);
        for _ in 0..50_000 {
            let length = random.random_range(0..64);
            let octets: Vec<u8> = (0..length).map(|_| random.random()).collect();
            if let Ok(Some((_, taken))) = cut(&octets) {
                assert!(taken <= octets.len());
            }
        }
    }
}
