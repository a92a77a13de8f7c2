// 3x3 convolutions in a quarter of the multiplications, on a CPU.
//
// Winograd's F(4x4, 3x3), as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
// (2015): tiles of 6x6 pixels are transformed, multiplied number by number with the transformed
// kernel, which over tiles and channels makes 36 products of matrices, and transformed to 4x4
// pixels. Its points are 0, ±3/4, ±3/2 and infinity, with which float32 loses half as much as with
// 0, ±1, ±2, and a fifth at worst: 1.7e-6 of a result's deviation, where a plain convolution loses
// 0.3e-6.

#include "common.h"

namespace {

constexpr int TILE = 6, PIXELS = 4, POINTS = TILE * TILE;
constexpr int CHUNK = 512;        // tiles that are taken through all stages at a time
constexpr int ROWS_AT_ONCE = 96;  // of a product
constexpr int INNER = 160;        // of a product, as many as leave LANES columns in the first cache

constexpr float A = 0.75f, B = 1.5f, A2 = A * A, B2 = B * B;

// --- transforms of one side of a tile -----------------------------------------------------------

// A polynomial at A, -A, B and -B, out of its even and odd powers there.
void at_points(Vector a_even, Vector a_odd, Vector b_even, Vector b_odd, Vector* out, int step) {
  out[1 * step] = a_even + a_odd;
  out[2 * step] = a_even - a_odd;
  out[3 * step] = b_even + b_odd;
  out[4 * step] = b_even - b_odd;
}

void transform_tile(const Vector* d, int step, Vector* out) {
  const Vector d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
  const Vector d4 = d[4 * step], d5 = d[5 * step];
  const Vector a_even = d4 - B2 * d2, a_odd = A * (d3 - B2 * d1);
  const Vector b_even = d4 - A2 * d2, b_odd = B * (d3 - A2 * d1);
  out[0] = d4 - (A2 + B2) * d2 + A2 * B2 * d0;
  at_points(a_even, a_odd, b_even, b_odd, out, step);
  out[5 * step] = d5 - (A2 + B2) * d3 + A2 * B2 * d1;
}

// A kernel's numbers by which the points' are multiplied.
constexpr float OF_0 = 1 / (A2 * B2), OF_A = 1 / (2 * A2 * (A2 - B2)),
                OF_B = 1 / (2 * B2 * (B2 - A2));

void transform_kernel(const Vector* g, int step, Vector* out, int out_step) {
  const Vector g0 = g[0], g1 = g[step], g2 = g[2 * step];
  const Vector a_even = OF_A * (g0 + A2 * g2), a_odd = (OF_A * A) * g1;
  const Vector b_even = OF_B * (g0 + B2 * g2), b_odd = (OF_B * B) * g1;
  out[0] = OF_0 * g0;
  at_points(a_even, a_odd, b_even, b_odd, out, out_step);
  out[5 * out_step] = g2;
}

void transform_pixels(const Vector* m, int step, Vector* out, int out_step) {
  const Vector a_even = m[step] + m[2 * step], a_odd = A * (m[step] - m[2 * step]);
  const Vector b_even = m[3 * step] + m[4 * step], b_odd = B * (m[3 * step] - m[4 * step]);
  out[0] = m[0] + a_even + b_even;
  out[1 * out_step] = a_odd + b_odd;
  out[2 * out_step] = A2 * a_even + B2 * b_even;
  out[3 * out_step] = A2 * a_odd + B2 * b_odd + m[5 * step];
}

// The last two transposed, for the gradient of the kernel.

void transform_gradient(const Vector* y, int step, Vector* out, int out_step) {
  const Vector y0 = y[0], y1 = y[step], y2 = y[2 * step], y3 = y[3 * step];
  const Vector a_even = y0 + A2 * y2, a_odd = A * (y1 + A2 * y3);
  const Vector b_even = y0 + B2 * y2, b_odd = B * (y1 + B2 * y3);
  out[0] = y0;
  at_points(a_even, a_odd, b_even, b_odd, out, out_step);
  out[5 * out_step] = y3;
}

void transform_product(const Vector* u, int step, Vector* out, int out_step) {
  const Vector a_even = OF_A * (u[step] + u[2 * step]), a_odd = OF_A * (u[step] - u[2 * step]);
  const Vector b_even = OF_B * (u[3 * step] + u[4 * step]),
               b_odd = OF_B * (u[3 * step] - u[4 * step]);
  out[0] = OF_0 * u[0] + a_even + b_even;
  out[1 * out_step] = A * a_odd + B * b_odd;
  out[2 * out_step] = A2 * a_even + B2 * b_even + u[5 * step];
}

// --- stages -------------------------------------------------------------------------------------

struct Problem {
  int64_t pictures, height, width, channels, features;

  Problem(Floats x, int64_t features)
      : pictures(x.dimensions()[0]),
        height(x.dimensions()[1]),
        width(x.dimensions()[2]),
        channels(x.dimensions()[3]),
        features(features) {}

  int64_t down() const { return parts(height, PIXELS); }
  int64_t across() const { return parts(width, PIXELS); }
  int64_t tiles() const { return pictures * down() * across(); }
  int64_t chunk() const { return std::min<int64_t>(CHUNK, tiles()); }
};

// Kernel [3 3 c f] of one channel c to [points, c, f].
void kernel_stage(const Problem& p, const float* kernel, int64_t c, float* transformed) {
  for (int64_t f = 0; f < p.features; f += WIDTH) {
    Vector g[9], half[3 * TILE], whole[POINTS];
    for (int i = 0; i < 9; ++i) g[i] = load(kernel + (i * p.channels + c) * p.features + f);
    for (int j = 0; j < 3; ++j) transform_kernel(g + j, 3, half + j, 3);
    for (int i = 0; i < TILE; ++i) transform_kernel(half + 3 * i, 1, whole + TILE * i, 1);
    for (int i = 0; i < POINTS; ++i) {
      store(transformed + (i * p.channels + c) * p.features + f, whole[i]);
    }
  }
}

// Where in pictures [n h w] a tile has its first pixel of the result, and how many are inside.
struct Place {
  const Problem& p;
  int64_t picture, row, column;

  Place(const Problem& p, int64_t tile)
      : p(p),
        picture(tile / p.across() / p.down()),
        row(tile / p.across() % p.down() * PIXELS),
        column(tile % p.across() * PIXELS) {}

  int rows() const { return std::min<int64_t>(PIXELS, p.height - row); }
  int columns() const { return std::min<int64_t>(PIXELS, p.width - column); }

  // Of all pixels the one that lies so many rows and columns from the first.
  int64_t pixel(int i, int j) const {
    return (picture * p.height + row + i) * p.width + column + j;
  }
};

// A tile of x [n h w c] to [points, place in chunk, c].
void tile_stage(const Problem& p, const float* x, int64_t tile, int64_t place, float* transformed) {
  const Place at(p, tile);
  const float* pixels[POINTS];
  for (int i = 0; i < TILE; ++i) {
    for (int j = 0; j < TILE; ++j) {
      const int64_t row = at.row + i - 1, column = at.column + j - 1;
      const bool inside = row >= 0 && row < p.height && column >= 0 && column < p.width;
      pixels[TILE * i + j] = inside ? x + at.pixel(i - 1, j - 1) * p.channels : nullptr;
    }
  }
  for (int64_t c = 0; c < p.channels; c += WIDTH) {
    Vector d[POINTS];
    for (int i = 0; i < POINTS; ++i) d[i] = pixels[i] ? load(pixels[i] + c) : Vector{};
    for (int j = 0; j < TILE; ++j) transform_tile(d + j, TILE, d + j);
    for (int i = 0; i < TILE; ++i) transform_tile(d + TILE * i, 1, d + TILE * i);
    for (int i = 0; i < POINTS; ++i) {
      store(transformed + (i * p.chunk() + place) * p.channels + c, d[i]);
    }
  }
}

// Some rows of one point's product, a b or aT b, added to what is there, or not.
template <bool TURNED>
void product_stage(Input a, int rows, Input b, int64_t inner, int64_t columns, Output out,
                   bool add) {
  in_tiles<VECTORS>(columns / WIDTH, [&](int part, auto vectors) {
    for (int64_t k = 0; k < inner; k += INNER) {
      const int some = std::min<int64_t>(INNER, inner - k);
      multiply<TURNED, vectors>(TURNED ? a.from(k) : a.from(0, k), rows, b.from(k, part * WIDTH),
                                some, out.from(0, part * WIDTH), add || k > 0);
    }
  });
}

// [points, place in chunk, f] of a tile to its pixels of y [n h w f]; RECTIFIED ones have a bias
// added, and are zero where they then are negative.
template <bool RECTIFIED>
void pixel_stage(const Problem& p, const float* products, int64_t tile, int64_t place, float* y,
                 const float* bias) {
  const Place at(p, tile);
  for (int64_t f = 0; f < p.features; f += WIDTH) {
    Vector m[POINTS], half[PIXELS * TILE], pixels[PIXELS * PIXELS];
    for (int i = 0; i < POINTS; ++i)
      m[i] = load(products + (i * p.chunk() + place) * p.features + f);
    for (int j = 0; j < TILE; ++j) transform_pixels(m + j, TILE, half + j, TILE);
    for (int i = 0; i < PIXELS; ++i) transform_pixels(half + TILE * i, 1, pixels + PIXELS * i, 1);
    for (int i = 0; i < at.rows(); ++i) {
      for (int j = 0; j < at.columns(); ++j) {
        Vector pixel = pixels[PIXELS * i + j];
        if constexpr (RECTIFIED) {
          const Vector zero = {};
          pixel += load(bias + f);
          pixel = pixel > zero ? pixel : zero;
        }
        store(y + at.pixel(i, j) * p.features + f, pixel);
      }
    }
  }
}

// A tile of a result's gradient [n h w f] to [points, place in chunk, f].
void gradient_stage(const Problem& p, const float* gradient, int64_t tile, int64_t place,
                    float* transformed) {
  const Place at(p, tile);
  for (int64_t f = 0; f < p.features; f += WIDTH) {
    Vector pixels[PIXELS * PIXELS] = {}, half[TILE * PIXELS], whole[POINTS];
    for (int i = 0; i < at.rows(); ++i) {
      for (int j = 0; j < at.columns(); ++j) {
        pixels[PIXELS * i + j] = load(gradient + at.pixel(i, j) * p.features + f);
      }
    }
    for (int j = 0; j < PIXELS; ++j) transform_gradient(pixels + j, PIXELS, half + j, PIXELS);
    for (int i = 0; i < TILE; ++i) transform_gradient(half + PIXELS * i, 1, whole + TILE * i, 1);
    for (int i = 0; i < POINTS; ++i) {
      store(transformed + (i * p.chunk() + place) * p.features + f, whole[i]);
    }
  }
}

// [points, c, f] of one channel c to a kernel [3 3 c f].
void kernel_gradient_stage(const Problem& p, const float* products, int64_t c, float* kernel) {
  for (int64_t f = 0; f < p.features; f += WIDTH) {
    Vector u[POINTS], half[3 * TILE], whole[9];
    for (int i = 0; i < POINTS; ++i) u[i] = load(products + (i * p.channels + c) * p.features + f);
    for (int j = 0; j < TILE; ++j) transform_product(u + j, TILE, half + j, TILE);
    for (int i = 0; i < 3; ++i) transform_product(half + TILE * i, 1, whole + 3 * i, 1);
    for (int i = 0; i < 9; ++i) store(kernel + (i * p.channels + c) * p.features + f, whole[i]);
  }
}

// --- what XLA calls -----------------------------------------------------------------------------
//
// Channels and features are multiples of 16. Scratch has room for three arrays of all points: of
// tiles [chunk, c] and [chunk, f], a chunk being at most 512 tiles, and of kernels [c, f].

struct Scratch {
  float *tiles, *pixels, *kernels;

  Scratch(const Problem& p, float* room)
      : tiles(room),
        pixels(tiles + POINTS * p.chunk() * p.channels),
        kernels(pixels + POINTS * p.chunk() * p.features) {}
};

// task(point, first row, rows) for some rows at a time of all points' products.
template <typename Task>
void over_products(ffi::ThreadPool threads, int64_t rows, Task task) {
  const int64_t per_point = parts(rows, ROWS_AT_ONCE);
  in_parallel(threads, POINTS * per_point, [=](int64_t i) {
    const int64_t row = i % per_point * ROWS_AT_ONCE;
    task(i / per_point, row, std::min<int64_t>(ROWS_AT_ONCE, rows - row));
  });
}

template <bool RECTIFIED>
void convolve_pictures(ffi::ThreadPool threads, Floats x, Floats kernel, const float* bias,
                       ffi::Result<Floats> y, ffi::Result<Floats> scratch) {
  const Problem p(x, y->dimensions()[3]);
  const Scratch room(p, scratch->typed_data());
  const float *x_data = x.typed_data(), *kernel_data = kernel.typed_data();
  float* y_data = y->typed_data();
  in_parallel(threads, p.channels,
              [=](int64_t c) { kernel_stage(p, kernel_data, c, room.kernels); });
  for (int64_t first = 0; first < p.tiles(); first += p.chunk()) {
    const int64_t count = std::min(p.chunk(), p.tiles() - first);
    in_parallel(threads, count,
                [=](int64_t i) { tile_stage(p, x_data, first + i, i, room.tiles); });
    over_products(threads, count, [=](int64_t point, int64_t row, int rows) {
      const Input tiles{room.tiles + point * p.chunk() * p.channels, p.channels};
      const Input kernels{room.kernels + point * p.channels * p.features, p.features};
      const Output out{room.pixels + point * p.chunk() * p.features, p.features};
      product_stage<false>(tiles.from(row), rows, kernels, p.channels, p.features, out.from(row),
                           false);
    });
    in_parallel(threads, count, [=](int64_t i) {
      pixel_stage<RECTIFIED>(p, room.pixels, first + i, i, y_data, bias);
    });
  }
}

ffi::Error convolve(ffi::ThreadPool threads, Floats x, Floats kernel, ffi::Result<Floats> y,
                    ffi::Result<Floats> scratch) {
  convolve_pictures<false>(threads, x, kernel, nullptr, y, scratch);
  return ffi::Error::Success();
}

ffi::Error convolve_rectified(ffi::ThreadPool threads, Floats x, Floats kernel, Floats bias,
                              ffi::Result<Floats> y, ffi::Result<Floats> scratch) {
  convolve_pictures<true>(threads, x, kernel, bias.typed_data(), y, scratch);
  return ffi::Error::Success();
}

ffi::Error kernel_gradient(ffi::ThreadPool threads, Floats x, Floats gradient,
                           ffi::Result<Floats> of_kernel, ffi::Result<Floats> scratch) {
  const Problem p(x, gradient.dimensions()[3]);
  const Scratch room(p, scratch->typed_data());
  const float *x_data = x.typed_data(), *gradient_data = gradient.typed_data();
  float* of_kernel_data = of_kernel->typed_data();
  for (int64_t first = 0; first < p.tiles(); first += p.chunk()) {
    const int64_t count = std::min(p.chunk(), p.tiles() - first);
    in_parallel(threads, count, [=](int64_t i) {
      tile_stage(p, x_data, first + i, i, room.tiles);
      gradient_stage(p, gradient_data, first + i, i, room.pixels);
    });
    over_products(threads, p.channels, [=](int64_t point, int64_t channel, int channels) {
      const Input tiles{room.tiles + point * p.chunk() * p.channels, p.channels};
      const Input gradients{room.pixels + point * p.chunk() * p.features, p.features};
      const Output out{room.kernels + point * p.channels * p.features, p.features};
      product_stage<true>(tiles.from(0, channel), channels, gradients, count, p.features,
                          out.from(channel), first > 0);
    });
  }
  in_parallel(threads, p.channels,
              [=](int64_t c) { kernel_gradient_stage(p, room.kernels, c, of_kernel_data); });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_convolve, convolve, program().Ret<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_convolve_rectified, convolve_rectified,
                              program().Arg<Floats>().Ret<Floats>().Ret<Floats>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(aa_jax_kernel_gradient, kernel_gradient,
                              program().Ret<Floats>().Ret<Floats>());
