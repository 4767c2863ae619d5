# Corrections to whisper.cpp 1.8.3 and its ggml, made on the copy that cmake builds; whisper-rs-sys hands this file on as
# CMAKE_PROJECT_INCLUDE. Each names the text that it replaces: where a newer whisper.cpp reads otherwise, the build stops
# and asks for a look at whether the correction is still needed.

if(NOT PROJECT_NAME STREQUAL "whisper.cpp")
    return()
endif()

foreach(file ggml/src/ggml-cpu/amx/amx.cpp ggml/src/ggml-cpu/vec.h src/whisper.cpp)
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

    struct ggml_tensor * logits = ggml_mul_mat(ctx0, model.d_te, cur);]=])
correct(src/whisper.cpp
    [=[sizeof(float)*(n_vocab*i), sizeof(float)*n_vocab);]=]
    [=[sizeof(float)*n_vocab*(i - (n_tokens - logits->ne[1])), sizeof(float)*n_vocab);]=])

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
