// What attention's programs share: heads of samples, and turned rows.

#pragma once

#include <cmath>
#include <limits>

#include "common.h"

using Lengths = ffi::Buffer<ffi::S32>;

constexpr int MOST_CHANNELS = 256;  // of a head

// Rows of V vectors: what is turned, or scores.
template <int N, int V = VECTORS>
struct alignas(64) Lanes {
  static constexpr int COUNT = V * WIDTH;
  float rows[N][COUNT];

  operator Output() { return {rows[0], COUNT}; }
  operator Input() const { return {rows[0], COUNT}; }
  float* operator[](int row) { return rows[row]; }
};

template <int V = VECTORS>
using Turned = Lanes<MOST_CHANNELS, V>;

// [channel][lane] of rows, times a factor.
template <int V>
void turn(Input rows, int count, int channels, float factor, Turned<V>& turned) {
  std::memset(turned[0], 0, channels * sizeof(turned.rows[0]));
  for (int lane = 0; lane < count; ++lane) {
    for (int c = 0; c < channels; ++c) turned[c][lane] = rows[lane][c] * factor;
  }
}

inline void clear(Output rows, int count, int channels) {
  for (int row = 0; row < count; ++row) std::fill_n(rows[row], channels, 0.0f);
}

// One head of one sample.
struct Head {
  int channels, keys;    // keys: how many can be seen
  float scale, scale_2;  // of scores, and of those to base 2
  Input q, k, v;
};

// All heads of all samples.
struct Problem {
  int64_t samples, queries, keys, heads, channels;
  const float *q, *k, *v;
  const int32_t* lengths;

  Problem(Floats q, Floats k, Floats v, Lengths lengths)
      : samples(q.dimensions()[0]),
        queries(q.dimensions()[1]),
        keys(k.dimensions()[1]),
        heads(q.dimensions()[2]),
        channels(q.dimensions()[3]),
        q(q.typed_data()),
        k(k.typed_data()),
        v(v.typed_data()),
        lengths(lengths.typed_data()) {}

  // One head of an array [samples, length, heads, width].
  template <typename Float>
  Matrix<Float> part(Float* data, int64_t length, int64_t width, int64_t b, int64_t n) const {
    return {data + (b * length * heads + n) * width, heads * width};
  }

  Head head(int64_t b, int64_t n) const {
    const float scale = 1 / std::sqrt(static_cast<float>(channels));
    return {static_cast<int>(channels),
            static_cast<int>(std::min<int64_t>(lengths[b], keys)),
            scale,
            scale * LOG2_E,
            part(q, queries, channels, b, n),
            part(k, keys, channels, b, n),
            part(v, keys, channels, b, n)};
  }
};

// Arguments of attention's programs.
inline auto attention() { return program().Arg<Floats>().Arg<Lengths>(); }
