// Scaled dot-product attention on a CPU, forward and backward.
//
// As FlashAttention (Dao et al. 2022), scores exist for a block of queries and keys at a time, here
// small enough for the caches of one core. One side of a block lies across the lanes of vectors:
// queries for results and their own gradient, keys for the gradients of keys and values. It is
// turned once per block ([channel][lane]); the other side's rows are read where they lie, number by
// number. So no matrix of scores is ever turned.

#include <cmath>
#include <limits>

#include "common.h"

namespace {

using Lengths = ffi::Buffer<ffi::S32>;

constexpr int MOST_CHANNELS = 256;  // of a head
constexpr int BLOCK = 64;           // rows whose scores are held at a time

// Rows of vectors: what is turned, or scores.
template <int N>
struct alignas(64) Lanes {
  float rows[N][LANES];

  operator Output() { return {rows[0], LANES}; }
  operator Input() const { return {rows[0], LANES}; }
  float* operator[](int row) { return rows[row]; }
};

using Turned = Lanes<MOST_CHANNELS>;
using Scores = Lanes<BLOCK>;

// [channel][lane] of rows, times a factor.
void turn(Input rows, int count, int channels, float factor, Turned& turned) {
  std::memset(turned[0], 0, channels * sizeof(turned.rows[0]));
  for (int lane = 0; lane < count; ++lane) {
    for (int c = 0; c < channels; ++c) turned[c][lane] = rows[lane][c] * factor;
  }
}

void clear(Output rows, int count, int channels) {
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
auto attention() { return program().Arg<Floats>().Arg<Lengths>(); }

// The way back.
void turn_back(Turned& turned, int count, int channels, float factor, Output rows) {
  for (int lane = 0; lane < count; ++lane) {
    for (int c = 0; c < channels; ++c) rows[lane][c] = turned[c][lane] * factor;
  }
}

// One number per lane.
void spread(Input rows, int count, float* lanes) {
  for (int lane = 0; lane < LANES; ++lane) lanes[lane] = lane < count ? *rows[lane] : 0;
}

// --- blocks of LANES queries or keys ------------------------------------------------------------

void forward_block(const Head& head, int first, int count, Output out, Output log_totals) {
  Turned queries, sums;
  Scores weights;
  alignas(64) float largest[LANES], total[LANES] = {};
  turn(head.q.from(first), count, head.channels, head.scale_2, queries);
  std::memset(sums[0], 0, head.channels * sizeof(sums.rows[0]));
  std::fill_n(largest, LANES, -std::numeric_limits<float>::infinity());
  for (int key = 0; key < head.keys; key += BLOCK) {
    const int rows = std::min(BLOCK, head.keys - key);
    multiply(head.k.from(key), rows, queries, head.channels, weights);
    for (int lane = 0; lane < LANES; lane += WIDTH) {
      const Vector before = load(largest + lane);
      Vector now = before, sum = {};
      for (int r = 0; r < rows; ++r) {
        const Vector score = load(weights[r] + lane);
        now = score > now ? score : now;
      }
      for (int r = 0; r < rows; ++r) {
        const Vector weight = power_of_2(load(weights[r] + lane) - now);
        store(weights[r] + lane, weight);
        sum += weight;
      }
      const Vector rescale = power_of_2(before - now);
      for (int c = 0; c < head.channels; ++c) {
        store(sums[c] + lane, load(sums[c] + lane) * rescale);
      }
      store(total + lane, load(total + lane) * rescale + sum);
      store(largest + lane, now);
    }
    multiply<true>(head.v.from(key), head.channels, weights, rows, sums, true);
  }
  for (int c = 0; c < head.channels; ++c) {
    for (int lane = 0; lane < LANES; ++lane) sums[c][lane] /= total[lane];
  }
  turn_back(sums, count, head.channels, 1, out.from(first));
  for (int lane = 0; lane < count; ++lane) {
    *log_totals[first + lane] = largest[lane] + std::log2(total[lane]);
  }
}

// What the backward pass reads beside queries, keys and values: the result's gradient, the forward
// pass' logarithms, and what every score's gradient loses.
struct Saved {
  Input gradient, log_totals, means;
};

void query_gradient_block(const Head& head, const Saved& saved, int first, int count, Output of_q) {
  Turned queries, gradients, sums;
  Scores weights, of_weights;
  alignas(64) float log_total[LANES], mean[LANES];
  turn(head.q.from(first), count, head.channels, head.scale_2, queries);
  turn(saved.gradient.from(first), count, head.channels, 1, gradients);
  std::memset(sums[0], 0, head.channels * sizeof(sums.rows[0]));
  spread(saved.log_totals.from(first), count, log_total);
  spread(saved.means.from(first), count, mean);
  for (int key = 0; key < head.keys; key += BLOCK) {
    const int rows = std::min(BLOCK, head.keys - key);
    multiply(head.k.from(key), rows, queries, head.channels, weights);
    multiply(head.v.from(key), rows, gradients, head.channels, of_weights);
    for (int r = 0; r < rows; ++r) {
      for (int lane = 0; lane < LANES; lane += WIDTH) {
        const Vector weight = power_of_2(load(weights[r] + lane) - load(log_total + lane));
        float* of_weight = of_weights[r] + lane;
        store(of_weight, weight * (load(of_weight) - load(mean + lane)));
      }
    }
    multiply<true>(head.k.from(key), head.channels, of_weights, rows, sums, true);
  }
  turn_back(sums, count, head.channels, head.scale, of_q.from(first));
}

void key_gradient_block(const Head& head, int queries, const Saved& saved, int first, int count,
                        Output of_k, Output of_v) {
  Turned keys, values, k_sums, v_sums;
  Scores weights, of_weights;
  turn(head.k.from(first), count, head.channels, head.scale_2, keys);
  turn(head.v.from(first), count, head.channels, 1, values);
  std::memset(k_sums[0], 0, head.channels * sizeof(k_sums.rows[0]));
  std::memset(v_sums[0], 0, head.channels * sizeof(v_sums.rows[0]));
  for (int query = 0; query < queries; query += BLOCK) {
    const int rows = std::min(BLOCK, queries - query);
    const Input q = head.q.from(query), gradient = saved.gradient.from(query);
    multiply(q, rows, keys, head.channels, weights);
    multiply(gradient, rows, values, head.channels, of_weights);
    for (int r = 0; r < rows; ++r) {
      const float log_total = *saved.log_totals[query + r], mean = *saved.means[query + r];
      for (int lane = 0; lane < LANES; lane += WIDTH) {
        const Vector weight = power_of_2(load(weights[r] + lane) - log_total);
        float* of_weight = of_weights[r] + lane;
        store(weights[r] + lane, weight);
        store(of_weight, weight * (load(of_weight) - mean));
      }
    }
    multiply<true>(gradient, head.channels, weights, rows, v_sums, true);
    multiply<true>(q, head.channels, of_weights, rows, k_sums, true);
  }
  turn_back(k_sums, count, head.channels, head.scale, of_k.from(first));
  turn_back(v_sums, count, head.channels, 1, of_v.from(first));
}

// --- all samples and heads ----------------------------------------------------------------------

// task(sample, head, first row, rows) of all blocks of LANES rows of a length.
template <typename Task>
void over_blocks(ffi::ThreadPool threads, const Problem& p, int64_t length, Task task) {
  const int64_t per_head = parts(length, LANES), heads = p.heads;
  in_parallel(threads, p.samples * heads * per_head, [=](int64_t i) {
    const int64_t first = i % per_head * LANES;
    const int count = std::min<int64_t>(LANES, length - first);
    task(i / per_head / heads, i / per_head % heads, first, count);
  });
}

ffi::Error forward(ffi::ThreadPool threads, Floats q, Floats k, Floats v, Lengths lengths,
                   ffi::Result<Floats> out, ffi::Result<Floats> log_totals) {
  const Problem p(q, k, v, lengths);
  float *out_data = out->typed_data(), *log_data = log_totals->typed_data();
  over_blocks(threads, p, p.queries, [=](int64_t b, int64_t n, int first, int count) {
    forward_block(p.head(b, n), first, count, p.part(out_data, p.queries, p.channels, b, n),
                  p.part(log_data, p.queries, 1, b, n));
  });
  return ffi::Error::Success();
}

Saved saved(const Problem& p, Floats gradient, Floats log_totals, Floats means, int64_t b,
            int64_t n) {
  return {p.part<const float>(gradient.typed_data(), p.queries, p.channels, b, n),
          p.part<const float>(log_totals.typed_data(), p.queries, 1, b, n),
          p.part<const float>(means.typed_data(), p.queries, 1, b, n)};
}

ffi::Error query_gradient(ffi::ThreadPool threads, Floats q, Floats k, Floats v, Lengths lengths,
                          Floats gradient, Floats log_totals, Floats means,
                          ffi::Result<Floats> of_q) {
  const Problem p(q, k, v, lengths);
  float* of_q_data = of_q->typed_data();
  over_blocks(threads, p, p.queries, [=](int64_t b, int64_t n, int first, int count) {
    query_gradient_block(p.head(b, n), saved(p, gradient, log_totals, means, b, n), first, count,
                         p.part(of_q_data, p.queries, p.channels, b, n));
  });
  return ffi::Error::Success();
}

ffi::Error key_gradients(ffi::ThreadPool threads, Floats q, Floats k, Floats v, Lengths lengths,
                         Floats gradient, Floats log_totals, Floats means, ffi::Result<Floats> of_k,
                         ffi::Result<Floats> of_v) {
  const Problem p(q, k, v, lengths);
  float *of_k_data = of_k->typed_data(), *of_v_data = of_v->typed_data();
  over_blocks(threads, p, p.keys, [=](int64_t b, int64_t n, int first, int count) {
    const Output of_k = p.part(of_k_data, p.keys, p.channels, b, n);
    const Output of_v = p.part(of_v_data, p.keys, p.channels, b, n);
    const Head head = p.head(b, n);
    const int seen = std::clamp(head.keys - first, 0, count);
    if (seen) {
      key_gradient_block(head, p.queries, saved(p, gradient, log_totals, means, b, n), first, seen,
                         of_k, of_v);
    }
    clear(of_k.from(first + seen), count - seen, p.channels);
    clear(of_v.from(first + seen), count - seen, p.channels);
  });
  return ffi::Error::Success();
}

auto gradients() { return attention().Arg<Floats>().Arg<Floats>().Arg<Floats>(); }

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_attention_forward, forward,
                              attention().Ret<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_attention_query_gradient, query_gradient,
                              gradients().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_attention_key_gradients, key_gradients,
                              gradients().Ret<Floats>().Ret<Floats>());
