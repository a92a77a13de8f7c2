// What happens to tokens between products of matrices, on a CPU: GEGLU and LayerNorm, forward and
// backward, each in one pass over memory.
//
// Arrays are [tokens, channels], channels multiples of 16.

#include <cmath>

#include "common.h"

namespace {

constexpr int64_t SOME = 64;  // tokens that a core takes at a time

// task(first, after last) for some tokens at a time.
template <typename Task>
void over_tokens(ffi::ThreadPool threads, int64_t tokens, Task task) {
  in_parallel(threads, parts(tokens, SOME),
              [=](int64_t i) { task(i * SOME, std::min(tokens, (i + 1) * SOME)); });
}

// --- GEGLU: value * gate * Phi(gate) ------------------------------------------------------------

struct Normal {
  Vector density, below;  // of the standard normal distribution; below: Phi
};

// Phi within 2e-7: its part beyond |x| is the density times a polynomial of 1 / (1 + 0.39 |x|),
// fitted to be right within 1e-8.
Normal normal(Vector x) {
  const Vector size = x < 0 ? -x : x;
  const Vector bell = power_of_2(x * x * (-0.5f * LOG2_E));
  const Vector t = 1 / (1 + 0.39f * size);
  Vector y = all(5.38467065e-2f);
  y = y * t - 2.58242522e-1f;
  y = y * t + 3.75166515e-1f;
  y = y * t - 1.66340486e-2f;
  y = y * t + 1.94436233e-1f;
  y = y * t + 1.51427127e-1f;
  const Vector beyond = y * t * bell;
  return {bell * 0.398942280f, x < 0 ? beyond : 1 - beyond};
}

// h [t, 2 f], to which a bias [2 f] is to be added, holds values and then gates.
ffi::Error geglu(ffi::ThreadPool threads, Floats h, Floats bias, ffi::Result<Floats> y) {
  const int64_t features = y->dimensions()[1];
  const Input of_h{h.typed_data(), 2 * features};
  const Output of_y{y->typed_data(), features};
  const float* to_add = bias.typed_data();
  over_tokens(threads, y->dimensions()[0], [=](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      const float* row = of_h[token];
      for (int64_t f = 0, g = features; f < features; f += WIDTH, g += WIDTH) {
        const Vector gate = load(row + g) + load(to_add + g);
        store(of_y[token] + f, (load(row + f) + load(to_add + f)) * gate * normal(gate).below);
      }
    }
  });
  return ffi::Error::Success();
}

ffi::Error geglu_gradient(ffi::ThreadPool threads, Floats h, Floats bias, Floats gradient,
                          ffi::Result<Floats> of_h) {
  const int64_t features = gradient.dimensions()[1];
  const Input rows{h.typed_data(), 2 * features}, gradients{gradient.typed_data(), features};
  const Output of_rows{of_h->typed_data(), 2 * features};
  const float* to_add = bias.typed_data();
  over_tokens(threads, gradient.dimensions()[0], [=](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      const float* row = rows[token];
      for (int64_t f = 0, g = features; f < features; f += WIDTH, g += WIDTH) {
        const Vector value = load(row + f) + load(to_add + f);
        const Vector gate = load(row + g) + load(to_add + g);
        const Vector of_y = load(gradients[token] + f);
        const Normal n = normal(gate);
        store(of_rows[token] + f, of_y * gate * n.below);
        store(of_rows[token] + g, of_y * value * (n.below + gate * n.density));
      }
    }
  });
  return ffi::Error::Success();
}

// --- LayerNorm ----------------------------------------------------------------------------------

float sum(Vector x) {
  float total = 0;
  for (int i = 0; i < WIDTH; ++i) total += x[i];
  return total;
}

struct Statistics {
  float mean, inverse;  // inverse: of the deviation
};

Statistics statistics(const float* x, int64_t channels, float epsilon) {
  Vector total = {}, squares = {};
  for (int64_t c = 0; c < channels; c += WIDTH) total += load(x + c);
  const float mean = sum(total) / channels;
  for (int64_t c = 0; c < channels; c += WIDTH) {
    const Vector from_mean = load(x + c) - mean;
    squares += from_mean * from_mean;
  }
  return {mean, 1 / std::sqrt(sum(squares) / channels + epsilon)};
}

ffi::Error layer_norm(ffi::ThreadPool threads, Floats x, Floats scale, Floats bias, float epsilon,
                      ffi::Result<Floats> y) {
  const int64_t channels = x.dimensions()[1];
  const Input rows{x.typed_data(), channels};
  const Output results{y->typed_data(), channels};
  const float *to_scale = scale.typed_data(), *to_add = bias.typed_data();
  over_tokens(threads, x.dimensions()[0], [=](int64_t first, int64_t last) {
    for (int64_t token = first; token < last; ++token) {
      const auto [mean, inverse] = statistics(rows[token], channels, epsilon);
      for (int64_t c = 0; c < channels; c += WIDTH) {
        const Vector normed = (load(rows[token] + c) - mean) * inverse;
        store(results[token] + c, normed * load(to_scale + c) + load(to_add + c));
      }
    }
  });
  return ffi::Error::Success();
}

// Gradients of scale and bias [parts, 2, c] are to be summed over parts of SOME tokens.
ffi::Error layer_norm_gradients(ffi::ThreadPool threads, Floats x, Floats scale, Floats gradient,
                                float epsilon, ffi::Result<Floats> of_x,
                                ffi::Result<Floats> of_params) {
  const int64_t channels = x.dimensions()[1];
  const Input rows{x.typed_data(), channels}, gradients{gradient.typed_data(), channels};
  const Output of_rows{of_x->typed_data(), channels};
  const Output sums{of_params->typed_data(), channels};
  const float* to_scale = scale.typed_data();
  over_tokens(threads, x.dimensions()[0], [=](int64_t first, int64_t last) {
    float *of_scale = sums[2 * (first / SOME)], *of_bias = of_scale + channels;
    std::fill_n(of_scale, 2 * channels, 0.0f);
    for (int64_t token = first; token < last; ++token) {
      const float *row = rows[token], *of_y = gradients[token];
      const Statistics s = statistics(row, channels, epsilon);
      Vector total = {}, along = {};
      for (int64_t c = 0; c < channels; c += WIDTH) {
        const Vector normed = (load(row + c) - s.mean) * s.inverse, of_result = load(of_y + c);
        const Vector of_normed = of_result * load(to_scale + c);
        total += of_normed;
        along += of_normed * normed;
        store(of_scale + c, load(of_scale + c) + of_result * normed);
        store(of_bias + c, load(of_bias + c) + of_result);
      }
      const float mean = sum(total) / channels, mean_along = sum(along) / channels;
      for (int64_t c = 0; c < channels; c += WIDTH) {
        const Vector normed = (load(row + c) - s.mean) * s.inverse;
        const Vector of_normed = load(of_y + c) * load(to_scale + c);
        store(of_rows[token] + c, (of_normed - mean - normed * mean_along) * s.inverse);
      }
    }
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_geglu, geglu, program().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_geglu_gradient, geglu_gradient,
                              program().Arg<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_layer_norm, layer_norm,
                              program().Arg<Floats>().Attr<float>("epsilon").Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(
    aa_jax_layer_norm_gradients, layer_norm_gradients,
    program().Arg<Floats>().Attr<float>("epsilon").Ret<Floats>().Ret<Floats>());
