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
use std::time::Instant;

use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperError,
    WhisperState,
};

use super::guard;
use crate::private::Private;
use crate::speech::segmenter::RATE;
use crate::speech::{Hypothesis, Recognizer, RecognizerError, Utterance};

/// Encoder positions of a whole 30 s window, 20 ms each.
const WHOLE_CONTEXT: usize = 1_500;
/// The matrix kernels take whole blocks of positions; for any other count attention falls back to slow dot products.
const CONTEXT_STEP: usize = 16;
/// How much wider the window is when a loop is recognised again: it breaks the loop as well as the whole window does.
const RETRY_CONTEXT: usize = 256;
/// Below this the decoder loops on short clips.
const LEAST_CONTEXT: usize = 384;
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
/// Shows the decoder the script and the punctuation that are wanted, in few tokens, because each pass pays for them.
/// Its comma is the ASCII one: the full-width one is three byte tokens, of which the last often comes out wrong.
pub const PROMPT: &str = "热线通话。您好,请说。";
/// Below this mean token probability the words are guesses.
const LEAST_CONFIDENCE: f32 = 0.25;
/// No-speech probability above which only confident words count.
const LIKELY_SILENCE: f32 = 0.6;
/// What confident means there, and for words that may only echo the prompt.
const CONFIDENT: f32 = 0.5;

/// A model that whisper.cpp cannot load.
#[derive(Debug)]
pub struct LoadError {
    path: PathBuf,
    source: WhisperError,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is not a model that whisper.cpp can load ({}); renew it with `xinqiao models pull`",
            self.path.display(),
            self.source
        )
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// A loaded model; clones share its weights.
#[derive(Clone)]
pub struct WhisperModel {
    context: Arc<WhisperContext>,
    prompt: Arc<[c_int]>,
}

impl WhisperModel {
    /// Loads a ggml file.
    ///
    /// # Errors
    /// [`LoadError`] when whisper.cpp refuses it.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        // Sends whisper.cpp's own prints to nowhere; only the first call has an effect.
        whisper_rs::install_logging_hooks();
        let failed = |source| LoadError {
            path: path.to_owned(),
            source,
        };
        let mut parameters = WhisperContextParameters::new();
        parameters.use_gpu(cfg!(feature = "cuda")).flash_attn(false);
        let context = WhisperContext::new_with_params(path, parameters).map_err(failed)?;
        let prompt = context.tokenize(PROMPT, 128).map_err(failed)?;
        Ok(Self {
            context: Arc::new(context),
            prompt: prompt.into(),
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
        let mut parameters = FullParams::new(SamplingStrategy::Greedy { best_of: 1 });
        parameters.set_n_threads(1);
        // Once a recogniser, because each call leaks a few bytes.
        parameters.set_language(Some("zh"));
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
        Ok(WhisperRecognizer {
            state,
            parameters: Parameters(parameters),
            prompt: self.prompt.clone(),
            end_of_text: self.context.token_eot(),
            abort: Arc::new(AtomicBool::new(false)),
            padded: Vec::new(),
        })
    }
}

/// The parameters that all passes of one recogniser share.
struct Parameters(FullParams<'static, 'static>);

// SAFETY: the only pointers inside are the language, leaked and never written, and null callbacks; the prompt and the
// abort flag are set on a clone that lives for one pass.
#[allow(unsafe_code)]
unsafe impl Send for Parameters {}

/// Recognises on one thread.
pub struct WhisperRecognizer {
    state: WhisperState,
    parameters: Parameters,
    prompt: Arc<[c_int]>,
    end_of_text: c_int,
    abort: Arc<AtomicBool>,
    padded: Vec<f32>,
}

struct Heard {
    text: String,
    confidence: f32,
    no_speech: f32,
}

impl WhisperRecognizer {
    fn pass(&mut self, clip: usize, context: usize) -> Result<Heard, RecognizerError> {
        let mut parameters = self.parameters.0.clone();
        parameters.set_tokens(&self.prompt);
        parameters.set_audio_ctx(context as c_int);
        let seconds = clip.div_ceil(RATE.hertz() as usize);
        parameters.set_max_tokens((seconds * TOKENS_PER_SECOND + TOKEN_MARGIN) as c_int);
        // SAFETY: the callback only reads the flag, which `self.abort` keeps alive through the pass.
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
        let (mut bytes, mut sum, mut count, mut no_speech) = (Vec::new(), 0.0, 0_u32, 0.0_f32);
        for segment in self.state.as_iter() {
            bytes.extend_from_slice(segment.to_bytes().map_err(|error| engine(&error))?);
            no_speech = no_speech.max(segment.no_speech_probability());
            for token in (0..segment.n_tokens()).filter_map(|index| segment.get_token(index)) {
                if token.token_id() < self.end_of_text {
                    sum += token.token_probability();
                    count += 1;
                }
            }
        }
        let text = guard::mend(&String::from_utf8_lossy(&bytes));
        Ok(Heard {
            text,
            confidence: if count == 0 { 0.0 } else { sum / count as f32 },
            no_speech,
        })
    }
}

impl Recognizer for WhisperRecognizer {
    fn transcribe(&mut self, utterance: &Utterance) -> Result<Hypothesis, RecognizerError> {
        let began = Instant::now();
        let clip = utterance.samples.len();
        self.padded.clear();
        self.padded.extend_from_slice(&utterance.samples);
        self.padded.resize(clip.max(LEAST_SAMPLES), 0.0);
        let fitted = (self.padded.len() / SAMPLES_PER_POSITION + CONTEXT_MARGIN)
            .next_multiple_of(CONTEXT_STEP)
            .clamp(LEAST_CONTEXT, WHOLE_CONTEXT);
        let mut heard = self.pass(clip, fitted)?;
        if guard::loop_start(&heard.text).is_some() && fitted < WHOLE_CONTEXT {
            heard = self.pass(clip, (fitted + RETRY_CONTEXT).min(WHOLE_CONTEXT))?;
        }
        if let Some(end) = guard::loop_start(&heard.text) {
            heard.text = heard.text.chars().take(end).collect();
        }
        let invented = guard::is_stock_phrase(&heard.text)
            || heard.confidence < LEAST_CONFIDENCE
            || ((heard.no_speech > LIKELY_SILENCE || guard::is_echo(&heard.text, PROMPT))
                && heard.confidence < CONFIDENT);
        if invented {
            heard.text.clear();
        }
        Ok(Hypothesis {
            text: Private::new(heard.text),
            confidence: heard.confidence.clamp(0.0, 1.0),
            took: began.elapsed(),
        })
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
