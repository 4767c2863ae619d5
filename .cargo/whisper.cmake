# Corrections to whisper.cpp 1.8.3 and its ggml, made on the copy that cmake builds; whisper-rs-sys hands this file on as
# CMAKE_PROJECT_INCLUDE. Each names the text that it replaces: where a newer whisper.cpp reads otherwise, the build stops
# and asks for a look at whether the correction is still needed.

if(NOT PROJECT_NAME STREQUAL "whisper.cpp")
    return()
endif()

foreach(file
        ggml/src/ggml-cpu/amx/amx.cpp
        ggml/src/ggml-cpu/amx/mmq.cpp
        ggml/src/ggml-cpu/llamafile/sgemm.cpp
        ggml/src/ggml-cpu/vec.h
        ggml/src/ggml-vulkan/ggml-vulkan.cpp
        src/whisper.cpp)
    set(path "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    if(NOT EXISTS "${path}.orig")
        configure_file("${path}" "${path}.orig" COPYONLY)
    endif()
    configure_file("${path}.orig" "${path}" COPYONLY)
endforeach()

function(correct file old new)
    set(path "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
    file(READ "${path}" text)
    string(FIND "${text}" "${old}" at)
    if(at EQUAL -1)
        message(FATAL_ERROR "${file} of whisper.cpp has changed: see whether .cargo/whisper.cmake still needs to correct it, and remove what it does not.")
    endif()
    string(REPLACE "${old}" "${new}" text "${text}")
    file(WRITE "${path}" "${text}")
endfunction()

# Rows of q8_0 go to the matrix unit (AMX) also where they are no multiple of 2048, which in a base model is one of six
# matrices of a layer. Compared with the plain kernel, 64 to 5120 columns are right to 3e-6 for 1 to 401 rows; a single
# block, 32 columns, is wrong.
correct(ggml/src/ggml-cpu/amx/amx.cpp
    [=[op->src[0]->ne[0] % (TILE_K * 2 * 32) == 0 &&]=]
    [=[op->src[0]->ne[0] % (op->src[0]->type == GGML_TYPE_Q8_0 ? TILE_K * 2 : TILE_K * 2 * 32) == 0 &&]=])

# Products of two matrices go to the matrix unit in bfloat16 (amx_bf16.h says how and why): weights of q8_0, attention,
# convolutions. Root mean square error against exact products 0.23 %, where q8_0's own rounding of the rows gives 0.54 %.
configure_file("${CMAKE_CURRENT_LIST_DIR}/amx_bf16.h" "${CMAKE_CURRENT_SOURCE_DIR}/ggml/src/ggml-cpu/amx/bf16.h" COPYONLY)
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[#include "mmq.h"
]=]
    [=[#include "mmq.h"
#include "bf16.h"
]=])
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[    // pointer to work space, used convert A from float to quantized type
]=]
    [=[#if defined(AMX_BF16)
    if (TYPE == GGML_TYPE_Q8_0 && M > FEW) {
        amx_bf16::multiply_q8_0(params, N, M, K, (const char *) src0->data, get_tile_size<block_q8_0>(),
            (const float *) src1->data, (float *) dst->data, ldc);
        return;
    }
#endif

    // pointer to work space, used convert A from float to quantized type
]=])

# A few rows, the hypotheses of a beam, go one after the other through the kernel for one, which leaves the weights packed.
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[        KB, (const char *)wdata + 0 * row_size_A,                                    \]=]
    [=[        KB, (const char *)wdata + row * row_size_A,                                  \]=])
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[        (float *) dst->data + 0 * N + nb_start, ldc)
]=]
    [=[        (float *) dst->data + row * ldc + nb_start, ldc)
]=])
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[void ggml_backend_amx_mul_mat(const]=]
    [=[constexpr int FEW = 8;

void ggml_backend_amx_mul_mat(const]=])
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[    if (M == 1) {
        // MB = 1]=]
    [=[    if (M <= FEW) {
        // MB = 1]=])
correct(ggml/src/ggml-cpu/amx/mmq.cpp
    [=[                    int nb_size = std::min(BLOCK_N, N - nb_start); // 32, 64, 96

                    switch (nb_size) {]=]
    [=[                    int nb_size = std::min(BLOCK_N, N - nb_start); // 32, 64, 96

                    for (int row = 0; row < M; ++row) switch (nb_size) {]=])

correct(ggml/src/ggml-cpu/llamafile/sgemm.cpp
    [=[#include "sgemm.h"
]=]
    [=[#include "sgemm.h"
#include "amx/amx.h"
#include "amx/bf16.h"
]=])
correct(ggml/src/ggml-cpu/llamafile/sgemm.cpp
    [=[    case GGML_TYPE_F16: {
]=]
    [=[    case GGML_TYPE_F16: {
#if defined(AMX_BF16)
        static const bool amx = ggml_backend_amx_buffer_type() != nullptr;
        if (amx && (Btype == GGML_TYPE_F16 || Btype == GGML_TYPE_F32)) {
            const auto * weights = (const ggml_fp16_t *) A;
            if (Btype == GGML_TYPE_F16) {
                amx_bf16::multiply_f16(params, m, n, k, weights, lda, (const ggml_fp16_t *) B, ldb, (float *) C, ldc);
            } else {
                amx_bf16::multiply_f16(params, m, n, k, weights, lda, (const float *) B, ldb, (float *) C, ldc);
            }
            return true;
        }
#endif
]=])

# Token times are found by the recognition's own threads; it was always four, which wait for each other in a busy loop.
correct(src/whisper.cpp
    [=[ggml_backend_ptr backend { ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr) };
    ggml_backend_graph_compute(backend.get(), gf);]=]
    [=[ggml_graph_compute_helper(gf, n_threads, nullptr, nullptr);]=])

# The vocabulary's scores, from the largest matrix of the model, are made for the tokens that are asked for, not for each of a
# prompt or of a text that is timed. It also saves 70 MB for each recogniser.
correct(src/whisper.cpp
    [=[    struct ggml_tensor * logits = ggml_mul_mat(ctx0, model.d_te, cur);]=]
    [=[    int first = 0;
    while (first + 1 < n_tokens && batch.logits[first] == 0) {
        ++first;
    }
    cur = ggml_view_2d(ctx0, cur, cur->ne[0], n_tokens - first, cur->nb[1], first*cur->nb[1]);

    struct ggml_tensor * logits = ggml_mul_mat(ctx0, wstate.zh ? model.d_te_zh : model.d_te, cur);]=])
correct(src/whisper.cpp
    [=[        ggml_backend_tensor_get(logits, logits_out.data() + (n_vocab*i), sizeof(float)*(n_vocab*i), sizeof(float)*n_vocab);]=]
    [=[        const size_t row = logits->nb[1]*(i - (n_tokens - logits->ne[1]));
        float * to = logits_out.data() + (n_vocab*i);
        if (wstate.zh) {
            wstate.logits_zh.resize(logits->ne[0]);
            ggml_backend_tensor_get(logits, wstate.logits_zh.data(), row, logits->nb[1]);
            std::fill(to, to + n_vocab, -INFINITY);
            for (size_t j = 0; j < model.zh.size(); ++j) {
                to[model.zh[j]] = wstate.logits_zh[j];
            }
        } else {
            ggml_backend_tensor_get(logits, to, row, logits->nb[1]);
        }]=])

# Where Chinese is recognised only the tokens that Chinese text may hold are scored, a fifth of a multilingual vocabulary:
# the scores were half of the time that a token took, since 28 MB of a base model went through the processor for each.
correct(src/whisper.cpp
    [=[    struct ggml_tensor * d_te;
]=]
    [=[    struct ggml_tensor * d_te;

    // the rows of d_te that Chinese text is written with, and whose they are
    struct ggml_tensor * d_te_zh = nullptr;
    std::vector<int32_t> zh;
]=])
correct(src/whisper.cpp
    [=[struct whisper_state {
]=]
    [=[struct whisper_state {
    // recognises Chinese: only its part of the vocabulary is scored
    bool zh = false;
    std::vector<float> logits_zh;

]=])
correct(src/whisper.cpp
    [=[static ggml_backend_buffer_type_t select_weight_buft(const whisper_hparams & hparams,]=]
    [=[// whether Chinese text may hold the token: Han characters, their punctuation, parts of either, short or frequent Latin
static bool whisper_is_zh(whisper_token id, const std::string & text) {
    if (id < 256) {
        return true; // single bytes, of which anything can be made
    }
    bool ascii = true;
    for (size_t i = 0; i < text.size(); ++i) {
        const uint8_t byte = text[i];
        if (byte < 0x80) {
            continue;
        }
        ascii = false;
        const uint8_t next = i + 1 < text.size() ? text[i + 1] : 0;
        const bool kana = byte == 0xe3 && next >= 0x81 && next <= 0x83;
        if (byte >= 0xc0 && (kana || !(byte == 0xc2 || (byte >= 0xe2 && byte <= 0xe9) || byte == 0xef))) {
            return false;
        }
    }
    return !ascii || id < 5000 || text.size() <= 2;
}

static ggml_backend_buffer_type_t select_weight_buft(const whisper_hparams & hparams,]=])
correct(src/whisper.cpp
    [=[    auto create_tensor = [&](asr_tensor type, asr_system system, ggml_tensor * meta, int layer = 0) -> ggml_tensor * {
]=]
    [=[    if (vocab.is_multilingual()) {
        for (int id = 0; id < hparams.n_vocab; ++id) {
            const auto text = vocab.id_to_token.find(id);
            if (id >= vocab.token_eot || (text != vocab.id_to_token.end() && whisper_is_zh(id, text->second))) {
                model.zh.push_back(id);
            }
        }
        while (model.zh.size() % 32 != 0) {
            model.zh.push_back(model.zh.back()); // whole blocks of the matrix unit
        }
    }

    auto create_tensor = [&](asr_tensor type, asr_system system, ggml_tensor * meta, int layer = 0) -> ggml_tensor * {
]=])
correct(src/whisper.cpp
    [=[const size_t n_tensors = 10 /* input */ +]=]
    [=[const size_t n_tensors = 11 /* input */ +]=])
correct(src/whisper.cpp
    [=[        model.d_ln_w = create_tensor(]=]
    [=[        if (!model.zh.empty()) {
            ggml_tensor * meta = ggml_new_tensor_2d(ctx, wtype, n_text_state, model.zh.size());
            model.d_te_zh = ggml_dup_tensor(get_ctx(select_weight_buft(hparams, meta, GGML_OP_MUL_MAT, buft_list)), meta);
        }

        model.d_ln_w = create_tensor(]=])
correct(src/whisper.cpp
    [=[    for (auto & buf : model.buffers) {
        ggml_backend_buffer_set_usage(buf, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }

    wctx.t_load_us = ggml_time_us() - t_start_us;]=]
    [=[    if (!model.zh.empty()) {
        const size_t row = model.d_te->nb[1];
        std::vector<char> rows(row*model.zh.size());
        for (size_t i = 0; i < model.zh.size(); ++i) {
            ggml_backend_tensor_get(model.d_te, rows.data() + row*i, row*model.zh[i], row);
        }
        ggml_backend_tensor_set(model.d_te_zh, rows.data(), 0, rows.size());
    }

    for (auto & buf : model.buffers) {
        ggml_backend_buffer_set_usage(buf, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }

    wctx.t_load_us = ggml_time_us() - t_start_us;]=])
correct(src/whisper.cpp
    [=[    // auto-detect language if not specified
]=]
    [=[    state->zh = !ctx->model.zh.empty() && params.language != nullptr && strcmp(params.language, "zh") == 0 && !params.detect_language;

    // auto-detect language if not specified
]=])

# The probability of "no speech" is read where the text starts; it was read from what the last utterance had left there.
correct(src/whisper.cpp
    [=[whisper_batch_prep_legacy(state->batch, prompt.data(), prompt.size(), 0, 0);]=]
    [=[whisper_batch_prep_legacy(state->batch, prompt.data(), prompt.size(), 0, 0);
                const size_t i_start = prompt.size() - prompt_init.size();
                state->batch.logits[i_start] = 1;]=])
correct(src/whisper.cpp
    [=[                    whisper_compute_logprobs(state->logits, n_logits, logprobs);
                    whisper_compute_probs(state->logits, n_logits, logprobs, probs);]=]
    [=[                    const auto at_start = state->logits.begin() + i_start*n_logits;
                    const std::vector<float> logits(at_start, at_start + n_logits);
                    whisper_compute_logprobs(logits, n_logits, logprobs);
                    whisper_compute_probs(logits, n_logits, logprobs, probs);]=])

# A recognition that is given up ends within the step under way; it went on to the end of the encoder, a third of a second
# for which somebody else's final line waited.
correct(src/whisper.cpp
    [=[    // clear old results
    auto & result_all = state->result_all;
]=]
    [=[    for (auto & backend : state->backends) {
        ggml_backend_dev_t dev = ggml_backend_get_device(backend);
        ggml_backend_reg_t reg = dev ? ggml_backend_dev_backend_reg(dev) : nullptr;
        auto * set_abort_callback = reg ? (ggml_backend_set_abort_callback_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_abort_callback") : nullptr;
        if (set_abort_callback) {
            set_abort_callback(backend, params.abort_callback, params.abort_callback_user_data);
        }
    }

    // clear old results
    auto & result_all = state->result_all;
]=])
correct(src/whisper.cpp
    [=[        WHISPER_LOG_INFO("DECODER FAILED\n");
        WHISPER_ASSERT(0);]=]
    [=[        ggml_free(gctx);
        return;]=])

# Two loops that compilers do not vectorise, some 8 % of a recognition together: the activation, which looked each value up
# in a table of half precision, and the largest value of a row.
correct(ggml/src/ggml-cpu/vec.h
    [=[inline static void ggml_vec_gelu_f32(const int n, float * y, const float * x) {
    uint16_t t;
    for (int i = 0; i < n; ++i) {]=]
    [=[#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline static __m512 ggml_v_expf(__m512 x);
#endif

inline static void ggml_vec_gelu_f32(const int n, float * y, const float * x) {
    uint16_t t;
    int i = 0;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    const __m512 one = _mm512_set1_ps(1.0f);
    for (; i + 15 < n; i += 16) {
        const __m512 v = _mm512_loadu_ps(x + i);
        const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(v, v), _mm512_set1_ps(GELU_COEF_A), one);
        const __m512 u = _mm512_mul_ps(_mm512_mul_ps(v, cubic), _mm512_set1_ps(-2.0f*SQRT_2_OVER_PI));
        _mm512_storeu_ps(y + i, _mm512_div_ps(v, _mm512_add_ps(one, ggml_v_expf(u))));
    }
#endif
    for (; i < n; ++i) {]=])
correct(ggml/src/ggml-cpu/vec.h
    [=[    float max = -INFINITY;
    for (int i = 0; i < n; ++i) {
        max = MAX(max, x[i]);]=]
    [=[    float max = -INFINITY;
    int i = 0;
#if defined(__AVX512F__)
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (; i + 15 < n; i += 16) {
        most = _mm512_max_ps(most, _mm512_loadu_ps(x + i));
    }
    max = _mm512_reduce_max_ps(most);
#endif
    for (; i < n; ++i) {
        max = MAX(max, x[i]);]=])

# A beam follows the likeliest tokens; it drew them at random. At the start all hypotheses are one, so that the same token
# stands there more than once.
correct(src/whisper.cpp
    [=[    std::discrete_distribution<> dist(probs.begin(), probs.end());

    for (int i = 0; i < k; ++i) {
        const auto id = dist(decoder.rng);]=]
    [=[    for (int i = 0; i < k; ++i) {
        const auto id = logits_id[i].second;]=])
correct(src/whisper.cpp
    [=[whisper_sequence_tokens_equal(beam_candidates[cur_c].sequence, cur.sequence) && i > 0)]=]
    [=[whisper_sequence_tokens_equal(beam_candidates[cur_c].sequence, cur.sequence))]=])

# The spectra of the sound took a tenth of a recognition.
correct(src/whisper.cpp
    [=[static void log_mel_spectrogram_worker_thread(]=]
    [=[// The spectrum of a window of 400 real values: four interleaved ones of 100, each summed whole and folded on its middle, so
// that the table stays in the first cache. The recursion above ends in 16 plain transforms of 25.
static void spectrum(const float * in, float * out) {
    constexpr int parts = 4;
    constexpr int size  = WHISPER_N_FFT/parts;
    constexpr int half  = size/2;
    constexpr int lanes = (half + 16)/16*16;

    struct waves {
        float re[half + 1][lanes];
        float im[half + 1][lanes];
        float turn_re[parts][WHISPER_N_FFT/2 + 1];
        float turn_im[parts][WHISPER_N_FFT/2 + 1];
        waves() {
            for (int n = 0; n <= half; ++n) {
                for (int k = 0; k < lanes; ++k) {
                    re[n][k] =  cos(2*M_PI*(n*k % size)/size);
                    im[n][k] = -sin(2*M_PI*(n*k % size)/size);
                }
            }
            for (int p = 0; p < parts; ++p) {
                for (int k = 0; k <= WHISPER_N_FFT/2; ++k) {
                    turn_re[p][k] =  cos(2*M_PI*p*k/WHISPER_N_FFT);
                    turn_im[p][k] = -sin(2*M_PI*p*k/WHISPER_N_FFT);
                }
            }
        }
    };
    static const waves table;

    float re[parts][lanes] = {};
    float im[parts][lanes] = {};
    for (int n = 0; n <= half; ++n) {
        for (int p = 0; p < parts; ++p) {
            const float here  = in[parts*n + p];
            const float there = n > 0 && n < half ? in[parts*(size - n) + p] : 0;
            for (int k = 0; k < lanes; ++k) {
                re[p][k] += (here + there)*table.re[n][k];
                im[p][k] += (here - there)*table.im[n][k];
            }
        }
    }
    for (int k = 0; k <= WHISPER_N_FFT/2; ++k) {
        const int  from     = k % size <= half ? k % size : size - k % size;
        const bool mirrored = k % size > half;
        float sum_re = 0;
        float sum_im = 0;
        for (int p = 0; p < parts; ++p) {
            const float a = re[p][from];
            const float b = mirrored ? -im[p][from] : im[p][from];
            sum_re += a*table.turn_re[p][k] - b*table.turn_im[p][k];
            sum_im += a*table.turn_im[p][k] + b*table.turn_re[p][k];
        }
        out[2*k + 0] = sum_re;
        out[2*k + 1] = sum_im;
    }
}

static void log_mel_spectrogram_worker_thread(]=])
correct(src/whisper.cpp
    [=[fft(fft_in.data(), frame_size, fft_out.data());]=]
    [=[spectrum(fft_in.data(), fft_out.data());]=])

# The loops outside ggml's own folder, too, use what the processor has.
if(GGML_NATIVE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT MSVC)
    add_compile_options(-march=native)
endif()

if(GGML_VULKAN)
    # The settings of a validation layer, which nobody asks for, need newer headers of Vulkan than Debian 12 has.
    correct(ggml/src/ggml-vulkan/ggml-vulkan.cpp
        [=[    VkBool32 enable_best_practice = layer_settings;
    std::vector<vk::LayerSettingEXT> settings = {
        {
            "VK_LAYER_KHRONOS_validation",
            "validate_best_practices",
            vk::LayerSettingTypeEXT::eBool32,
            1,
            &enable_best_practice
        },
    };
    vk::LayerSettingsCreateInfoEXT layer_setting_info(settings);
    vk::InstanceCreateInfo instance_create_info(vk::InstanceCreateFlags{}, &app_info, layers, extensions, &layer_setting_info);]=]
        [=[    vk::InstanceCreateInfo instance_create_info(vk::InstanceCreateFlags{}, &app_info, layers, extensions);]=])

    # The bindings that the crate ships, which spare the build libclang, lack what whisper-rs asks of Vulkan.
    set(bindings "$ENV{OUT_DIR}/bindings.rs")
    file(READ "${bindings}" text)
    string(FIND "${text}" "ggml_backend_vk_get_device_count" at)
    if(at EQUAL -1)
        file(APPEND "${bindings}" [=[
unsafe extern "C" {
    pub fn ggml_backend_vk_get_device_count() -> ::std::os::raw::c_int;
    pub fn ggml_backend_vk_get_device_description(device: ::std::os::raw::c_int, description: *mut ::std::os::raw::c_char, description_size: usize);
    pub fn ggml_backend_vk_get_device_memory(device: ::std::os::raw::c_int, free: *mut usize, total: *mut usize);
    pub fn ggml_backend_vk_buffer_type(dev_num: usize) -> ggml_backend_buffer_type_t;
}
]=])
    endif()
endif()
