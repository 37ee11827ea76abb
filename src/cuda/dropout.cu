// Dropout on a GPU, in one pass: reads x, and writes x times its mask (plus a residual). The mask is drawn on the
// way, and is the one that src/cpu draws, bit for bit. src/rng/counter.rs says which random numbers are whose.
//
// scripts/ptx.py makes the PTX beside this file, one module for each KERNEL below, so that a program compiles only
// those that it needs. src/cuda/tests/emulator.h lets a CPU run this file.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// What a launch is told: `Job` in driver.rs.
struct Job {
  const void *x;        // null for a mask
  const void *residual; // of a sum
  void *y;
  u64 elements;
  // Random numbers: Philox's key, the upper half of its counter, and the lower halves with which a mask's planes and
  // pools begin. Planes, and fillings of a pool, are `plane_step` apart.
  u64 key, high, planes_low, pools_low, plane_step;
  u64 threshold; // p in units of 2^-64
  u64 keep_bits; // a mask's number for kept elements
  double keep, shift_kept, shift_dropped;
  double deviation;
  int planes;   // how many bits every element draws
  int has_ties; // whether some need more
};

constexpr int WORDS = 64;        // of 32 bits, in a plane
constexpr int BLOCKS = 16;       // of Philox, that give them
constexpr int TILE = 32 * WORDS; // elements
#ifndef PLANES
constexpr int PLANES = 8; // at most
#endif

constexpr int TEAM = 128; // threads of a block
constexpr int RESIDENT = 8; // blocks of a multiprocessor, at least: leaves each thread 64 registers
constexpr int WARP = 32;
constexpr u32 ALL = ~0u; // lanes of a warp

#ifdef __CUDACC__
// The CPU's versions of these check every access.
template <int N> struct alignas(16) Shared {
  u32 at[N];
  __device__ u32 get(int i) const { return at[i]; }
  __device__ u64 pair(int i) const { return *reinterpret_cast<const u64 *>(at + i); }
  __device__ uint4 quad(int i) const { return *reinterpret_cast<const uint4 *>(at + i); }
  __device__ void put(int i, u32 word) { at[i] = word; }
  __device__ void put_pair(int i, u64 words) { *reinterpret_cast<u64 *>(at + i) = words; }
};

template <class T> __device__ T load(const T *from) { return *from; }
template <class T> __device__ void store(T *to, T value) { *to = value; }

__device__ float widen_half(u16 half) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(half));
  return wide;
}

__device__ u16 round_to_half(float wide) {
  u16 half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(wide));
  return half;
}
#endif

// Elements as numbers. Half precision computes in single precision and rounds after each operation, as libtorch does.

struct F32 {
  typedef float Element, Wide;
  static __device__ float widen(float x) { return x; }
  static __device__ float round(float x) { return x; }
};

struct F64 {
  typedef double Element, Wide;
  static __device__ double widen(double x) { return x; }
  static __device__ double round(double x) { return x; }
};

struct F16 {
  typedef u16 Element;
  typedef float Wide;
  static __device__ float widen(u16 x) { return widen_half(x); }
  static __device__ u16 round(float x) { return round_to_half(x); }
};

struct BF16 {
  typedef u16 Element;
  typedef float Wide;
  static __device__ float widen(u16 x) { return __uint_as_float(u32(x) << 16); }
  static __device__ u16 round(float x) {
    u32 bits = __float_as_uint(x);
    bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    // Half a unit in the last place, less one bit if that place is even: ties go to the even number.
    return is_nan ? bits >> 16 | 0x40 : (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  }
};

// Sixteen bytes, which a thread reads or writes at once.
template <class T> union Vector {
  uint4 all;
  T at[16 / sizeof(T)];
};

__device__ bool is_aligned(const void *memory) { return reinterpret_cast<u64>(memory) % 16 == 0; }

// A block of four words (Salmon et al. 2011).
template <int UNROLLED = 10> __device__ __forceinline__ uint4 philox(u64 key, u64 high, u64 low) {
  u32 k0 = key, k1 = key >> 32;
  u32 c0 = low, c1 = low >> 32, c2 = high, c3 = high >> 32;
#pragma unroll UNROLLED
  for (int round = 0; round < 10; ++round) {
    u32 product0_high = __umulhi(0xD2511F53, c0), product0_low = 0xD2511F53 * c0;
    u32 product1_high = __umulhi(0xCD9E8D57, c2), product1_low = 0xCD9E8D57 * c2;
    c0 = product1_high ^ c1 ^ k0;
    c1 = product1_low;
    c2 = product0_high ^ c3 ^ k1;
    c3 = product0_low;
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return make_uint4(c0, c1, c2, c3);
}

// Which elements are kept: src/cpu/bernoulli.rs says how bits decide it.

// A tile's words: those of its planes, and then the first ones of its pool.
constexpr int DRAWN = (PLANES + 1) * WORDS;

// A word of a tile's pool, drawn by itself.
__device__ __forceinline__ u32 pool_word(u64 key, u64 high, u64 low, u64 plane_step, u32 index) {
  uint4 words = philox<1>(key, high, low + index / WORDS * plane_step + index % BLOCKS);
  u32 word = index % WORDS / BLOCKS;
  return word == 0 ? words.x : word == 1 ? words.y : word == 2 ? words.z : words.w;
}

// Takes those ties out of `kept` for which `is_below` says so, one after the other.
template <class IsBelow> __device__ void drop_ties(u64 tied, u64 &kept, IsBelow is_below) {
#pragma unroll 1
  for (; tied; tied &= tied - 1)
    if (is_below())
      kept &= ~(tied & (0 - tied));
}

// Ties take words of their tile's pool in the order of their words and bits. A lane's first is that of rank `rank`.
template <int N>
__device__ void settle_ties(const Job &job, u64 tile, const Shared<N> &drawn, int pool, u64 tied, u64 &kept) {
  u32 lane = threadIdx.x % WARP;
  u32 count = __popcll(tied), rank = count;
#pragma unroll 1
  for (u32 step = 1; step < WARP; step *= 2) {
    u32 before = __shfl_up_sync(ALL, rank, step);
    rank += lane >= step ? before : 0;
  }
  u32 all = __shfl_sync(ALL, rank, WARP - 1);
  rank -= count;
  u64 rest = job.threshold << PLANES;
  u32 first = rest >> 32, second = rest;

  u64 words = drawn.pair(pool + 2 * lane);
  bool is_equal = (2 * lane < all && u32(words) == first) || (2 * lane + 1 < all && words >> 32 == first);
  if (!__any_sync(ALL, is_equal || all > WORDS)) {
    drop_ties(tied, kept, [&] { return drawn.get(pool + rank++) < first; });
    return;
  }
  // Rare: a word that equals the threshold's takes a second one, which moves those of all later ties; or the pool is
  // filled again. So each lane follows the pool from its beginning.
  u64 low = job.pools_low + tile * BLOCKS;
  u32 next = 0;
  auto next_word = [&] { return pool_word(job.key, job.high, low, job.plane_step, next++); };
  auto is_below = [&] {
    u32 word = next_word();
    return word == first ? next_word() < second : word < first;
  };
#pragma unroll 1
  for (; rank > 0; --rank)
    is_below();
  drop_ties(tied, kept, is_below);
}

// Which elements of a tile are kept, by a warp: each lane has two words of every plane.
template <int N> __device__ u64 compare(const Job &job, u64 tile, const Shared<N> &drawn, int at) {
  // The elements whose bits so far, as a number, are at least the threshold's first ones, and those for which they are
  // above.
  u64 kept = ~0ull, above = 0;
  // From the last plane to the first: a bit that differs from the threshold's overrules all after it.
#pragma unroll 1
  for (int plane = job.planes - 1; plane >= 0; --plane) {
    u64 bits = drawn.pair(at + plane * WORDS + 2 * (threadIdx.x % WARP));
    bool digit = job.threshold >> (63 - plane) & 1;
    kept = digit ? kept & bits : kept | bits;
    above = digit ? above & bits : above | bits;
  }
  if (job.has_ties)
    settle_ties(job, tile, drawn, at + PLANES * WORDS, kept & ~above, kept);
  return kept;
}

// Which elements of some tiles are kept, for all threads, until one of them is here again: bit j of word l stands for
// element 64 j + l of its tile.
template <int TILES>
__device__ void decide(const Job &job, u64 first, Shared<TILES * DRAWN> &drawn, Shared<TILES * WORDS> &kept) {
  // As many threads as there are blocks of Philox draw a plane of a tile, or the first words of its pool.
  int thread = threadIdx.x, block = thread % BLOCKS;
  int rows = TILES * (job.planes + job.has_ties);
#pragma unroll 1
  for (int row = thread / BLOCKS; row < rows; row += TEAM / BLOCKS) {
    int tile = row % TILES, plane = row / TILES;
    bool is_pool = plane == job.planes;
    u64 low = is_pool ? job.pools_low : job.planes_low + plane * job.plane_step;
    uint4 words = philox(job.key, job.high, low + (first + tile) * BLOCKS + block);
    int at = tile * DRAWN + plane * WORDS + block;
    drawn.put(at, words.x);
    drawn.put(at + BLOCKS, words.y);
    drawn.put(at + 2 * BLOCKS, words.z);
    drawn.put(at + 3 * BLOCKS, words.w);
  }
  // From here on, nobody reads what is kept of the tiles before.
  __syncthreads();
  for (int tile = thread / WARP; tile < TILES; tile += TEAM / WARP)
    kept.put_pair(tile * WORDS + 2 * (thread % WARP), compare(job, first + tile, drawn, tile * DRAWN));
  __syncthreads();
}

// What is written for an element, given x (and perhaps a residual), and whether it is kept. IN_FLIGHT is how many
// rounds of reading are unrolled; the others, less used, are kept short.

// The mask itself; only its width matters.
template <class T> struct Mask {
  typedef T Element;
  static constexpr bool READS = false, ADDS = false;
  static constexpr int IN_FLIGHT = 1;
  const T keep;
  __device__ Mask(const Job &job) : keep(job.keep_bits) {}
  __device__ T operator()(T, T, bool is_kept) const { return is_kept ? keep : 0; }
};

template <class K> struct Product {
  typedef typename K::Element Element;
  static constexpr bool READS = true, ADDS = false;
  static constexpr int IN_FLIGHT = 4;
  const typename K::Wide keep;
  __device__ Product(const Job &job) : keep(job.keep) {}
  __device__ Element operator()(Element x, Element, bool is_kept) const {
    return K::round(K::widen(x) * (is_kept ? keep : 0));
  }
};

// A product and a residual.
template <class K> struct Sum {
  typedef typename K::Element Element;
  static constexpr bool READS = true, ADDS = true;
  static constexpr int IN_FLIGHT = 4;
  const Product<K> product;
  __device__ Sum(const Job &job) : product(job) {}
  __device__ Element operator()(Element x, Element residual, bool is_kept) const {
    return K::round(K::widen(residual) + K::widen(product(x, residual, is_kept)));
  }
};

// A product, to which a number is added for kept elements and another for dropped ones.
template <class K> struct Shifted {
  typedef typename K::Element Element;
  static constexpr bool READS = true, ADDS = false;
  static constexpr int IN_FLIGHT = 1;
  const Product<K> product;
  const typename K::Wide kept, dropped;
  __device__ Shifted(const Job &job) : product(job), kept(job.shift_kept), dropped(job.shift_dropped) {}
  __device__ Element operator()(Element x, Element, bool is_kept) const {
    return K::round(K::widen(product(x, x, is_kept)) + (is_kept ? kept : dropped));
  }
};

// The words that decide the elements of a vector.
template <int LANES, int N> __device__ void take(const Shared<N> &kept, int at, u32 words[LANES]) {
  if constexpr (LANES < 4) {
    u64 two = kept.pair(at);
    words[0] = two, words[1] = two >> 32;
  } else {
#pragma unroll
    for (int i = 0; i < LANES; i += 4) {
      uint4 four = kept.quad(at + i);
      words[i] = four.x, words[i + 1] = four.y, words[i + 2] = four.z, words[i + 3] = four.w;
    }
  }
}

template <class Write> __device__ void bernoulli(const Job &job) {
  typedef typename Write::Element T;
  typedef Vector<T> Lanes;
  constexpr int LANES = 16 / sizeof(T);
  // A narrow kind's tile is little memory: two at once keep more of it under way.
  constexpr int TILES = sizeof(T) < 4 ? 2 : 1;
  constexpr int GROUP = TILES * TILE;
  constexpr int ROUNDS = GROUP / (LANES * TEAM);
  constexpr int IN_FLIGHT = Write::IN_FLIGHT < ROUNDS ? Write::IN_FLIGHT : ROUNDS;
  __shared__ Shared<TILES * DRAWN> drawn;
  __shared__ Shared<TILES * WORDS> kept;

  const Write write(job);
  const T *x = static_cast<const T *>(job.x), *residual = static_cast<const T *>(job.residual);
  T *y = static_cast<T *>(job.y);
  const Lanes *x_lanes = reinterpret_cast<const Lanes *>(x), *residual_lanes = reinterpret_cast<const Lanes *>(residual);
  Lanes *y_lanes = reinterpret_cast<Lanes *>(y);
  const bool all_aligned = is_aligned(x) && is_aligned(residual) && is_aligned(y);
  const int thread = threadIdx.x;
  for (u64 group = blockIdx.x; group * GROUP < job.elements; group += gridDim.x) {
    const u64 start = group * GROUP;
    const bool is_whole = all_aligned && start + GROUP <= job.elements;
    // A thread's place in a round.
    auto place = [&](int round) { return group * (GROUP / LANES) + (round * TEAM + thread); };
    Lanes first[IN_FLIGHT];
    if (Write::READS && is_whole)
#pragma unroll
      for (int round = 0; round < IN_FLIGHT; ++round) // The memory answers while the mask is drawn.
        first[round] = load(x_lanes + place(round));
    decide<TILES>(job, group * TILES, drawn, kept);
    if (is_whole) {
#pragma unroll 1
      for (int from = 0; from < ROUNDS; from += IN_FLIGHT) {
#pragma unroll
        for (int i = 0; i < IN_FLIGHT; ++i) {
          const int round = from + i, element = (round * TEAM + thread) * LANES;
          Lanes in = first[i], added = {}, out;
          if (Write::READS && round + IN_FLIGHT < ROUNDS)
            first[i] = load(x_lanes + place(round + IN_FLIGHT));
          if (Write::ADDS)
            added = load(residual_lanes + place(round));
          u32 words[LANES];
          take<LANES>(kept, element / TILE * WORDS + element % WORDS, words);
          const int bit = element / WORDS % 32;
#pragma unroll
          for (int lane = 0; lane < LANES; ++lane)
            out.at[lane] = write(in.at[lane], added.at[lane], words[lane] >> bit & 1);
          store(y_lanes + place(round), out);
        }
      }
    } else {
#pragma unroll 1
      for (int element = thread; element < GROUP && start + element < job.elements; element += TEAM) {
        const u64 i = start + element;
        const u32 word = kept.get(element / TILE * WORDS + element % WORDS);
        T in = Write::READS ? load(x + i) : T(), added = Write::ADDS ? load(residual + i) : T();
        store(y + i, write(in, added, word >> element / WORDS % 32 & 1));
      }
    }
  }
}

// Normal numbers: src/cpu/normal.rs has the formulas, of which each operation rounds once.

template <int N> __device__ float polynomial(float x, const float (&coefficients)[N]) {
  float sum = coefficients[0];
#pragma unroll
  for (int i = 1; i < N; ++i)
    sum = sum * x + coefficients[i];
  return sum;
}

__device__ float logarithm(float x) {
  constexpr u32 SQRT_HALF = 0x3F3504F3;
  constexpr float LN[] = {7.0376836e-2f,  -1.151461e-1f,   1.1676999e-1f, -1.2420141e-1f, 1.4249323e-1f,
                          -1.6668058e-1f, 2.0000715e-1f, -2.4999994e-1f, 0.3333333f};
  u32 bits = __float_as_uint(x) - SQRT_HALF;
  float e = float(int(bits) >> 23);
  float m = __uint_as_float((bits & 0x007FFFFF) + SQRT_HALF) - 1.0f;
  float square = m * m;
  float small = polynomial(m, LN) * m * square + e * -2.1219444e-4f - 0.5f * square;
  return m + small + e * 0.6933594f;
}

// The sine and cosine of an angle that is given in units of 2^-32 turns, times a radius.
__device__ void point(float radius, u32 angle, float &sine, float &cosine) {
  constexpr float RADIANS = 6.28318530717958647692f / 4294967296.0f;
  constexpr float SIN[] = {-1.9515296e-4f, 8.332161e-3f, -1.6666655e-1f};
  constexpr float COS[] = {2.4433157e-5f, -1.3887316e-3f, 4.1666646e-2f};
  u32 quarter = (angle + (1u << 29)) >> 30;
  float x = float(int(angle - (quarter << 30))) * RADIANS;
  float square = x * x;
  float s = polynomial(square, SIN) * square * x + x;
  float c = polynomial(square, COS) * square * square - 0.5f * square + 1.0f;
  // A quarter turn exchanges the two; half a turn changes both signs.
  float sine_of = quarter & 1 ? c : s, cosine_of = quarter & 1 ? s : c;
  sine = radius * (quarter & 2 ? -sine_of : sine_of);
  cosine = radius * ((quarter + 1) & 2 ? -cosine_of : cosine_of);
}

template <class K> __device__ void normal(const Job &job) {
  typedef typename K::Element T;
  constexpr u32 LATTICE = 0x9E3778C1;
  constexpr int PAIRS = TILE / (2 * WORDS); // planes of a tile
  const T *x = static_cast<const T *>(job.x);
  T *y = static_cast<T *>(job.y);
  const float deviation = job.deviation;
  const u64 blocks = (job.elements + TILE - 1) / TILE * (PAIRS * BLOCKS);
  auto write = [&](u64 element, float number) {
    if (element >= job.elements)
      return;
    // Rounded as if the mask were stored.
    T factor = K::round(1.0f + deviation * number);
    store(y + element, x ? K::round(K::widen(load(x + element)) * K::widen(factor)) : factor);
  };
#pragma unroll 1
  for (u64 i = u64(blockIdx.x) * TEAM + threadIdx.x; i < blocks; i += u64(gridDim.x) * TEAM) {
    u64 tile = i / (PAIRS * BLOCKS);
    int plane = i / BLOCKS % PAIRS, block = i % BLOCKS;
    uint4 four = philox(job.key, job.high, job.planes_low + plane * job.plane_step + tile * BLOCKS + block);
    u32 words[4] = {four.x, four.y, four.z, four.w};
    u64 element = tile * TILE + plane * (2 * WORDS) + block;
#pragma unroll
    for (int k = 0; k < 4; ++k, element += BLOCKS) {
      float uniform = (float(int(words[k] >> 1)) + 0.5f) * (1.0f / 2147483648.0f);
      float sine, cosine;
      point(__fsqrt_rn(-2.0f * logarithm(uniform)), words[k] * LATTICE, sine, cosine);
      write(element, cosine);
      write(element + WORDS, sine);
    }
  }
}

#ifndef KERNEL
#define KERNEL(NAME, ...)                                                                                              \
  extern "C" __global__ void __launch_bounds__(TEAM, RESIDENT) NAME(const Job job) { __VA_ARGS__(job); }
#endif

KERNEL(mask_8, bernoulli<Mask<u8>>)
KERNEL(mask_16, bernoulli<Mask<u16>>)
KERNEL(mask_32, bernoulli<Mask<u32>>)
KERNEL(mask_64, bernoulli<Mask<u64>>)
KERNEL(product_f32, bernoulli<Product<F32>>)
KERNEL(product_f64, bernoulli<Product<F64>>)
KERNEL(product_f16, bernoulli<Product<F16>>)
KERNEL(product_bf16, bernoulli<Product<BF16>>)
KERNEL(sum_f32, bernoulli<Sum<F32>>)
KERNEL(sum_f64, bernoulli<Sum<F64>>)
KERNEL(sum_f16, bernoulli<Sum<F16>>)
KERNEL(sum_bf16, bernoulli<Sum<BF16>>)
KERNEL(shifted_f32, bernoulli<Shifted<F32>>)
KERNEL(shifted_f64, bernoulli<Shifted<F64>>)
KERNEL(shifted_f16, bernoulli<Shifted<F16>>)
KERNEL(shifted_bf16, bernoulli<Shifted<BF16>>)
KERNEL(normal_f32, normal<F32>)
KERNEL(normal_f64, normal<F64>)
KERNEL(normal_f16, normal<F16>)
KERNEL(normal_bf16, normal<BF16>)
