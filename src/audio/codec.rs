//! The codecs of telephony: G.711 A-law and µ-law, G.722, Opus, and linear samples.

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::pcma::{PcmaDecoder, PcmaEncoder};
use audio_codec::pcmu::{PcmuDecoder, PcmuEncoder};
use audio_codec::{Decoder as _, Encoder as _};

use super::Frequency;

/// The longest Opus packet lasts 120 ms (RFC 6716 §3.2.5); that many samples at 16 kHz.
const OPUS_LONGEST: usize = 1_920;

/// The most octets of an Opus packet of ours; 60 ms of speech take about 200.
const OPUS_MOST_OCTETS: usize = 1_275;

/// What our Opus streams spend: wide-band speech is transparent to recognisers and people there.
const OPUS_BITS_PER_SECOND: i32 = 32_000;

/// The loss that our Opus streams prepare for, in percent.
const OPUS_LOSS: i32 = 5;

/// How sound is written into RTP payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722 at 64 kbit/s.
    G722,
    /// Opus (RFC 6716), heard and said at 16 kHz.
    Opus,
    /// Linear 16-bit samples, mono, 16 kHz, big-endian (RFC 3551 §4.5.11).
    L16,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::Pcma, Self::Pcmu, Self::G722, Self::Opus, Self::L16];

    /// The encoding name of session descriptions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::G722 => "G722",
            Self::Opus => "opus",
            Self::L16 => "L16",
        }
    }

    /// The codec of that encoding name, in capitals or not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }

    /// Samples a second, as they are decoded and encoded here.
    #[must_use]
    pub const fn rate(self) -> Frequency {
        match self {
            Self::Pcma | Self::Pcmu => Frequency::HZ_8000,
            Self::G722 | Self::Opus | Self::L16 => Frequency::HZ_16000,
        }
    }

    /// RTP timestamp ticks a second; G.722 counts 8,000 by an old mistake that stayed (RFC 3551 §4.5.2), Opus 48,000
    /// whatever its bandwidth (RFC 7587 §4.1).
    #[must_use]
    pub const fn clock(self) -> Frequency {
        match self {
            Self::Pcma | Self::Pcmu | Self::G722 => Frequency::HZ_8000,
            Self::Opus => Frequency::HZ_48000,
            Self::L16 => Frequency::HZ_16000,
        }
    }

    /// The payload type that RFC 3551 fixes; Opus and L16 at 16 kHz have none.
    #[must_use]
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcma => Some(8),
            Self::Pcmu => Some(0),
            Self::G722 => Some(9),
            Self::Opus | Self::L16 => None,
        }
    }

    /// The payload type that our own offers give it.
    #[must_use]
    pub const fn offered_payload_type(self) -> u8 {
        match self {
            Self::Pcma => 8,
            Self::Pcmu => 0,
            Self::G722 => 9,
            Self::Opus => 111,
            Self::L16 => 96,
        }
    }

    /// Whether a payload may be cut and joined at any whole millisecond without being decoded.
    #[must_use]
    pub const fn is_divisible(self) -> bool {
        !matches!(self, Self::Opus)
    }

    /// How many samples `payload` holds at [`Codec::rate`]; none when it is broken.
    #[must_use]
    pub fn samples_in(self, payload: &[u8]) -> usize {
        match self {
            Self::Pcma | Self::Pcmu => payload.len(),
            Self::G722 => payload.len() * 2,
            Self::Opus if payload.is_empty() => 0,
            Self::Opus => opus::packet::get_nb_samples(payload, self.rate().hertz())
                .unwrap_or(0)
                .min(OPUS_LONGEST),
            Self::L16 => payload.len() / 2,
        }
    }

    /// How many octets `samples` samples take, where that is fixed.
    #[must_use]
    pub const fn octets_of(self, samples: usize) -> Option<usize> {
        match self {
            Self::Pcma | Self::Pcmu => Some(samples),
            Self::G722 => Some(samples / 2),
            Self::Opus => None,
            Self::L16 => Some(samples * 2),
        }
    }
}

enum DecoderState {
    Pcma(PcmaDecoder),
    Pcmu(PcmuDecoder),
    G722(Box<G722Decoder>),
    Opus(opus::Decoder),
    L16,
}

/// Turns payloads of one stream into samples.
pub struct Decoder {
    codec: Codec,
    state: DecoderState,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        let state = match codec {
            Codec::Pcma => DecoderState::Pcma(PcmaDecoder::new()),
            Codec::Pcmu => DecoderState::Pcmu(PcmuDecoder::new()),
            Codec::G722 => DecoderState::G722(Box::default()),
            Codec::Opus => DecoderState::Opus(
                opus::Decoder::new(codec.rate().hertz(), opus::Channels::Mono)
                    .expect("16 kHz mono is one of the rates that Opus has"),
            ),
            Codec::L16 => DecoderState::L16,
        };
        Self { codec, state }
    }

    /// Which codec.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the samples of `payload` to `out`; an odd last byte of L16 is dropped, and so is a broken payload.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start + self.codec.samples_in(payload), 0);
        let room = &mut out[start..];
        let written = match &mut self.state {
            DecoderState::Pcma(decoder) => decoder.decode_into(payload, room).unwrap_or(0),
            DecoderState::Pcmu(decoder) => decoder.decode_into(payload, room).unwrap_or(0),
            DecoderState::G722(decoder) => decoder.decode_into(payload, room).unwrap_or(0),
            // An empty payload would be taken for a loss.
            DecoderState::Opus(_) if payload.is_empty() => 0,
            DecoderState::Opus(decoder) => decoder.decode(payload, room, false).unwrap_or(0),
            DecoderState::L16 => {
                for (sample, bytes) in room.iter_mut().zip(payload.chunks_exact(2)) {
                    *sample = i16::from_be_bytes([bytes[0], bytes[1]]);
                }
                room.len()
            }
        };
        out.truncate(start + written);
    }

    /// `count` samples in the place of lost ones as the codec itself fills them, or `None` when it cannot: the last of them
    /// by what `behind`, the packet that follows, tells of the one before it, at most `guessed` by what was heard before.
    pub fn conceal(&mut self, count: usize, guessed: usize, behind: &[u8]) -> Option<Vec<i16>> {
        let told = self.codec.samples_in(behind);
        let DecoderState::Opus(decoder) = &mut self.state else {
            return None;
        };
        let whole = count / OPUS_STEP * OPUS_STEP;
        let told = told.min(whole);
        let guessed = (whole - told).min(guessed) / OPUS_STEP * OPUS_STEP;
        let mut samples = vec![0; count];
        // An error leaves silence.
        if guessed > 0 {
            let _ = decoder.decode(&[], &mut samples[..guessed], false);
        }
        if told > 0 {
            let _ = decoder.decode(behind, &mut samples[count - told..], true);
        }
        Some(samples)
    }
}

/// The shortest stretch that Opus conceals, 2.5 ms at 16 kHz; it knows multiples of it only.
const OPUS_STEP: usize = 40;

enum EncoderState {
    Pcma(PcmaEncoder),
    Pcmu(PcmuEncoder),
    G722(Box<G722Encoder>),
    Opus(opus::Encoder),
    L16,
}

/// Turns samples at the codec's rate into payloads of one stream.
pub struct Encoder {
    codec: Codec,
    state: EncoderState,
}

impl Encoder {
    /// An encoder at the beginning of a stream.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        let state = match codec {
            Codec::Pcma => EncoderState::Pcma(PcmaEncoder::new()),
            Codec::Pcmu => EncoderState::Pcmu(PcmuEncoder::new()),
            Codec::G722 => EncoderState::G722(Box::default()),
            Codec::Opus => EncoderState::Opus(opus_encoder()),
            Codec::L16 => EncoderState::L16,
        };
        Self { codec, state }
    }

    /// The payload of `samples`; of Opus 10, 20, 40 or 60 ms, any other number gives none.
    #[must_use]
    pub fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        let mut payload = Vec::new();
        self.encode_into(samples, &mut payload);
        payload
    }

    /// Appends the payload of `samples` to `out`.
    pub fn encode_into(&mut self, samples: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        let most = self.codec.octets_of(samples.len());
        out.resize(start + most.unwrap_or(OPUS_MOST_OCTETS), 0);
        let room = &mut out[start..];
        let written = match &mut self.state {
            EncoderState::Pcma(encoder) => encoder.encode_into(samples, room).unwrap_or(0),
            EncoderState::Pcmu(encoder) => encoder.encode_into(samples, room).unwrap_or(0),
            EncoderState::G722(encoder) => encoder.encode_into(samples, room).unwrap_or(0),
            EncoderState::Opus(encoder) => encoder.encode(samples, room).unwrap_or(0),
            EncoderState::L16 => {
                for (bytes, sample) in room.chunks_exact_mut(2).zip(samples) {
                    bytes.copy_from_slice(&sample.to_be_bytes());
                }
                room.len()
            }
        };
        out.truncate(start + written);
    }
}

fn opus_encoder() -> opus::Encoder {
    let made = opus::Encoder::new(
        Codec::Opus.rate().hertz(),
        opus::Channels::Mono,
        opus::Application::Voip,
    )
    .and_then(|mut encoder| {
        encoder.set_bitrate(opus::Bitrate::Bits(OPUS_BITS_PER_SECOND))?;
        // Only the mode for speech tells of lost packets.
        encoder.set_signal(opus::Signal::Voice)?;
        encoder.set_inband_fec(true)?;
        encoder.set_packet_loss_perc(OPUS_LOSS)?;
        Ok(encoder)
    });
    made.expect("16 kHz mono speech at this rate is one of the things that Opus does")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::resample::Resampler;

    fn tone(hertz: f32, rate: Frequency, samples: usize) -> Vec<i16> {
        let step = hertz * std::f32::consts::TAU / rate.hertz() as f32;
        (0..samples)
            .map(|i| (12_000.0 * (i as f32 * step).sin()) as i16)
            .collect()
    }

    /// Signal to noise ratio in dB at the best delay of up to 400 samples.
    fn ratio(sent: &[i16], heard: &[i16]) -> f64 {
        let power = |samples: &[i16]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        (0..400)
            .map(|delay| {
                let noise: f64 = heard[delay..]
                    .iter()
                    .zip(sent)
                    .map(|(heard, sent)| (f64::from(*heard) - f64::from(*sent)).powi(2))
                    .sum();
                10.0 * (power(&sent[..heard.len() - delay]) / noise.max(1.0)).log10()
            })
            .fold(f64::MIN, f64::max)
    }

    #[test]
    fn a_tone_survives_every_codec() {
        for (codec, decibels) in [
            (Codec::Pcma, 36.0),
            (Codec::Pcmu, 36.0),
            (Codec::G722, 25.0),
            (Codec::Opus, 15.0),
            (Codec::L16, 90.0),
        ] {
            let sent = tone(440.0, codec.rate(), 3_200);
            let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
            let mut heard = Vec::new();
            for frame in sent.chunks(320) {
                let payload = encoder.encode(frame);
                assert_eq!(codec.samples_in(&payload), frame.len());
                decoder.decode(&payload, &mut heard);
            }
            assert_eq!(heard.len(), sent.len());
            assert!(
                ratio(&sent, &heard) > decibels,
                "{codec:?}: {} dB",
                ratio(&sent, &heard)
            );
        }
    }

    #[test]
    fn names_are_found_in_capitals_or_not() {
        assert_eq!(Codec::from_name("pcma"), Some(Codec::Pcma));
        assert_eq!(Codec::from_name("OPUS"), Some(Codec::Opus));
        assert_eq!(Codec::from_name("g729"), None);
    }

    /// How much of `hertz` is in `samples`, in dB of a tone of 12,000.
    fn level(samples: &[i16], rate: Frequency, hertz: f64) -> f64 {
        let step = hertz * std::f64::consts::TAU / f64::from(rate.hertz());
        let (re, im) = samples
            .iter()
            .enumerate()
            .fold((0.0, 0.0), |(re, im), (at, sample)| {
                let (sample, turn) = (f64::from(*sample), at as f64 * step);
                (re + sample * turn.cos(), im + sample * turn.sin())
            });
        20.0 * (2.0 * f64::hypot(re, im) / samples.len() as f64 / 12_000.0).log10()
    }

    #[test]
    fn what_is_said_at_any_rate_in_any_codec_is_heard_at_its_pitch_and_level_by_recognition() {
        let heard_at = Frequency::HZ_16000;
        for said_at in [8_000, 16_000, 44_100, 48_000] {
            let said_at = Frequency::new(said_at).expect("not zero");
            for codec in Codec::ALL {
                for hertz in [300.0, 1_000.0, 2_500.0] {
                    let said = tone(hertz, said_at, said_at.hertz() as usize);
                    let mut wire = Vec::new();
                    let mut down = Resampler::new(said_at, codec.rate());
                    down.push(&said, |samples| wire.extend_from_slice(samples));
                    let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
                    let mut up = Resampler::new(codec.rate(), heard_at);
                    let mut heard = Vec::new();
                    let frame = codec.rate().hertz() as usize / 50;
                    for frame in wire.chunks_exact(frame) {
                        let mut samples = Vec::new();
                        decoder.decode(&encoder.encode(frame), &mut samples);
                        up.push(&samples, |samples| heard.extend_from_slice(samples));
                    }
                    let name = format!("{hertz} Hz at {said_at:?} in {codec:?}");
                    // A rate taken for another one would halve or double both length and pitch.
                    assert!((15_000..=16_000).contains(&heard.len()), "{name}");
                    let settled = &heard[heard.len() - 8_000..];
                    let loud = level(settled, heard_at, f64::from(hertz));
                    // The steepest way down, from 48 to 8 kHz, takes 2 dB at 2.5 kHz.
                    assert!(loud.abs() < 2.5, "{name}: {loud} dB");
                    for wrong in [0.5, 2.0, 3.0] {
                        let noise = level(settled, heard_at, f64::from(hertz) * wrong);
                        assert!(
                            noise < -22.0,
                            "{name}: {noise} dB at {wrong} times its pitch"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn broken_payloads_are_no_sound_and_never_panic() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let mut random = StdRng::seed_from_u64(2);
        for codec in Codec::ALL {
            let mut decoder = Decoder::new(codec);
            let mut samples = Vec::new();
            for _ in 0..2_000 {
                let payload: Vec<u8> = (0..random.random_range(0..400))
                    .map(|_| random.random())
                    .collect();
                samples.clear();
                decoder.decode(&payload, &mut samples);
                assert!(samples.len() <= codec.samples_in(&payload));
            }
            decoder.decode(&[], &mut samples);
        }
    }
}
