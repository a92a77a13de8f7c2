// Products of matrices in float32, on the matrix unit for bfloat16 of Intel's processors (AMX).
//
// A float32 number, which has 24 digits, is the sum of three of bfloat16 with 8 each, its pieces.
// Of the nine products of two numbers' pieces the six largest are computed, and summed in float32;
// the others are about 2^-24 of the product at most. TPUs do so in jax's precision HIGHEST. The unit
// does 16 times as many products as vectors do in the same time, six of which are still 2.7 times
// as fast. It takes as zero what is below 2^-126, so that numbers below 2^-110 lose digits;
// infinities become NaN.

#include "common.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__) && defined(__linux__)
#define HAS_TILES 1
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

#ifdef HAS_TILES

constexpr int TILE = 16;         // rows of a tile, and numbers of 32 bits in one of them
constexpr int BLOCK = 2 * TILE;  // rows, columns and depth of what is multiplied at a time
constexpr int PIECES = 3;
constexpr int TILE_BYTES = TILE * 64, PIECE_BYTES = 2 * TILE_BYTES;
constexpr int BLOCK_BYTES = PIECES * PIECE_BYTES;
constexpr int64_t DEPTH = 32;        // blocks of depth that are packed at a time: 1024 numbers
constexpr int64_t ROWS_AT_ONCE = 4;  // blocks of rows at most that are packed by a task
constexpr int64_t COLUMNS = 8;       // blocks at least, for which rows are worth packing

// --- packing ------------------------------------------------------------------------------------
//
// A block is [piece, two tiles, 16, 16 pairs], pairs being neighbours in depth. Of the left matrix
// tiles hold [rows, pairs], of the right one [pairs, columns]; in both, the 32 numbers that are not
// depth make the two tiles.

// A matrix [lines, depth], or [depth, lines] where it is turned. Lines: rows, or columns.
struct Operand {
  const float* data;
  int64_t lines, depth;
  bool turned;

  int64_t line_blocks() const { return parts(lines, BLOCK); }
  int64_t depth_blocks() const { return parts(depth, BLOCK); }
};

// As many numbers of a vector as there are, and zeros.
template <bool WHOLE>
__m512 load_some(const float* from, int64_t count) {
  if constexpr (WHOLE) return _mm512_loadu_ps(from);
  const uint32_t inside = count >= WIDTH ? 0xffff : count > 0 ? (1u << count) - 1 : 0;
  return _mm512_maskz_loadu_ps(inside, from);
}

// The nearest number of 8 digits; the rest is left in x, of which the last piece has no more.
__m512i take_piece(__m512& x, int which) {
  const int half = which < PIECES - 1 ? 0x8000 : 0;
  const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(half));
  const __m512i piece = _mm512_and_si512(bits, _mm512_set1_epi32(0xffff0000));
  x = x - _mm512_castsi512_ps(piece);
  return piece;
}

// x[i] of y[j] to x[j] of y[i].
void turn(__m512i* x) {
  __m512i y[TILE];
  for (int i = 0; i < TILE; i += 2) {
    y[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < TILE; i += 4) {
    for (int j = 0; j < 2; ++j) {
      x[i + 2 * j] = _mm512_unpacklo_epi64(y[i + j], y[i + 2 + j]);
      x[i + 2 * j + 1] = _mm512_unpackhi_epi64(y[i + j], y[i + 2 + j]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < TILE; j += 8) {
      y[i + j] = _mm512_shuffle_i32x4(x[i + j], x[i + j + 4], 0x88);
      y[i + j + 4] = _mm512_shuffle_i32x4(x[i + j], x[i + j + 4], 0xdd);
    }
  }
  for (int i = 0; i < 8; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(y[i], y[i + 8], 0xdd);
  }
}

// 16 lines by 32 of depth, zeros where there is nothing, to a tile of each piece.
template <bool RIGHT, bool TURNED, bool WHOLE>
void pack_tile(const Operand& x, int64_t line, int64_t depth, char* out) {
  const int64_t lines = x.lines - line, deep = x.depth - depth;
  __m512i to_turn[PIECES][TILE];
  const auto keep = [&](int piece, int i, __m512i row) {
    if constexpr (TURNED == RIGHT) {
      _mm512_store_si512(out + piece * PIECE_BYTES + i * 64, row);
    } else {
      to_turn[piece][i] = row;
    }
  };
  for (int i = 0; i < TILE; ++i) {
    if constexpr (TURNED) {  // two numbers of 16 lines
      const float* from = x.data + (depth + 2 * i) * x.lines + line;
      __m512 even = load_some<WHOLE>(from, 2 * i < deep ? lines : 0);
      __m512 odd = load_some<WHOLE>(from + x.lines, 2 * i + 1 < deep ? lines : 0);
      for (int piece = 0; piece < PIECES; ++piece) {
        const __m512i low = take_piece(even, piece), high = take_piece(odd, piece);
        keep(piece, i, _mm512_or_si512(_mm512_srli_epi32(low, 16), high));
      }
    } else {  // 32 numbers of a line
      const float* from = x.data + (line + i) * x.depth + depth;
      __m512 first = load_some<WHOLE>(from, i < lines ? deep : 0);
      __m512 second = load_some<WHOLE>(from + WIDTH, i < lines ? deep - WIDTH : 0);
      for (int piece = 0; piece < PIECES; ++piece) {
        const __m512 a = _mm512_castsi512_ps(take_piece(first, piece));
        const __m512 b = _mm512_castsi512_ps(take_piece(second, piece));
        keep(piece, i, (__m512i)_mm512_cvtne2ps_pbh(b, a));
      }
    }
  }
  if constexpr (TURNED != RIGHT) {
    for (int piece = 0; piece < PIECES; ++piece) {
      turn(to_turn[piece]);
      std::memcpy(out + piece * PIECE_BYTES, to_turn[piece], TILE_BYTES);
    }
  }
}

template <bool RIGHT>
void pack_block(const Operand& x, int64_t line_block, int64_t depth_block, char* out) {
  const int64_t line = line_block * BLOCK, depth = depth_block * BLOCK;
  const bool whole = line + BLOCK <= x.lines && depth + BLOCK <= x.depth;
  const auto pack = x.turned
                        ? (whole ? pack_tile<RIGHT, true, true> : pack_tile<RIGHT, true, false>)
                        : (whole ? pack_tile<RIGHT, false, true> : pack_tile<RIGHT, false, false>);
  pack(x, line, depth, out);
  pack(x, line + TILE, depth, out + TILE_BYTES);
}

// --- products -----------------------------------------------------------------------------------

// What the instruction that shapes tiles reads.
struct alignas(64) Shapes {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE};
};
constexpr Shapes WHOLE;

// While it lives, this thread can use eight whole tiles. Compilers do not know what their loads
// read: the fence makes them write it before.
struct Tiles {
  Tiles() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    _tile_loadconfig(&WHOLE);
  }
  ~Tiles() { _tile_release(); }
};

void load_left(const char* piece) {
  _tile_loadd(4, piece, 64);
  _tile_loadd(5, piece + TILE_BYTES, 64);
}

void load_right(const char* piece) {
  _tile_loadd(6, piece, 64);
  _tile_loadd(7, piece + TILE_BYTES, 64);
}

// Adds the product of the pieces in the unit, and loads the next of one side while it is at work.

void multiply_then_left(const char* next) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_loadd(4, next, 64);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
  _tile_loadd(5, next + TILE_BYTES, 64);
}

void multiply_then_right(const char* next) {
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(2, 5, 6);
  _tile_loadd(6, next, 64);
  _tile_dpbf16ps(1, 4, 7);
  _tile_dpbf16ps(3, 5, 7);
  _tile_loadd(7, next + TILE_BYTES, 64);
}

// out [BLOCK, BLOCK] = a b over so many blocks.
void multiply_blocks(const char* a, const char* b, int64_t blocks, float* out) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  load_left(a);
  load_right(b + 2 * PIECE_BYTES);
  for (; blocks > 0; --blocks) {  // the pieces that are multiplied: of a, and of b
    const int64_t step = blocks > 1 ? BLOCK_BYTES : 0;
    multiply_then_right(b + PIECE_BYTES);     // first and third
    multiply_then_left(a + PIECE_BYTES);      // first and second
    multiply_then_right(b);                   // second and second
    multiply_then_left(a + 2 * PIECE_BYTES);  // second and first
    multiply_then_left(a);                    // third and first
    multiply_then_left(a += step);            // first and first
    load_right((b += step) + 2 * PIECE_BYTES);
  }
  _tile_stored(0, out, BLOCK * sizeof(float));
  _tile_stored(1, out + TILE, BLOCK * sizeof(float));
  _tile_stored(2, out + TILE * BLOCK, BLOCK * sizeof(float));
  _tile_stored(3, out + TILE * BLOCK + TILE, BLOCK * sizeof(float));
}

// What of a block lies inside, to where it belongs; added to what is there, or not.
void put(const float* block, Output out, int64_t rows, int64_t columns, bool add) {
  for (int i = 0; i < std::min<int64_t>(BLOCK, rows); ++i) {
    for (int j = 0; j < BLOCK && j < columns; j += WIDTH) {
      const __mmask16 inside = columns - j >= WIDTH ? 0xffff : (1u << (columns - j)) - 1;
      __m512 x = _mm512_load_ps(block + i * BLOCK + j);
      if (add) x = x + _mm512_maskz_loadu_ps(inside, out[i] + j);
      _mm512_mask_storeu_ps(out[i] + j, inside, x);
    }
  }
}

// So many blocks of rows and of columns, from one on.
struct Part {
  int64_t row, rows, column, columns;
};

// Adds the product over some blocks of depth, whose right matrix is packed.
void multiply_part(const Operand& a, int64_t columns, const Part& part, int64_t depth, int64_t deep,
                   const char* right, Output out) {
  alignas(64) static thread_local char left[ROWS_AT_ONCE * DEPTH * BLOCK_BYTES];
  alignas(64) float block[BLOCK * BLOCK];
  for (int64_t row = 0; row < part.rows; ++row) {
    for (int64_t k = 0; k < deep; ++k) {
      pack_block<false>(a, part.row + row, depth + k, left + (row * deep + k) * BLOCK_BYTES);
    }
  }
  const Tiles tiles;
  for (int64_t j = part.column; j < part.column + part.columns; ++j) {
    for (int64_t row = 0; row < part.rows; ++row) {
      const int64_t i = part.row + row;
      multiply_blocks(left + row * deep * BLOCK_BYTES, right + j * deep * BLOCK_BYTES, deep, block);
      put(block, out.from(i * BLOCK, j * BLOCK), a.lines - i * BLOCK, columns - j * BLOCK,
          depth > 0);
    }
  }
}

// out [m, n] = a b, of a [m, k] and b [k, n], or turned ones [k, m] and [n, k]. Scratch has room
// for the right matrix's blocks, of at most DEPTH blocks of depth.
ffi::Error multiply_matrices(ffi::ThreadPool threads, Floats left, Floats right,
                             ffi::Result<Floats> result, ffi::Result<Floats> scratch, bool turned_a,
                             bool turned_b) {
  const int64_t rows = result->dimensions()[0], columns = result->dimensions()[1];
  const int64_t depth = left.dimensions()[turned_a ? 0 : 1];
  const Operand a{left.typed_data(), rows, depth, turned_a};
  const Operand b{right.typed_data(), columns, depth, !turned_b};
  const Output out{result->typed_data(), columns};
  char* packed = reinterpret_cast<char*>(scratch->typed_data());

  // Some tasks for every thread, by rows first: what rows are packed for is then most.
  const int64_t tasks = 4 * threads.num_threads();
  const int64_t at_once = std::clamp<int64_t>(a.line_blocks() / tasks, 1, ROWS_AT_ONCE);
  const int64_t down = parts(a.line_blocks(), at_once);
  const int64_t wide = std::max(COLUMNS, parts(b.line_blocks(), parts(tasks, down)));
  const int64_t across = parts(b.line_blocks(), wide);
  for (int64_t first = 0; first < a.depth_blocks(); first += DEPTH) {
    const int64_t deep = std::min(DEPTH, a.depth_blocks() - first);
    in_parallel(threads, deep * b.line_blocks(), [=](int64_t i) {
      // Neighbouring columns one after another, as they lie in memory.
      const int64_t line = i % b.line_blocks(), k = i / b.line_blocks();
      pack_block<true>(b, line, first + k, packed + (line * deep + k) * BLOCK_BYTES);
    });
    in_parallel(threads, down * across, [=](int64_t i) {
      const int64_t row = i / across * at_once, column = i % across * wide;
      const Part part{row, std::min(at_once, a.line_blocks() - row), column,
                      std::min(wide, b.line_blocks() - column)};
      multiply_part(a, columns, part, first, deep, packed, out);
    });
  }
  return ffi::Error::Success();
}

// Asks the system, which may say no, for the registers of this process's threads.
bool allowed() {
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}

#else

ffi::Error multiply_matrices(ffi::ThreadPool, Floats, Floats, ffi::Result<Floats>,
                             ffi::Result<Floats>, bool, bool) {
  return ffi::Error(ffi::ErrorCode::kUnimplemented, "this processor has no matrix unit");
}

bool allowed() { return false; }

#endif

}  // namespace

extern "C" bool aa_jax_has_matrix_unit() { return allowed(); }

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    aa_jax_multiply, multiply_matrices,
    program().Ret<Floats>().Ret<Floats>().Attr<bool>("turned_a").Attr<bool>("turned_b"));
