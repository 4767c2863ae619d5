//! Utterances and hypotheses as the protocol carries them, both ways.

use std::time::Duration;

use super::super::Load;
use crate::audio::MediaTime;
use crate::grpc::proto::recognition::v1 as proto;
use crate::private::Private;
use crate::speech::segmenter::RATE;
use crate::speech::words::Word;
use crate::speech::{CallId, Hypothesis, Leg, Pass, Prompt, Utterance, UtteranceKey};

/// The longest utterance in samples: whisper hears 30 s at a time.
const LONGEST: usize = 30 * RATE.hertz() as usize;

/// An utterance on its way out; it is wanted in `due`.
pub fn request(utterance: &Utterance, due: Duration) -> proto::RecognizeRequest {
    let key = &utterance.key;
    let leg = match key.leg {
        Leg::Caller => proto::Leg::Caller,
        Leg::Operator => proto::Leg::Operator,
        Leg::Mono => proto::Leg::Mono,
    };
    let pass = match utterance.pass {
        Pass::Partial => proto::Pass::Partial,
        Pass::Endpoint => proto::Pass::Endpoint,
        Pass::Final => proto::Pass::Final,
        Pass::Review => proto::Pass::Review,
    };
    let sample = |sample: &f32| ((sample * 32_768.0) as i16).to_le_bytes();
    proto::RecognizeRequest {
        call_id: key.call.as_str().to_owned(),
        leg: leg.into(),
        utterance: key.id,
        revision: key.revision,
        pass: pass.into(),
        samples: utterance.samples.iter().flat_map(sample).collect(),
        start_us: utterance.start.as_micros(),
        voice_us: utterance.voice.as_micros(),
        end_us: utterance.end.as_micros(),
        hints: utterance.prompt.hints.reveal().clone(),
        said: utterance.prompt.said.reveal().clone(),
        due_ms: due.as_millis() as u32,
    }
}

/// An utterance that came in; the sentence says what is wrong with one that is none.
pub fn utterance(request: proto::RecognizeRequest) -> Result<Utterance, &'static str> {
    let leg = match request.leg() {
        proto::Leg::Caller => Leg::Caller,
        proto::Leg::Operator => Leg::Operator,
        proto::Leg::Mono => Leg::Mono,
        proto::Leg::Unspecified => return Err("leg is not set"),
    };
    let pass = match request.pass() {
        proto::Pass::Partial => Pass::Partial,
        proto::Pass::Endpoint => Pass::Endpoint,
        proto::Pass::Final => Pass::Final,
        proto::Pass::Review => Pass::Review,
        proto::Pass::Unspecified => return Err("pass is not set"),
    };
    if !request.samples.len().is_multiple_of(2) || request.samples.is_empty() {
        return Err("samples must hold whole 16-bit samples, one at least");
    }
    if request.samples.len() / 2 > LONGEST {
        return Err("samples must not last longer than 30 s");
    }
    let sample = |bytes: &[u8]| f32::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32_768.0;
    Ok(Utterance {
        key: UtteranceKey {
            call: CallId::new(&request.call_id),
            leg,
            id: request.utterance,
            revision: request.revision,
        },
        pass,
        samples: request.samples.chunks_exact(2).map(sample).collect(),
        start: MediaTime::from_micros(request.start_us),
        voice: MediaTime::from_micros(request.voice_us),
        end: MediaTime::from_micros(request.end_us),
        prompt: Prompt {
            hints: request.hints.into(),
            said: request.said.into(),
        },
    })
}

/// A hypothesis on its way back.
pub fn response(hypothesis: Hypothesis, load: &Load) -> proto::RecognizeResponse {
    let word = |word: &Word| proto::Word {
        start_char: word.from,
        end_char: word.to,
        start_us: word.start.as_micros(),
        end_us: word.end.as_micros(),
        confidence: word.confidence,
    };
    proto::RecognizeResponse {
        confidence: hypothesis.confidence,
        words: hypothesis.words.iter().map(word).collect(),
        took_us: hypothesis.took.as_micros() as u64,
        text: hypothesis.text.into_inner(),
        load: Some(self::load(load)),
    }
}

/// A hypothesis that came back. Words that lie outside its text are left out.
pub fn hypothesis(response: proto::RecognizeResponse) -> Hypothesis {
    let length = response.text.chars().count() as u32;
    let fits = |word: &&proto::Word| word.start_char < word.end_char && word.end_char <= length;
    let word = |word: &proto::Word| Word {
        from: word.start_char,
        to: word.end_char,
        start: MediaTime::from_micros(word.start_us),
        end: MediaTime::from_micros(word.end_us.max(word.start_us)),
        confidence: word.confidence,
    };
    Hypothesis {
        words: response.words.iter().filter(fits).map(word).collect(),
        text: Private::new(response.text),
        confidence: response.confidence.clamp(0.0, 1.0),
        took: Duration::from_micros(response.took_us),
    }
}

/// How busy a recogniser is.
pub fn load(load: &Load) -> proto::Load {
    proto::Load {
        workers: load.workers as u32,
        wait_us: load.wait.as_micros() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Utterance {
        Utterance {
            key: UtteranceKey {
                call: CallId::new("c1"),
                leg: Leg::Operator,
                id: 7,
                revision: 3,
            },
            pass: Pass::Endpoint,
            samples: vec![0.0, 0.5, -1.0, 1.0 / 32_768.0].into(),
            start: MediaTime::from_micros(1_000_001),
            voice: MediaTime::from_micros(1_300_002),
            end: MediaTime::from_micros(2_000_003),
            prompt: Prompt {
                hints: "芝罘区".into(),
                said: "我住在".into(),
            },
        }
    }

    #[test]
    fn an_utterance_arrives_as_it_was_sent() {
        let sent = sample();
        let arrived = utterance(request(&sent, Duration::from_millis(400))).expect("valid");
        assert_eq!((&arrived.key, arrived.pass), (&sent.key, sent.pass));
        assert_eq!(arrived.samples, sent.samples);
        assert_eq!(
            (arrived.start, arrived.voice, arrived.end, arrived.prompt),
            (sent.start, sent.voice, sent.end, sent.prompt)
        );
    }

    #[test]
    fn what_is_no_utterance_is_refused() {
        let valid = request(&sample(), Duration::ZERO);
        for broken in [
            proto::RecognizeRequest {
                leg: 0,
                ..valid.clone()
            },
            proto::RecognizeRequest {
                pass: 9,
                ..valid.clone()
            },
            proto::RecognizeRequest {
                samples: vec![1],
                ..valid.clone()
            },
            proto::RecognizeRequest {
                samples: Vec::new(),
                ..valid.clone()
            },
            proto::RecognizeRequest {
                samples: vec![0; 2 * LONGEST + 2],
                ..valid.clone()
            },
        ] {
            assert!(utterance(broken).is_err());
        }
    }

    #[test]
    fn a_hypothesis_comes_back_whole_and_words_beyond_its_text_are_left_out() {
        let word = |from, to| Word {
            from,
            to,
            start: MediaTime::from_micros(5),
            end: MediaTime::from_micros(9),
            confidence: 0.5,
        };
        let heard = Hypothesis {
            text: "你好".into(),
            words: vec![word(0, 1), word(1, 2), word(2, 3)],
            confidence: 0.8,
            took: Duration::from_micros(1_234),
        };
        let back = hypothesis(response(heard.clone(), &Load::default()));
        assert_eq!(back.words, heard.words[..2]);
        assert_eq!((back.text, back.took), (heard.text, heard.took));
    }
}
