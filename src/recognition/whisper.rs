//! The real recogniser: whisper.cpp through whisper-rs, one model shared by all workers, one state each.
//!
//! A recognition uses one thread: ggml's threads spin at barriers, so a second one beside another busy process makes
//! it many times slower, while as many one-threaded workers as cores use the machine fully. The encoder's window
//! (`audio_ctx`) is fitted to the utterance instead of 30 s; a window that is too tight makes the decoder loop, so it
//! keeps a margin, and a loop is recognised again with the whole window.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use whisper_rs::{
    DtwParameters, FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters,
    WhisperError, WhisperState,
};

use super::guard;
use super::shape::Shape;
use super::tokens::{Token, letters};
use crate::audio::{steady, tonal};
use crate::private::Private;
use crate::speech::segmenter::RATE;
use crate::speech::words::{Letter, Word, carry, words};
use crate::speech::{Hypothesis, Pass, Recognizer, RecognizerError, Utterance};

/// Encoder positions of a whole 30 s window, 20 ms each.
const WHOLE_CONTEXT: usize = 1_500;
/// The matrix kernels take whole blocks of positions; for any other count attention falls back to slow dot products.
const CONTEXT_STEP: usize = 16;
/// How much wider the window is when a loop is recognised again: it breaks the loop as well as the whole window does.
const RETRY_CONTEXT: usize = 256;
/// Below this the decoder loops on short clips.
const LEAST_CONTEXT: usize = 384;
/// The same where more than one hypothesis is followed: in narrower windows the others are loops.
const LEAST_BEAM_CONTEXT: usize = 512;
/// Three seconds beyond the clip.
const CONTEXT_MARGIN: usize = 150;
/// Samples per encoder position at 16 kHz.
const SAMPLES_PER_POSITION: usize = 320;
/// whisper.cpp refuses less than a second.
const LEAST_SAMPLES: usize = 17_600;
/// Fast Mandarin is some seven characters a second, at up to two tokens each.
const TOKENS_PER_SECOND: usize = 14;
/// For punctuation and short clips.
const TOKEN_MARGIN: usize = 16;
/// Below this mean token probability the words are guesses.
const LEAST_CONFIDENCE: f32 = 0.25;
/// No-speech probability above which only confident words count; words heard rightly have had 0.72.
const LIKELY_SILENCE: f32 = 0.8;
/// What confident means there, and for words that may only echo what the decoder was told.
const CONFIDENT: f32 = 0.5;

/// The unit of a token's time.
const TIME_STEP: Duration = Duration::from_millis(10);
/// Tokens of a prompt at most; whisper.cpp keeps the last 223.
const LONGEST_PROMPT: usize = 120;

/// How whisper decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoding {
    /// Threads of one recognition.
    pub threads: usize,
    /// What is spoken, as whisper abbreviates it (`zh`, `yue`, `en` …), or `auto`.
    pub language: String,
    /// Hypotheses that a final pass follows; 1 is greedy, and partial and hurried passes always are.
    pub beam: usize,
}

impl Default for Decoding {
    fn default() -> Self {
        Self {
            threads: 1,
            language: "zh".to_owned(),
            beam: 3,
        }
    }
}

/// Whether whisper knows `language`.
#[must_use]
pub fn speaks(language: &str) -> bool {
    language == "auto" || whisper_rs::get_lang_id(language).is_some()
}

/// A model that whisper.cpp cannot load.
#[derive(Debug)]
pub struct UnreadableModel {
    path: PathBuf,
    source: WhisperError,
}

impl fmt::Display for UnreadableModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a model that whisper.cpp can load ({}); renew it with `xinqiao models pull`",
            self.path.display(),
            self.source
        )
    }
}

impl std::error::Error for UnreadableModel {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A loaded model; clones share its weights.
#[derive(Clone)]
pub struct WhisperModel {
    context: Arc<WhisperContext>,
    decoding: Decoding,
}

impl WhisperModel {
    /// Loads a ggml file for [`Decoding::default`].
    ///
    /// # Errors
    /// [`UnreadableModel`] when whisper.cpp refuses it.
    pub fn load(path: &Path) -> Result<Self, UnreadableModel> {
        Self::load_for(path, Decoding::default())
    }

    /// Loads a ggml file of any size of model.
    ///
    /// # Errors
    /// [`UnreadableModel`] when whisper.cpp refuses it.
    pub fn load_for(path: &Path, decoding: Decoding) -> Result<Self, UnreadableModel> {
        // Sends whisper.cpp's own prints to nowhere; only the first call has an effect.
        whisper_rs::install_logging_hooks();
        let failed = |source| UnreadableModel {
            path: path.to_owned(),
            source,
        };
        let mut parameters = WhisperContextParameters::new();
        parameters
            .use_gpu(cfg!(any(
                feature = "cuda",
                feature = "vulkan",
                feature = "metal"
            )))
            .flash_attn(false);
        if let Some(shape) = Shape::read(path) {
            parameters.dtw_parameters(DtwParameters {
                mode: shape.timing(),
                ..DtwParameters::default()
            });
        }
        let context = WhisperContext::new_with_params(path, parameters).map_err(failed)?;
        Ok(Self {
            context: Arc::new(context),
            decoding,
        })
    }

    /// A recogniser with its own state.
    ///
    /// # Errors
    /// [`RecognizerError::Engine`] when there is no memory for one.
    pub fn recognizer(&self) -> Result<WhisperRecognizer, RecognizerError> {
        let state = self
            .context
            .create_state()
            .map_err(|error| engine(&error))?;
        let greedy = self.parameters(SamplingStrategy::Greedy { best_of: 1 });
        let beam = (self.decoding.beam > 1).then(|| {
            self.parameters(SamplingStrategy::BeamSearch {
                beam_size: self.decoding.beam as c_int,
                patience: -1.0,
            })
        });
        Ok(WhisperRecognizer {
            state,
            context: self.context.clone(),
            greedy,
            beam,
            hurried: false,
            abort: Arc::new(AtomicBool::new(false)),
            padded: Vec::new(),
        })
    }

    fn parameters(&self, strategy: SamplingStrategy) -> Parameters {
        let mut parameters = FullParams::new(strategy);
        parameters.set_n_threads(self.decoding.threads as c_int);
        // Once a recogniser, because each call leaks a few bytes.
        let known = whisper_rs::get_lang_id(&self.decoding.language);
        let language = known.and_then(whisper_rs::get_lang_str);
        parameters.set_language(Some(language.unwrap_or("auto")));
        parameters.set_no_context(true);
        parameters.set_no_timestamps(true);
        parameters.set_single_segment(true);
        parameters.set_suppress_nst(true);
        parameters.set_print_special(false);
        parameters.set_print_progress(false);
        parameters.set_print_realtime(false);
        parameters.set_print_timestamps(false);
        // No hidden second decoding: loops are seen to here, where the context can grow.
        parameters.set_temperature_inc(0.0);
        // Nor is a text dropped as silence there: `transcribe` weighs that together with what else it knows.
        parameters.set_no_speech_thold(1.0);
        Parameters(parameters)
    }
}

/// The parameters that all passes of one recogniser share.
struct Parameters(FullParams<'static, 'static>);

// SAFETY: the only pointers inside are the language, leaked and never written, and null callbacks; the prompt and the
// abort flag are set on a clone that lives for one pass.
#[allow(unsafe_code)]
unsafe impl Send for Parameters {}

/// Recognises one utterance after the other.
pub struct WhisperRecognizer {
    state: WhisperState,
    context: Arc<WhisperContext>,
    greedy: Parameters,
    /// For finals, where more than one hypothesis is followed.
    beam: Option<Parameters>,
    hurried: bool,
    abort: Arc<AtomicBool>,
    padded: Vec<f32>,
}

struct Heard {
    text: String,
    words: Vec<Word>,
    confidence: f32,
    no_speech: f32,
}

impl Heard {
    /// Leaves out what stands from character `end` on.
    fn cut(&mut self, end: usize) {
        self.text = self.text.chars().take(end).collect();
        self.words.retain(|word| word.to as usize <= end);
    }
}

impl WhisperRecognizer {
    fn pass(
        &mut self,
        utterance: &Utterance,
        prompt: &[c_int],
        context: usize,
    ) -> Result<Heard, RecognizerError> {
        let mut parameters = self
            .careful(utterance.pass)
            .unwrap_or(&self.greedy)
            .0
            .clone();
        parameters.set_tokens(prompt);
        parameters.set_audio_ctx(context as c_int);
        let seconds = utterance.samples.len().div_ceil(RATE.hertz() as usize);
        parameters.set_max_tokens((seconds * TOKENS_PER_SECOND + TOKEN_MARGIN) as c_int);
        // SAFETY: the callback only reads the flag. The state's backends remember both until the next pass, but call it
        // only in one, and `self.abort`, which is never exchanged, outlives the state.
        #[allow(unsafe_code)]
        unsafe {
            parameters.set_abort_callback(Some(is_aborted));
            parameters.set_abort_callback_user_data(Arc::as_ptr(&self.abort).cast_mut().cast());
        }
        let outcome = self.state.full(parameters, &self.padded);
        if self.abort.swap(false, Ordering::Relaxed) {
            return Err(RecognizerError::Aborted);
        }
        outcome.map_err(|error| engine(&error))?;
        let (mut tokens, mut no_speech) = (Vec::new(), 0.0_f32);
        let end_of_text = self.context.token_eot();
        for segment in self.state.as_iter() {
            no_speech = no_speech.max(segment.no_speech_probability());
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                let data = token.token_data();
                if data.id >= end_of_text {
                    continue;
                }
                let end = u64::try_from(data.t_dtw).ok();
                tokens.push(Token {
                    bytes: token.to_bytes().map_err(|error| engine(&error))?.to_vec(),
                    probability: data.p,
                    end: end.map(|end| utterance.start + TIME_STEP * end as u32),
                });
            }
        }
        let sum: f32 = tokens.iter().map(|token| token.probability).sum();
        let letters = letters(&tokens, utterance.voice, utterance.end);
        let raw: String = letters
            .iter()
            .map(|letter: &Letter| letter.letter)
            .collect();
        let text = guard::mend(&raw);
        Ok(Heard {
            words: carry(&raw, &words(&letters), &text),
            text,
            confidence: sum / tokens.len().max(1) as f32,
            no_speech,
        })
    }

    /// The parameters of a beam, where there is time for one.
    fn careful(&self, pass: Pass) -> Option<&Parameters> {
        let beam = self.beam.as_ref();
        beam.filter(|_| pass != Pass::Partial && !self.hurried)
    }

    /// The tokens before the utterance: what to expect, then what was said just before. Without either there are none:
    /// a prompt that only shows script and punctuation costs two characters in a hundred, and its time in each pass.
    fn prompt(&self, utterance: &Utterance) -> Vec<c_int> {
        let mut prompt = Vec::new();
        for text in [&utterance.prompt.hints, &utterance.prompt.said] {
            if !text.reveal().is_empty() {
                // Too long a text has no tokens here; the utterance is recognised without it.
                let room = LONGEST_PROMPT.saturating_sub(prompt.len());
                prompt.extend(
                    self.context
                        .tokenize(&text.reveal().replace('，', ","), room)
                        .unwrap_or_default(),
                );
            }
        }
        prompt
    }

    /// Listens in an encoder window of `context` positions, in a wider one when the decoder loops, and leaves out what
    /// it made up at the end.
    fn hear(
        &mut self,
        utterance: &Utterance,
        prompt: &[c_int],
        context: usize,
    ) -> Result<Heard, RecognizerError> {
        let mut heard = self.pass(utterance, prompt, context)?;
        if guard::loop_start(&heard.text).is_some() && context < WHOLE_CONTEXT {
            let wider = (context + RETRY_CONTEXT).min(WHOLE_CONTEXT);
            heard = self.pass(utterance, prompt, wider)?;
        }
        if let Some(end) = guard::loop_start(&heard.text) {
            heard.cut(end);
        }
        if let Some(end) = guard::weak_tail(&heard.words) {
            heard.cut(end);
        }
        Ok(heard)
    }
}

impl Recognizer for WhisperRecognizer {
    fn transcribe(&mut self, utterance: &Utterance) -> Result<Hypothesis, RecognizerError> {
        let began = Instant::now();
        // Over music, tones and steady noise the decoder invents words, and is sure of them.
        let samples = utterance.samples.joined();
        let spoken =
            tonal::speech_in(&samples).filter(|spoken| steady::swing(spoken) >= steady::LIMIT);
        let Some(samples) = spoken else {
            return Ok(Hypothesis {
                text: Private::default(),
                words: Vec::new(),
                confidence: 0.0,
                took: began.elapsed(),
            });
        };
        let clip = samples.len();
        self.padded.clear();
        self.padded.extend_from_slice(&samples);
        self.padded.resize(clip.max(LEAST_SAMPLES), 0.0);
        let least = match self.careful(utterance.pass) {
            Some(_) => LEAST_BEAM_CONTEXT,
            None => LEAST_CONTEXT,
        };
        let fitted = (self.padded.len() / SAMPLES_PER_POSITION + CONTEXT_MARGIN)
            .next_multiple_of(CONTEXT_STEP)
            .clamp(least, WHOLE_CONTEXT);
        let prompt = self.prompt(utterance);
        let mut heard = self.hear(utterance, &prompt, fitted)?;
        let told = &utterance.prompt;
        let is_echo = [&told.hints, &told.said]
            .iter()
            .any(|told| guard::is_echo(&heard.text, told.reveal()));
        let lasts = RATE.duration_of(clip as u64);
        let repeats_it =
            (is_echo && heard.confidence < CONFIDENT) || guard::outruns(&heard.text, lasts);
        // It says what it was told in place of what was said: it listens again without having been told.
        if repeats_it && !prompt.is_empty() {
            heard = self.hear(utterance, &[], fitted)?;
        }
        let invented = guard::is_stock_phrase(&heard.text)
            || heard.confidence < LEAST_CONFIDENCE
            || (heard.no_speech > LIKELY_SILENCE && heard.confidence < CONFIDENT);
        if invented {
            heard.cut(0);
        }
        Ok(Hypothesis {
            text: Private::new(heard.text),
            words: heard.words,
            confidence: heard.confidence.clamp(0.0, 1.0),
            took: began.elapsed(),
        })
    }

    fn hurry(&mut self, hurried: bool) {
        self.hurried = hurried;
    }

    fn abort_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(self.abort.clone())
    }
}

fn engine(error: &WhisperError) -> RecognizerError {
    RecognizerError::Engine(error.to_string())
}

/// whisper.cpp asks this between steps whether to give up.
#[allow(unsafe_code)]
unsafe extern "C" fn is_aborted(flag: *mut c_void) -> bool {
    // SAFETY: `pass` hands over a pointer to an `AtomicBool` that outlives the call.
    unsafe { (*flag.cast_const().cast::<AtomicBool>()).load(Ordering::Relaxed) }
}
