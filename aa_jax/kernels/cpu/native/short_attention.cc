// Scaled dot-product attention over short sequences, such as the frames of a clip.
//
// All scores of a head are held at once, one row per key, queries across the lanes of vectors; so
// only queries and gradients of results are turned, and products of scores with rows of a head have
// channels across the lanes. The backward pass finds the weights again and reads nothing of the
// forward pass.

#include "attention.h"

namespace {

constexpr int MOST_ROWS = 32;  // queries, and keys

template <int V>
using Scores = Lanes<MOST_ROWS, V>;

// Calls task(V) for the fewest vectors, of a power of two, that have a lane for each row.
template <int V = 1, typename Task>
void with_vectors(int rows, Task task) {
  if constexpr (V * WIDTH < MOST_ROWS) {
    if (rows > V * WIDTH) return with_vectors<2 * V>(rows, task);
  }
  task(std::integral_constant<int, V>());
}

template <int V>
void find_weights(const Head& head, int queries, Scores<V>& weights) {
  Turned<V> turned;
  turn(head.q, queries, head.channels, head.scale_2, turned);
  multiply<false, V>(head.k, head.keys, turned, head.channels, weights);
  for (int lane = 0; lane < V * WIDTH; lane += WIDTH) {
    Vector largest = all(-std::numeric_limits<float>::infinity()), total = {};
    for (int key = 0; key < head.keys; ++key) {
      const Vector score = load(weights[key] + lane);
      largest = score > largest ? score : largest;
    }
    for (int key = 0; key < head.keys; ++key) {
      const Vector weight = power_of_2(load(weights[key] + lane) - largest);
      store(weights[key] + lane, weight);
      total += weight;
    }
    const Vector of_all = 1 / total;
    for (int key = 0; key < head.keys; ++key) {
      store(weights[key] + lane, load(weights[key] + lane) * of_all);
    }
  }
}

template <int V>
void forward_head(const Head& head, int queries, Output out) {
  Scores<V> weights;
  find_weights(head, queries, weights);
  multiply_whole<true>(weights, queries, head.v, head.keys, head.channels, out);
}

template <int V>
void backward_head(const Head& head, int queries, Input gradient, Output of_q, Output of_k,
                   Output of_v) {
  Turned<V> turned;
  Scores<V> weights, of_scores;
  find_weights(head, queries, weights);
  turn(gradient, queries, head.channels, 1, turned);
  multiply<false, V>(head.v, head.keys, turned, head.channels, of_scores);
  for (int lane = 0; lane < V * WIDTH; lane += WIDTH) {
    Vector mean = {};
    for (int key = 0; key < head.keys; ++key) {
      mean += load(weights[key] + lane) * load(of_scores[key] + lane);
    }
    for (int key = 0; key < head.keys; ++key) {
      const Vector weight = load(weights[key] + lane) * head.scale;
      store(of_scores[key] + lane, weight * (load(of_scores[key] + lane) - mean));
    }
  }
  multiply_whole<true>(of_scores, queries, head.k, head.keys, head.channels, of_q);
  multiply_whole<false>(of_scores, head.keys, head.q, queries, head.channels, of_k);
  multiply_whole<false>(weights, head.keys, gradient, queries, head.channels, of_v);
}

ffi::Error forward(ffi::ThreadPool threads, Floats q, Floats k, Floats v, Lengths lengths,
                   ffi::Result<Floats> out) {
  const Problem p(q, k, v, lengths);
  float* out_data = out->typed_data();
  in_parallel(threads, p.samples * p.heads, [=](int64_t i) {
    const int64_t b = i / p.heads, n = i % p.heads;
    with_vectors(p.queries, [&](auto vectors) {
      forward_head<vectors>(p.head(b, n), p.queries, p.part(out_data, p.queries, p.channels, b, n));
    });
  });
  return ffi::Error::Success();
}

ffi::Error backward(ffi::ThreadPool threads, Floats q, Floats k, Floats v, Lengths lengths,
                    Floats gradient, ffi::Result<Floats> of_q, ffi::Result<Floats> of_k,
                    ffi::Result<Floats> of_v) {
  const Problem p(q, k, v, lengths);
  const float* gradient_data = gradient.typed_data();
  float *of_q_data = of_q->typed_data(), *of_k_data = of_k->typed_data();
  float* of_v_data = of_v->typed_data();
  in_parallel(threads, p.samples * p.heads, [=](int64_t i) {
    const int64_t b = i / p.heads, n = i % p.heads;
    const Head head = p.head(b, n);
    const Output of_k = p.part(of_k_data, p.keys, p.channels, b, n);
    const Output of_v = p.part(of_v_data, p.keys, p.channels, b, n);
    with_vectors(p.queries, [&](auto vectors) {
      backward_head<vectors>(head, p.queries, p.part(gradient_data, p.queries, p.channels, b, n),
                             p.part(of_q_data, p.queries, p.channels, b, n), of_k, of_v);
    });
    clear(of_k.from(head.keys), p.keys - head.keys, p.channels);
    clear(of_v.from(head.keys), p.keys - head.keys, p.channels);
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_short_attention_forward, forward, attention().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_short_attention_backward, backward,
                              attention().Arg<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>());
