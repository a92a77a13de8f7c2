// What the programs here are made of: vectors, exponentials, products of few rows, XLA's threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <type_traits>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Floats = ffi::Buffer<ffi::F32>;

#ifdef __AVX512F__
constexpr int WIDTH = 16, VECTORS = 4, SUMS = 24;
#else
constexpr int WIDTH = 8, VECTORS = 2, SUMS = 12;
#endif
constexpr int LANES = WIDTH * VECTORS;
// Of a tile of V vectors: SUMS fill the registers, and 8 keep the multipliers busy.
template <int V>
constexpr int ROWS = std::min(8, SUMS / V);
constexpr int64_t TURNS = 32;  // at least, of a thread that has as many tasks

typedef float Vector __attribute__((vector_size(WIDTH * sizeof(float))));
typedef int32_t Integers __attribute__((vector_size(WIDTH * sizeof(int32_t))));
// Floats that lie at any address.
typedef float Unaligned __attribute__((vector_size(WIDTH * sizeof(float)), aligned(sizeof(float))));

inline Vector load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void store(float* to, Vector x) { *reinterpret_cast<Unaligned*>(to) = x; }
inline Vector all(float x) { return x - Vector{}; }

constexpr float LOG2_E = 1.44269504f;

// 2^x for x <= 0 within two units in the last place; 2^-125 for what is less.
inline Vector power_of_2(Vector x) {
  const Vector least = all(-125.0f);
  x = x < least ? least : x;
  // Adding and taking away 1.5 * 2^23 rounds to a whole number, which stays in the lowest bits.
  const Vector shifted = x + 12582912.0f, rest = x - (shifted - 12582912.0f);
  Vector y = all(1.326472731e-3f);
  y = y * rest + 9.671512991e-3f;
  y = y * rest + 5.550733581e-2f;
  y = y * rest + 2.402224243e-1f;
  y = y * rest + 6.931470037e-1f;
  y = y * rest + 1.0f;
  return reinterpret_cast<Vector>(reinterpret_cast<Integers>(y) +
                                  (reinterpret_cast<Integers>(shifted) << 23));
}

// How many parts of a size a whole has, the last of which may be smaller.
inline int64_t parts(int64_t whole, int64_t size) { return (whole + size - 1) / size; }

// A matrix in memory, or a part of one.
template <typename Float>
struct Matrix {
  Float* first;
  int64_t stride;

  Float* operator[](int64_t row) const { return first + row * stride; }
  Matrix from(int64_t row, int64_t column = 0) const {
    return {first + row * stride + column, stride};
  }
  operator Matrix<const Float>() const { return {first, stride}; }
};

using Input = Matrix<const float>;
using Output = Matrix<float>;

// tile(first, N) for 0 .. count in steps of N = MOST, and what remains in one of its own.
template <int MOST, typename Tile>
void in_tiles(int count, Tile tile, int first = 0) {
  for (; first + MOST <= count; first += MOST) tile(first, std::integral_constant<int, MOST>());
  if constexpr (MOST > 1) {
    if (first < count) in_tiles<MOST - 1>(count, tile, first);
  }
}

template <bool TURNED, int N, int V>
void multiply_tile(Input a, Input b, int inner, Output out, bool add) {
  Vector sums[N][V] = {};
  for (int k = 0; k < inner; ++k) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        sums[i][v] += (TURNED ? a[k][i] : a[i][k]) * load(b[k] + v * WIDTH);
      }
    }
  }
  for (int i = 0; i < N; ++i) {
    for (int v = 0; v < V; ++v) {
      float* to = out[i] + v * WIDTH;
      store(to, add ? load(to) + sums[i][v] : sums[i][v]);
    }
  }
}

// V vectors of columns of out = a b, or of out = aT b where a is turned; added to what is there, or
// not.
template <bool TURNED = false, int V = VECTORS>
void multiply(Input a, int rows, Input b, int inner, Output out, bool add = false) {
  in_tiles<ROWS<V>>(rows, [&](int first, auto n) {
    const Input of_tile = TURNED ? a.from(0, first) : a.from(first);
    multiply_tile<TURNED, n, V>(of_tile, b, inner, out.from(first), add);
  });
}

// What all programs take.
inline auto program() {
  return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Arg<Floats>().Arg<Floats>();
}

// Runs task(0) .. task(count - 1) on XLA's threads and this one, some in a row where there are
// many. Threads that come when nothing is left find the state still there, and this one never waits
// for a thread that has not come.
template <typename Task>
void in_parallel(ffi::ThreadPool threads, int64_t count, Task task) {
  struct State {
    Task task;
    std::atomic<int64_t> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all_done;
    explicit State(Task task) : task(task) {}
  };
  auto state = std::make_shared<State>(task);
  const int64_t some = std::max<int64_t>(1, count / (TURNS * threads.num_threads()));
  auto work = [state, count, some] {
    for (int64_t first; (first = state->next.fetch_add(some)) < count;) {
      const int64_t stop = std::min(count, first + some);
      for (int64_t i = first; i < stop; ++i) state->task(i);
      if ((state->done += stop - first) == count) {
        std::lock_guard lock(state->mutex);
        state->all_done.notify_one();
      }
    }
  };
  for (int64_t i = 1; i < std::min(threads.num_threads(), count); ++i)
    threads.Schedule(decltype(work)(work));
  work();
  std::unique_lock lock(state->mutex);
  state->all_done.wait(lock, [&] { return state->done == count; });
}
