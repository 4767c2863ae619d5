//! Writes and quantises the ggml file that whisper.cpp reads.
//!
//! Layout, little-endian: magic, eleven i32 hyper-parameters, the mel filter bank, the byte-level tokens, then for
//! each tensor: rank, name length, type, dimensions innermost first, name, data. One-dimensional tensors,
//! convolution biases and positional embeddings are f32; other weights are f16, and two-dimensional ones `q8_0` after
//! [`quantize`]: blocks of 32 values as one f16 scale and 32 signed bytes.

use std::fmt;

use half::f16;

use super::ct2::{Ct2Error, Ct2File};

const MAGIC: u32 = 0x6767_6d6c;
const TYPE_F32: u32 = 0;
const TYPE_F16: u32 = 1;
const TYPE_Q8_0: u32 = 8;
/// whisper.cpp's file type of an f16 model.
const FTYPE_F16: u32 = 1;
/// Mostly `q8_0`, quantisation format version 2 (`ftype + version * 1000`).
const FTYPE_Q8_0: u32 = 2_007;
const Q8_BLOCK: usize = 32;
/// Tokens that stand for bytes; the special ones follow and are made by whisper.cpp itself.
const TEXT_TOKENS: usize = 50_257;
const MELS: usize = 80;
const FFT_BINS: usize = 201;

/// Why a model cannot be converted.
#[derive(Debug)]
pub enum ConvertError {
    /// The source is not what it should be.
    Ct2(Ct2Error),
    /// The vocabulary does not fit the weights.
    Vocabulary(String),
    /// The ggml file is not what it should be.
    Ggml(&'static str),
}

impl fmt::Display for ConvertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ct2(source) => source.fmt(f),
            Self::Vocabulary(what) => write!(f, "the vocabulary does not fit: {what}"),
            Self::Ggml(what) => write!(f, "the ggml file is damaged: {what}"),
        }
    }
}

impl std::error::Error for ConvertError {}

impl From<Ct2Error> for ConvertError {
    fn from(source: Ct2Error) -> Self {
        Self::Ct2(source)
    }
}

/// Converts `CTranslate2` float16 weights with their vocabulary (in GPT-2's printable form, by id) to a ggml f16 file.
///
/// `progress` gets the bytes written so far.
///
/// # Errors
/// [`ConvertError`] when weights or vocabulary are not those of a Whisper model.
pub fn from_ct2(
    ct2: &Ct2File<'_>,
    vocabulary: &[String],
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<u8>, ConvertError> {
    let sizes = Sizes::of(ct2)?;
    if vocabulary.len() < TEXT_TOKENS {
        return Err(ConvertError::Vocabulary(format!(
            "{} tokens instead of at least {TEXT_TOKENS}",
            vocabulary.len()
        )));
    }
    let mut out = Vec::with_capacity(150 << 20);
    put(&mut out, MAGIC);
    for value in [
        sizes.vocab,
        sizes.audio_ctx,
        sizes.state,
        sizes.heads,
        sizes.audio_layers,
        sizes.text_ctx,
        sizes.state,
        sizes.heads,
        sizes.text_layers,
        MELS as u32,
        FTYPE_F16,
    ] {
        put(&mut out, value);
    }
    put(&mut out, MELS as u32);
    put(&mut out, FFT_BINS as u32);
    for weight in mel_filters() {
        out.extend(weight.to_le_bytes());
    }
    put(&mut out, TEXT_TOKENS as u32);
    for token in &vocabulary[..TEXT_TOKENS] {
        let bytes = token_bytes(token).ok_or_else(|| {
            ConvertError::Vocabulary(format!("token {token:?} is not byte-level"))
        })?;
        put(&mut out, bytes.len() as u32);
        out.extend(bytes);
    }
    for tensor in sizes.tensors() {
        tensor.write(ct2, &mut out)?;
        progress(out.len() as u64);
    }
    Ok(out)
}

/// Quantises a ggml f16 file to `q8_0`: two-dimensional weights only, as whisper.cpp's own tool does.
///
/// # Errors
/// [`ConvertError::Ggml`] for a file that is not a whole ggml f16 Whisper model.
pub fn quantize(f16_file: &[u8], progress: &mut dyn FnMut(u64)) -> Result<Vec<u8>, ConvertError> {
    let mut input = Input {
        bytes: f16_file,
        at: 0,
    };
    let mut out = Vec::with_capacity(f16_file.len() * 6 / 10);
    if input.number()? != MAGIC {
        return Err(ConvertError::Ggml("it does not begin with the ggml magic"));
    }
    put(&mut out, MAGIC);
    for _ in 0..10 {
        put(&mut out, input.number()?);
    }
    if input.number()? != FTYPE_F16 {
        return Err(ConvertError::Ggml("it is not an f16 model"));
    }
    put(&mut out, FTYPE_Q8_0);
    let (mels, bins) = (input.number()?, input.number()?);
    put(&mut out, mels);
    put(&mut out, bins);
    out.extend(
        input.take(
            (mels as usize)
                .saturating_mul(bins as usize)
                .saturating_mul(4),
        )?,
    );
    let tokens = input.number()?;
    put(&mut out, tokens);
    for _ in 0..tokens {
        let length = input.number()?;
        put(&mut out, length);
        out.extend(input.take(length as usize)?);
    }
    while input.at < f16_file.len() {
        quantize_tensor(&mut input, &mut out)?;
        progress(input.at as u64);
    }
    Ok(out)
}

fn quantize_tensor(input: &mut Input<'_>, out: &mut Vec<u8>) -> Result<(), ConvertError> {
    let (rank, name_length, kind) = (input.number()?, input.number()?, input.number()?);
    if rank > 4 || name_length > 256 {
        return Err(ConvertError::Ggml("a tensor's head cannot be"));
    }
    let dims = (0..rank)
        .map(|_| input.number())
        .collect::<Result<Vec<u32>, _>>()?;
    let name = input.take(name_length as usize)?;
    let elements = dims.iter().fold(1_usize, |product, dim| {
        product.saturating_mul(*dim as usize)
    });
    let width = if kind == TYPE_F32 { 4 } else { 2 };
    let data = input.take(elements.saturating_mul(width))?;
    let quantized = rank == 2 && kind == TYPE_F16 && (dims[0] as usize).is_multiple_of(Q8_BLOCK);
    put(out, rank);
    put(out, name_length);
    put(out, if quantized { TYPE_Q8_0 } else { kind });
    for dim in dims {
        put(out, dim);
    }
    out.extend(name);
    if !quantized {
        out.extend(data);
        return Ok(());
    }
    for block in data.chunks_exact(Q8_BLOCK * 2) {
        let values: [f32; Q8_BLOCK] =
            std::array::from_fn(|i| f16::from_le_bytes([block[2 * i], block[2 * i + 1]]).to_f32());
        let largest = values
            .iter()
            .fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        out.extend(f16::from_f32(scale).to_le_bytes());
        out.extend(values.map(|value| (value * inverse).round() as i8 as u8));
    }
    Ok(())
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ConvertError> {
        let end = self
            .at
            .checked_add(count)
            .filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(ConvertError::Ggml("it is cut short"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, ConvertError> {
        let raw = self.take(4)?;
        Ok(u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]))
    }
}

fn put(out: &mut Vec<u8>, value: u32) {
    out.extend(value.to_le_bytes());
}

struct Sizes {
    vocab: u32,
    audio_ctx: u32,
    text_ctx: u32,
    state: u32,
    heads: u32,
    audio_layers: u32,
    text_layers: u32,
}

impl Sizes {
    fn of(ct2: &Ct2File<'_>) -> Result<Self, Ct2Error> {
        let dim = |name: &str, index: usize| -> Result<u32, Ct2Error> {
            ct2.shape(name)?
                .get(index)
                .copied()
                .ok_or_else(|| Ct2Error::Missing(name.to_owned()))
        };
        let layers = |side: &str| {
            (0..64)
                .take_while(|layer| {
                    ct2.shape(&format!("{side}/layer_{layer}/ffn/linear_0/weight"))
                        .is_ok()
                })
                .count() as u32
        };
        let state = dim("decoder/embeddings/weight", 1)?;
        Ok(Self {
            vocab: dim("decoder/embeddings/weight", 0)?,
            audio_ctx: dim("encoder/position_encodings/encodings", 0)?,
            text_ctx: dim("decoder/position_encodings/encodings", 0)?,
            state,
            // Every Whisper model has heads of 64.
            heads: state / 64,
            audio_layers: layers("encoder"),
            text_layers: layers("decoder"),
        })
    }

    /// Every tensor of the model; whisper.cpp finds them by name.
    fn tensors(&self) -> Vec<Tensor> {
        let n = self.state;
        let mut all = Vec::new();
        let mut add = |name: String, source: String, dims: &[u32], kind: u32| {
            all.push(Tensor {
                name,
                source,
                offset: 0,
                dims: dims.to_vec(),
                kind,
            });
        };
        add(
            "encoder.positional_embedding".into(),
            "encoder/position_encodings/encodings".into(),
            &[self.audio_ctx, n],
            TYPE_F32,
        );
        for (conv, inputs) in [("conv1", MELS as u32), ("conv2", n)] {
            add(
                format!("encoder.{conv}.weight"),
                format!("encoder/{conv}/weight"),
                &[n, inputs, 3],
                TYPE_F16,
            );
            add(
                format!("encoder.{conv}.bias"),
                format!("encoder/{conv}/bias"),
                &[n, 1],
                TYPE_F32,
            );
        }
        for layer in 0..self.audio_layers {
            block(&mut all, "encoder", layer, n, false);
        }
        layer_norm(&mut all, "encoder.ln_post", "encoder/layer_norm", n);
        let mut add = |name: &str, source: &str, rows: u32, kind: u32| {
            all.push(Tensor {
                name: name.into(),
                source: source.into(),
                offset: 0,
                dims: vec![rows, n],
                kind,
            });
        };
        add(
            "decoder.positional_embedding",
            "decoder/position_encodings/encodings",
            self.text_ctx,
            TYPE_F32,
        );
        add(
            "decoder.token_embedding.weight",
            "decoder/embeddings/weight",
            self.vocab,
            TYPE_F16,
        );
        for layer in 0..self.text_layers {
            block(&mut all, "decoder", layer, n, true);
        }
        layer_norm(&mut all, "decoder.ln", "decoder/layer_norm", n);
        all
    }
}

fn block(all: &mut Vec<Tensor>, side: &str, layer: u32, n: u32, cross: bool) {
    let from = format!("{side}/layer_{layer}");
    let to = format!("{side}.blocks.{layer}");
    attention(
        all,
        &format!("{to}.attn"),
        &[(0, 0), (0, 1), (0, 2), (1, 0)],
        &format!("{from}/self_attention"),
        n,
    );
    layer_norm(
        all,
        &format!("{to}.attn_ln"),
        &format!("{from}/self_attention/layer_norm"),
        n,
    );
    if cross {
        attention(
            all,
            &format!("{to}.cross_attn"),
            &[(0, 0), (1, 0), (1, 1), (2, 0)],
            &format!("{from}/attention"),
            n,
        );
        layer_norm(
            all,
            &format!("{to}.cross_attn_ln"),
            &format!("{from}/attention/layer_norm"),
            n,
        );
    }
    for (to_part, from_part, rows, columns) in [
        ("mlp.0", "ffn/linear_0", 4 * n, n),
        ("mlp.2", "ffn/linear_1", n, 4 * n),
    ] {
        weight_and_bias(
            all,
            &format!("{to}.{to_part}"),
            &format!("{from}/{from_part}"),
            (rows, columns),
            0,
            true,
        );
    }
    layer_norm(
        all,
        &format!("{to}.mlp_ln"),
        &format!("{from}/ffn/layer_norm"),
        n,
    );
}

/// Query, key, value and output, each given as (linear layer, place in its stack).
fn attention(all: &mut Vec<Tensor>, to: &str, places: &[(u32, u32); 4], from: &str, n: u32) {
    for (part, (linear, place)) in ["query", "key", "value", "out"].iter().zip(places) {
        weight_and_bias(
            all,
            &format!("{to}.{part}"),
            &format!("{from}/linear_{linear}"),
            (n, n),
            *place,
            *part != "key",
        );
    }
}

fn weight_and_bias(
    all: &mut Vec<Tensor>,
    to: &str,
    from: &str,
    (rows, columns): (u32, u32),
    place: u32,
    bias: bool,
) {
    all.push(Tensor {
        name: format!("{to}.weight"),
        source: format!("{from}/weight"),
        offset: (place * rows * columns) as usize,
        dims: vec![rows, columns],
        kind: TYPE_F16,
    });
    if bias {
        all.push(Tensor {
            name: format!("{to}.bias"),
            source: format!("{from}/bias"),
            offset: (place * rows) as usize,
            dims: vec![rows],
            kind: TYPE_F32,
        });
    }
}

fn layer_norm(all: &mut Vec<Tensor>, to: &str, from: &str, n: u32) {
    for (part, source) in [("weight", "gamma"), ("bias", "beta")] {
        all.push(Tensor {
            name: format!("{to}.{part}"),
            source: format!("{from}/{source}"),
            offset: 0,
            dims: vec![n],
            kind: TYPE_F32,
        });
    }
}

struct Tensor {
    name: String,
    source: String,
    /// Elements of the source before this tensor (stacked projections).
    offset: usize,
    /// Outermost first.
    dims: Vec<u32>,
    kind: u32,
}

impl Tensor {
    fn write(&self, ct2: &Ct2File<'_>, out: &mut Vec<u8>) -> Result<(), ConvertError> {
        let elements = self.dims.iter().product::<u32>() as usize;
        let whole = ct2.shape(&self.source)?.iter().product::<u32>() as usize;
        if self.offset + elements > whole {
            return Err(Ct2Error::Missing(self.source.clone()).into());
        }
        let data = &ct2.tensor(&self.source, whole)?[self.offset * 2..(self.offset + elements) * 2];
        put(out, self.dims.len() as u32);
        put(out, self.name.len() as u32);
        put(out, self.kind);
        for dim in self.dims.iter().rev() {
            put(out, *dim);
        }
        out.extend(self.name.as_bytes());
        if self.kind == TYPE_F32 {
            for raw in data.chunks_exact(2) {
                out.extend(f16::from_le_bytes([raw[0], raw[1]]).to_f32().to_le_bytes());
            }
        } else {
            out.extend(data);
        }
        Ok(())
    }
}

/// GPT-2 prints a byte that is no visible character as a letter from U+0100 on; this undoes it.
fn token_bytes(token: &str) -> Option<Vec<u8>> {
    token
        .chars()
        .map(|letter| match u32::from(letter) {
            code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
            code @ 0x100..=0x120 => Some((code - 0x100) as u8),
            code @ 0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
            0x143 => Some(0xad),
            _ => None,
        })
        .collect()
}

/// The Slaney mel filter bank for 16 kHz and 400-point frames, 80 × 201, as Whisper was trained with.
fn mel_filters() -> Vec<f32> {
    const STEP: f64 = 200.0 / 3.0;
    const LOG_FROM_HZ: f64 = 1_000.0;
    let log_step = 6.4_f64.ln() / 27.0;
    let log_from_mel = LOG_FROM_HZ / STEP;
    let to_hz = |mel: f64| {
        if mel < log_from_mel {
            STEP * mel
        } else {
            LOG_FROM_HZ * (log_step * (mel - log_from_mel)).exp()
        }
    };
    let highest = log_from_mel + (8_000.0 / LOG_FROM_HZ).ln() / log_step;
    let edges: Vec<f64> = (0..MELS + 2)
        .map(|i| to_hz(highest * i as f64 / (MELS + 1) as f64))
        .collect();
    let mut weights = Vec::with_capacity(MELS * FFT_BINS);
    for band in edges.windows(3) {
        let norm = 2.0 / (band[2] - band[0]);
        for bin in 0..FFT_BINS {
            let hz = 8_000.0 * bin as f64 / (FFT_BINS - 1) as f64;
            let rising = (hz - band[0]) / (band[1] - band[0]);
            let falling = (band[2] - hz) / (band[2] - band[1]);
            // Rounded before and after the norm, as the reference computes it.
            let triangle = rising.min(falling).max(0.0) as f32;
            weights.push((f64::from(triangle) * norm) as f32);
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printable_tokens_become_their_bytes() {
        assert_eq!(token_bytes("Ġthe"), Some(b" the".to_vec()));
        assert_eq!(token_bytes("ä½ł"), Some("你".as_bytes().to_vec()));
        assert_eq!(token_bytes("Ċ"), Some(b"\n".to_vec()));
        assert_eq!(token_bytes("你"), None);
    }

    #[test]
    fn mel_bands_have_unit_area_and_cover_the_spectrum_in_order() {
        let weights = mel_filters();
        let peaks: Vec<usize> = weights
            .chunks(FFT_BINS)
            .map(|band| {
                band.iter()
                    .enumerate()
                    .max_by(|a, b| a.1.total_cmp(b.1))
                    .map_or(0, |(bin, _)| bin)
            })
            .collect();
        assert_eq!(peaks.len(), MELS);
        assert!(peaks.is_sorted());
        // A wide band's area: sum × 40 Hz is 1 by Slaney's norm.
        let last: f32 = weights[(MELS - 1) * FFT_BINS..].iter().sum::<f32>() * 40.0;
        assert!((last - 1.0).abs() < 0.02, "{last}");
    }

    #[test]
    fn a_damaged_ggml_file_is_an_error_and_never_a_panic() {
        let mut file = Vec::new();
        for value in [
            MAGIC,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            1,
            FTYPE_F16,
            1,
            1,
            0,
            1,
            1,
            u32::from(b'a'),
            2,
            1,
            TYPE_F16,
            32,
            1,
        ] {
            put(&mut file, value);
        }
        // The token "a" has one byte, not four: re-pack it.
        file.splice(17 * 4..18 * 4, *b"a");
        file.push(b'n');
        file.extend(std::iter::repeat_n([0x00, 0x3c], 32).flatten());
        let quantized = quantize(&file, &mut |_| ()).expect("a whole file");
        assert_eq!(quantized.len(), file.len() - 64 + 34);
        assert_eq!(&quantized[quantized.len() - 32..], [127; 32]);
        for length in 0..file.len() {
            if length != 17 * 4 + 1 {
                assert!(
                    quantize(&file[..length], &mut |_| ()).is_err(),
                    "cut at {length}"
                );
            }
        }
    }
}
