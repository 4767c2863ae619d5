//! The codecs of telephony: G.711 A-law and µ-law, G.722, and linear samples.

use audio_codec::g722::{G722Decoder, G722Encoder};
use audio_codec::pcma::{PcmaDecoder, PcmaEncoder};
use audio_codec::pcmu::{PcmuDecoder, PcmuEncoder};
use audio_codec::{Decoder as _, Encoder as _};

use super::Frequency;

/// How sound is written into RTP payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// G.722 at 64 kbit/s.
    G722,
    /// Linear 16-bit samples, mono, 16 kHz, big-endian (RFC 3551 §4.5.11).
    L16,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 4] = [Self::Pcma, Self::Pcmu, Self::G722, Self::L16];

    /// The encoding name of session descriptions.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pcma => "PCMA",
            Self::Pcmu => "PCMU",
            Self::G722 => "G722",
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

    /// Samples a second.
    #[must_use]
    pub const fn rate(self) -> Frequency {
        match self {
            Self::Pcma | Self::Pcmu => Frequency::HZ_8000,
            Self::G722 | Self::L16 => Frequency::HZ_16000,
        }
    }

    /// RTP timestamp ticks a second; G.722 counts 8,000 by an old mistake that stayed (RFC 3551 §4.5.2).
    #[must_use]
    pub const fn clock(self) -> Frequency {
        match self {
            Self::Pcma | Self::Pcmu | Self::G722 => Frequency::HZ_8000,
            Self::L16 => Frequency::HZ_16000,
        }
    }

    /// The payload type that RFC 3551 fixes; L16 at 16 kHz has none.
    #[must_use]
    pub const fn static_payload_type(self) -> Option<u8> {
        match self {
            Self::Pcma => Some(8),
            Self::Pcmu => Some(0),
            Self::G722 => Some(9),
            Self::L16 => None,
        }
    }

    /// How many samples a payload of `bytes` holds.
    #[must_use]
    pub const fn samples_in(self, bytes: usize) -> usize {
        match self {
            Self::Pcma | Self::Pcmu => bytes,
            Self::G722 => bytes * 2,
            Self::L16 => bytes / 2,
        }
    }
}

enum DecoderState {
    Pcma(PcmaDecoder),
    Pcmu(PcmuDecoder),
    G722(Box<G722Decoder>),
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
            Codec::L16 => DecoderState::L16,
        };
        Self { codec, state }
    }

    /// Which codec.
    #[must_use]
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the samples of `payload` to `out`; an odd last byte of L16 is dropped.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let start = out.len();
        out.resize(start + self.codec.samples_in(payload.len()), 0);
        let room = &mut out[start..];
        let written = match &mut self.state {
            DecoderState::Pcma(decoder) => decoder.decode_into(payload, room),
            DecoderState::Pcmu(decoder) => decoder.decode_into(payload, room),
            DecoderState::G722(decoder) => decoder.decode_into(payload, room),
            DecoderState::L16 => {
                for (sample, bytes) in room.iter_mut().zip(payload.chunks_exact(2)) {
                    *sample = i16::from_be_bytes([bytes[0], bytes[1]]);
                }
                Ok(room.len())
            }
        };
        // The only error is too little room.
        out.truncate(start + written.unwrap_or(0));
    }
}

enum EncoderState {
    Pcma(PcmaEncoder),
    Pcmu(PcmuEncoder),
    G722(Box<G722Encoder>),
    L16,
}

/// Turns samples at the codec's rate into payloads of one stream.
pub struct Encoder {
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
            Codec::L16 => EncoderState::L16,
        };
        Self { state }
    }

    /// The payload of `samples`.
    #[must_use]
    pub fn encode(&mut self, samples: &[i16]) -> Vec<u8> {
        match &mut self.state {
            EncoderState::Pcma(encoder) => encoder.encode(samples),
            EncoderState::Pcmu(encoder) => encoder.encode(samples),
            EncoderState::G722(encoder) => encoder.encode(samples),
            EncoderState::L16 => samples
                .iter()
                .flat_map(|sample| sample.to_be_bytes())
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, rate: Frequency, samples: usize) -> Vec<i16> {
        let step = hertz * std::f32::consts::TAU / rate.hertz() as f32;
        (0..samples)
            .map(|i| (12_000.0 * (i as f32 * step).sin()) as i16)
            .collect()
    }

    /// Signal to noise ratio in dB at the best delay of up to 60 samples.
    fn ratio(sent: &[i16], heard: &[i16]) -> f64 {
        let power = |samples: &[i16]| samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        (0..60)
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
            (Codec::L16, 90.0),
        ] {
            let sent = tone(440.0, codec.rate(), 3_200);
            let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
            let mut heard = Vec::new();
            for frame in sent.chunks(320) {
                let payload = encoder.encode(frame);
                assert_eq!(codec.samples_in(payload.len()), frame.len());
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
        assert_eq!(Codec::from_name("opus"), None);
    }
}
