// Convolutions of clips, and of pictures as clips of one frame, with kernels and strides of any
// size, on a CPU. They add a bias, and make zero what is negative.
//
// What a kernel's row sees of a picture lies in memory as one piece, and that of the next pixel a
// stride further: rows of a matrix that overlap. So nothing is gathered; a few pixels by a few
// vectors of features are summed over all rows of the kernel in registers. The kernel is
// laid out in panels of LANES features, each of which stays in the second cache.

#include "common.h"

namespace {

struct Problem {
  int64_t clips, frames, height, width, channels;  // of x, already padded
  int64_t kernel_frames, kernel_height, kernel_width;
  int64_t out_frames, out_height, out_width, features;  // of y
  int64_t frame_step, row_step, column_step;            // strides

  int64_t rows() const { return clips * out_frames * out_height; }
  int64_t piece() const { return kernel_width * channels; }
  int64_t kernel_rows() const { return kernel_frames * kernel_height; }

  // Where the first of a kernel's rows lies for the first pixel of a row of y.
  int64_t start(int64_t row) const {
    const int64_t i = row % out_height, t = row / out_height % out_frames;
    const int64_t n = row / out_height / out_frames;
    return ((n * frames + t * frame_step) * height + i * row_step) * width * channels;
  }
  // From there to another of its rows.
  int64_t offset(int64_t kernel_row) const {
    const int64_t i = kernel_row % kernel_height, t = kernel_row / kernel_height;
    return (t * height + i) * width * channels;
  }
};

// N pixels by V vectors of features.
template <int N, int V>
void tile(const Problem& p, const float* x, const float* kernel, const float* bias, bool relu,
          float* y) {
  Vector sums[N][V];
  for (int v = 0; v < V; ++v) {
    for (int i = 0; i < N; ++i) sums[i][v] = load(bias + v * WIDTH);
  }
  const int64_t step = p.column_step * p.channels, piece = p.piece();
  for (int64_t row = 0; row < p.kernel_rows(); ++row) {
    const Input a{x + p.offset(row), step}, b{kernel + row * piece * LANES, LANES};
    for (int64_t k = 0; k < piece; ++k) {
#pragma GCC unroll 8
      for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sums[i][v] += a[i][k] * load(b[k] + v * WIDTH);
      }
    }
  }
  for (int i = 0; i < N; ++i) {
    for (int v = 0; v < V; ++v) {
      const Vector sum = sums[i][v], zero = {};
      store(y + i * p.features + v * WIDTH, relu ? (sum > zero ? sum : zero) : sum);
    }
  }
}

// A row of y, as many pixels at a time as leave none alone.
template <int V>
void pixels(const Problem& p, const float* x, const float* kernel, const float* bias, bool relu,
            float* y) {
  const int64_t groups = parts(p.out_width, ROWS<V>);
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = group * p.out_width / groups;
    const int64_t count = (group + 1) * p.out_width / groups - first;
    in_tiles<ROWS<V>>(count, [&](int start, auto n) {
      const int64_t at = first + start;
      tile<n, V>(p, x + at * p.column_step * p.channels, kernel, bias, relu, y + at * p.features);
    });
  }
}

ffi::Error direct(ffi::ThreadPool threads, Floats x, Floats kernel, Floats bias,
                  ffi::Result<Floats> y, ffi::Result<Floats> scratch, int64_t frame_step,
                  int64_t row_step, int64_t column_step, bool relu) {
  const auto in = x.dimensions(), k = kernel.dimensions(), out = y->dimensions();
  const Problem p{in[0],  in[1],  in[2],  in[3],  in[4],      k[0],     k[1],       k[2],
                  out[1], out[2], out[3], out[4], frame_step, row_step, column_step};
  const float *x_data = x.typed_data(), *kernel_data = kernel.typed_data(),
              *bias_data = bias.typed_data();
  float* y_data = y->typed_data();
  float* panels = scratch->typed_data();
  const int64_t count = parts(p.features, LANES), inner = p.kernel_rows() * p.piece();
  in_parallel(threads, inner, [=](int64_t k) {
    for (int64_t f = 0; f < p.features; f += WIDTH) {
      store(panels + (f / LANES * inner + k) * LANES + f % LANES,
            load(kernel_data + k * p.features + f));
    }
  });
  // All rows with one panel, then with the next.
  in_parallel(threads, count * p.rows(), [=](int64_t task) {
    const int64_t row = task % p.rows(), panel = task / p.rows(), f = panel * LANES;
    const float *from = x_data + p.start(row), *part = panels + panel * inner * LANES;
    float* to = y_data + row * p.out_width * p.features + f;
    in_tiles<VECTORS>(std::min<int64_t>(LANES, p.features - f) / WIDTH, [&](int first, auto v) {
      const int64_t skip = first * WIDTH;
      pixels<v>(p, from, part + skip, bias_data + f + skip, relu, to + skip);
    });
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_direct, direct,
                              program()
                                  .Arg<Floats>()
                                  .Ret<Floats>()
                                  .Ret<Floats>()
                                  .Attr<int64_t>("frame_step")
                                  .Attr<int64_t>("row_step")
                                  .Attr<int64_t>("column_step")
                                  .Attr<bool>("relu"));
