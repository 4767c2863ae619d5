// Products of matrices on Intel's matrix unit (AMX) in bfloat16, sums in single precision, for ggml's CPU backend: the
// whole sum of a 32 x 32 block stays in the unit's registers. ggml's own kernel for q8_0 takes it out after each block of
// 32 values to apply the scales, and its half precision product does not use the unit.
#pragma once

#if defined(__AMX_TILE__) && defined(__AMX_INT8__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define AMX_BF16

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "ggml-cpu-impl.h"

namespace amx_bf16 {

constexpr int ROWS  = 16;       // rows of a tile, and pairs of values in one
constexpr int STEP  = 2*ROWS;   // values of a row that one multiplication sums
constexpr int BLOCK = 2*ROWS;   // rows of either matrix worked on at once
constexpr int DEPTH = 512;      // values of a row worked on at once: a block of weights, 32 KB, stays in the first cache

// Tiles of 16 rows of 64 bytes while it lives. What was set before comes back: ggml sets its own once per thread.
class tiles {
    alignas(64) uint8_t before[64];

public:
    tiles() {
        _tile_storeconfig(before);
        alignas(64) uint8_t whole[64] = { 1 };
        for (int tile = 0; tile < 8; ++tile) {
            whole[16 + 2*tile] = 64;
            whole[48 + tile]   = ROWS;
        }
        _tile_loadconfig(whole);
    }
    ~tiles() { _tile_loadconfig(before); }
};

inline __m512i load(const float * x, int n) {
    const __mmask16 low  = n >= 16 ? 0xffff : (1 << n) - 1;
    const __mmask16 high = n >= 32 ? 0xffff : n <= 16 ? 0 : (1 << (n - 16)) - 1;
    return (__m512i) _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(high, x + 16), _mm512_maskz_loadu_ps(low, x));
}

inline __m512i load(const uint16_t * x, int n) {
    const __m512i half = _mm512_maskz_loadu_epi16(n >= 32 ? 0xffffffff : (1u << n) - 1, x);
    return (__m512i) _mm512_cvtne2ps_pbh(_mm512_cvtph_ps(_mm512_extracti64x4_epi64(half, 1)), _mm512_cvtph_ps(_mm512_castsi512_si256(half)));
}

// Writes 16 rows of 16 pairs as 16 rows of the pairs' columns, the order in which the unit wants its second operand.
inline void transpose(__m512i * r, uint16_t * out) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i]     = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i]     = _mm512_unpacklo_epi64(t[i],     t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i],     t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        t[i]      = _mm512_shuffle_i32x4(r[i],     r[i + 4],  0x88);
        t[i + 4]  = _mm512_shuffle_i32x4(r[i],     r[i + 4],  0xdd);
        t[i + 8]  = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; ++i) {
        _mm512_storeu_si512(out + (i     )*STEP, _mm512_shuffle_i32x4(t[i],     t[i + 8],  0x88));
        _mm512_storeu_si512(out + (i + 4 )*STEP, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88));
        _mm512_storeu_si512(out + (i + 8 )*STEP, _mm512_shuffle_i32x4(t[i],     t[i + 8],  0xdd));
        _mm512_storeu_si512(out + (i + 12)*STEP, _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd));
    }
}

// Adds to (or, at the start of the depth, sets) one block of out: BLOCK columns by 16 or 32 rows.
template <bool both>
inline void block(const uint16_t * rows, int row_size, const uint16_t * weights, int steps, bool start, float * out, int out_size) {
    const int out_bytes = out_size*sizeof(float);
    if (start) {
        _tile_zero(4);
        _tile_zero(5);
        if (both) {
            _tile_zero(6);
            _tile_zero(7);
        }
    } else {
        _tile_loadd(4, out, out_bytes);
        _tile_loadd(5, out + ROWS, out_bytes);
        if (both) {
            _tile_loadd(6, out + ROWS*out_size, out_bytes);
            _tile_loadd(7, out + ROWS*out_size + ROWS, out_bytes);
        }
    }
    for (int step = 0; step < steps; ++step) {
        _tile_loadd(0, rows + step*STEP, row_size*sizeof(uint16_t));
        _tile_loadd(2, weights + step*STEP*BLOCK, STEP*sizeof(uint16_t));
        _tile_dpbf16ps(4, 0, 2);
        _tile_loadd(3, weights + step*STEP*BLOCK + STEP*ROWS, STEP*sizeof(uint16_t));
        _tile_dpbf16ps(5, 0, 3);
        if (both) {
            _tile_loadd(1, rows + ROWS*row_size + step*STEP, row_size*sizeof(uint16_t));
            _tile_dpbf16ps(6, 1, 2);
            _tile_dpbf16ps(7, 1, 3);
        }
    }
    _tile_stored(4, out, out_bytes);
    _tile_stored(5, out + ROWS, out_bytes);
    if (both) {
        _tile_stored(6, out + ROWS*out_size, out_bytes);
        _tile_stored(7, out + ROWS*out_size + ROWS, out_bytes);
    }
}

// out[j*out_size + i] = sum over k of weight i and row j, for i < m and j < n: this thread's share of the weights.
// convert(j, k, left) gives 32 values of row j from k, of which left are there; pack(i, k, to) writes 32 values from k
// of 16 weights from i, transposed.
template <typename Convert, typename Pack>
void multiply(const ggml_compute_params * params, int m, int n, int k, float * out, int out_size, Convert convert, Pack pack) {
    const int depth = (k + STEP - 1)/STEP*STEP;
    // A step more: rows that are a multiple of 2 KB apart would fall on the same few places of the first cache.
    const int row_size = depth + STEP;

    static thread_local std::vector<uint16_t> rows;
    rows.resize(std::max(rows.size(), (size_t) (n + BLOCK)*row_size));
    for (int j = 0; j < n; ++j) {
        for (int at = 0; at < k; at += STEP) {
            _mm512_storeu_si512(&rows[j*row_size + at], convert(j, at, k - at));
        }
    }

    alignas(64) uint16_t weights[DEPTH*BLOCK];
    alignas(64) float edge[BLOCK*BLOCK];
    tiles whole;

    const int blocks = (m + BLOCK - 1)/BLOCK;
    for (int b = params->ith; b < blocks; b += params->nth) {
        const int i = b*BLOCK;
        const int columns = std::min(BLOCK, m - i);
        for (int from = 0; from < depth; from += DEPTH) {
            const int steps = std::min(DEPTH, depth - from)/STEP;
            for (int step = 0; step < steps; ++step) {
                for (int half = 0; half < 2; ++half) {
                    pack(i + half*ROWS, from + step*STEP, weights + (2*step + half)*STEP*ROWS);
                }
            }
            for (int j = 0; j < n; j += BLOCK) {
                const int count = std::min(BLOCK, n - j);
                const bool inside = columns == BLOCK && count % ROWS == 0;
                float * here = out + j*out_size + i;
                if (!inside && from > 0) {
                    for (int r = 0; r < count; ++r) {
                        std::copy(here + r*out_size, here + r*out_size + columns, edge + r*BLOCK);
                    }
                }
                float * to = inside ? here : edge;
                const int to_size = inside ? out_size : BLOCK;
                if (count > ROWS) {
                    block<true>(&rows[j*row_size + from], row_size, weights, steps, from == 0, to, to_size);
                } else {
                    block<false>(&rows[j*row_size + from], row_size, weights, steps, from == 0, to, to_size);
                }
                if (!inside) {
                    for (int r = 0; r < count; ++r) {
                        std::copy(edge + r*BLOCK, edge + r*BLOCK + columns, here + r*out_size);
                    }
                }
            }
        }
    }
}

// The weights in half precision, the rows in half or single: attention and convolutions.
template <typename T>
inline void multiply_f16(const ggml_compute_params * params, int m, int n, int k, const uint16_t * weights, int weights_size,
                         const T * rows, int rows_size, float * out, int out_size) {
    multiply(params, m, n, k, out, out_size,
        [=](int j, int at, int left) { return load(rows + (int64_t) j*rows_size + at, left); },
        [=](int i, int at, uint16_t * to) {
            __m512i r[ROWS];
            for (int c = 0; c < ROWS; ++c) {
                r[c] = i + c < m ? load(weights + (int64_t) (i + c)*weights_size + at, k - at) : _mm512_setzero_si512();
            }
            transpose(r, to);
        });
}

// Weights of q8_0 as ggml packs them for the unit (of each 16 rows and 32 columns: groups of 4 columns' integers, then 16
// scales in half precision, each such tile tile_size bytes apart); rows in single precision.
inline void multiply_q8_0(const ggml_compute_params * params, int m, int n, int k, const char * weights, int tile_size,
                          const float * rows, float * out, int out_size) {
    multiply(params, m, n, k, out, out_size,
        [=](int j, int at, int left) { return load(rows + (int64_t) j*k + at, left); },
        [=](int i, int at, uint16_t * to) {
            const char * tile = weights + ((int64_t) i/ROWS*(k/STEP) + at/STEP)*tile_size;
            // the same place of the block that comes next
            for (int line = 0; line < tile_size; line += 64) {
                _mm_prefetch(tile + 2*(k/STEP)*tile_size + line, _MM_HINT_T1);
            }
            const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) (tile + ROWS*STEP)));
            for (int r = 0; r < ROWS/2; ++r) {
                const __m512i four = _mm512_loadu_si512(tile + r*64);
                const auto value = [&](int shift) {
                    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(four, shift), 24)), scale);
                };
                const auto pair = [](__m512 first, __m512 second) {
                    const __m512i half = _mm512_set1_epi32(0x8000);
                    return _mm512_mask_blend_epi16(0xaaaaaaaa,
                        _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(first), half), 16),
                        _mm512_add_epi32(_mm512_castps_si512(second), half));
                };
                _mm512_storeu_si512(to + (2*r    )*STEP, pair(value(24), value(16)));
                _mm512_storeu_si512(to + (2*r + 1)*STEP, pair(value(8),  value(0)));
            }
        });
}

}  // namespace amx_bf16

#endif
