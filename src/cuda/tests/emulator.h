// A GPU that is a CPU, for a test of dropout.cu: each thread of a block is a coroutine, and blocks run one after the
// other. It fails on what a GPU forgives now and then:
//
// - shared memory that is read before anybody wrote it, or that two threads use without a barrier between them
// - what lies beyond an array, or is not aligned; an element that is written twice, or not at all
// - a barrier, vote or shuffle that not all threads reach
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ucontext.h>

// All names are this library's own: a test loads several.
namespace {

#define __device__
#define __global__
#define __forceinline__
#define __shared__ static
#define __launch_bounds__(...)

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct Index {
  unsigned x;
};
Index threadIdx, blockIdx, gridDim;

namespace emulator {

constexpr int LANES = 32;

struct Array {
  uintptr_t start, end;
  bool contains(const void *at, size_t size) const {
    auto address = reinterpret_cast<uintptr_t>(at);
    return address >= start && address + size <= end;
  }
};

enum Wait { NOTHING, BARRIER, SHUFFLE_UP, SHUFFLE, VOTE, END };

struct Thread {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(64 << 10);
  Wait wait;
  // What it brings to an operation of its warp, and what it gets.
  unsigned value, argument, result;
};

struct Launch {
  std::vector<Thread> threads;
  ucontext_t scheduler;
  std::function<void()> kernel;
  std::vector<Array> inputs;
  Array output;
  std::vector<char> written;
  // Of all blocks so far, so that what an earlier one left in shared memory counts as nothing; and of the barriers.
  unsigned block = 0, barrier = 0;
  std::string error;
};
Launch launch;

// Ends the launch, from within a thread.
[[noreturn]] inline void fail(const std::string &text) {
  launch.error = "block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(threadIdx.x) + ": " + text;
  setcontext(&launch.scheduler);
  abort();
}

unsigned wait_for(Wait wait, unsigned value = 0, unsigned argument = 0) {
  Thread &thread = launch.threads[threadIdx.x];
  thread.wait = wait, thread.value = value, thread.argument = argument;
  unsigned index = threadIdx.x;
  swapcontext(&thread.context, &launch.scheduler);
  threadIdx.x = index;
  return thread.result;
}

// Lets the lanes of a warp go on, if all wait for the same operation. Whether they do.
bool finish_warp(size_t warp) {
  Thread *lanes = &launch.threads[warp * LANES];
  Wait wait = lanes[0].wait;
  for (int lane = 0; lane < LANES; ++lane)
    if (lanes[lane].wait != wait)
      return false;
  if (wait == BARRIER || wait == END)
    return false;
  unsigned any = 0;
  for (int lane = 0; lane < LANES; ++lane)
    any |= lanes[lane].value;
  for (int lane = 0; lane < LANES; ++lane) {
    Thread &thread = lanes[lane];
    int argument = thread.argument;
    int from = wait == SHUFFLE_UP ? lane - argument : argument;
    thread.result = wait == VOTE ? any : lanes[from < 0 ? lane : from].value;
  }
  for (int lane = 0; lane < LANES; ++lane)
    lanes[lane].wait = NOTHING;
  return true;
}

// Lets all threads go on, if all are at the barrier. Whether they are.
bool finish_barrier() {
  for (Thread &thread : launch.threads)
    if (thread.wait != BARRIER)
      return false;
  for (Thread &thread : launch.threads)
    thread.wait = NOTHING;
  ++launch.barrier;
  return true;
}

void run_thread() {
  launch.kernel();
  wait_for(END);
}

// Lets each thread run until it waits. Whether none has failed.
bool resume_all() {
  for (size_t i = 0; i < launch.threads.size(); ++i) {
    Thread &thread = launch.threads[i];
    if (thread.wait != NOTHING)
      continue;
    threadIdx.x = i;
    swapcontext(&launch.scheduler, &thread.context);
    if (!launch.error.empty())
      return false;
  }
  return true;
}

void run_block() {
  ++launch.block, ++launch.barrier;
  for (Thread &thread : launch.threads) {
    thread.wait = NOTHING;
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.data();
    thread.context.uc_stack.ss_size = thread.stack.size();
    thread.context.uc_link = nullptr;
    makecontext(&thread.context, &run_thread, 0);
  }
  while (resume_all()) {
    bool is_moving = finish_barrier(), is_over = true;
    for (size_t warp = 0; warp < launch.threads.size() / LANES; ++warp)
      is_moving |= finish_warp(warp);
    for (Thread &thread : launch.threads)
      is_over &= thread.wait == END;
    if (is_over)
      return;
    if (!is_moving) {
      launch.error = "a barrier, vote or shuffle that not all threads reach";
      return;
    }
  }
}

// Runs a grid, or the blocks of it that `part` has. What went wrong; empty if nothing did.
std::string run(unsigned blocks, std::pair<unsigned, unsigned> part, unsigned threads, std::vector<Array> inputs, Array output,
                std::function<void()> kernel) {
  launch.threads.resize(threads);
  launch.kernel = kernel, launch.inputs = inputs, launch.output = output;
  launch.written.assign(output.end - output.start, 0);
  launch.error.clear();
  gridDim.x = blocks;
  for (blockIdx.x = part.first; blockIdx.x < std::min(blocks, part.second) && launch.error.empty(); ++blockIdx.x)
    run_block();
  for (char written : launch.written)
    if (launch.error.empty() && !written)
      launch.error = "an element that nobody wrote";
  return launch.error;
}

} // namespace emulator

// What CUDA gives to a kernel.

void __syncthreads() { emulator::wait_for(emulator::BARRIER); }
unsigned __shfl_up_sync(unsigned, unsigned value, unsigned by) {
  return emulator::wait_for(emulator::SHUFFLE_UP, value, by);
}
unsigned __shfl_sync(unsigned, unsigned value, unsigned lane) {
  return emulator::wait_for(emulator::SHUFFLE, value, lane);
}
bool __any_sync(unsigned, bool value) { return emulator::wait_for(emulator::VOTE, value); }

unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
int __popcll(uint64_t bits) { return __builtin_popcountll(bits); }
float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }

template <class To, class From> To bits_as(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  memcpy(&to, &from, sizeof to);
  return to;
}
unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
float widen_half(unsigned short half) { return bits_as<_Float16>(half); }
unsigned short round_to_half(float wide) { return bits_as<unsigned short>(_Float16(wide)); }

template <class T> T load(const T *from) {
  if (reinterpret_cast<uintptr_t>(from) % alignof(T))
    emulator::fail("reads what is not aligned");
  for (const emulator::Array &input : emulator::launch.inputs)
    if (input.contains(from, sizeof(T)))
      return *from;
  emulator::fail("reads beyond an input");
}

template <class T> void store(T *to, T value) {
  auto &launch = emulator::launch;
  if (reinterpret_cast<uintptr_t>(to) % alignof(T))
    emulator::fail("writes what is not aligned");
  if (!launch.output.contains(to, sizeof(T)))
    emulator::fail("writes beyond the output");
  char *written = &launch.written[reinterpret_cast<uintptr_t>(to) - launch.output.start];
  for (size_t byte = 0; byte < sizeof(T); ++byte)
    if (written[byte]++)
      emulator::fail("writes an element twice");
  *to = value;
}

template <int N> class Shared {
  struct Word {
    unsigned value, block, written_at, writer, read_at, reader;
  };
  mutable Word words[N];
  // No thread: several.
  static constexpr unsigned SEVERAL = ~0u;

  Word &word(int i, int alignment) const {
    if (i < 0 || i >= N)
      emulator::fail("shared memory beyond its end");
    if (i % alignment)
      emulator::fail("shared memory that is not aligned");
    return words[i];
  }

  unsigned read(int i, int alignment) const {
    Word &word = this->word(i, alignment);
    unsigned me = threadIdx.x, now = emulator::launch.barrier;
    if (word.block != emulator::launch.block)
      emulator::fail("reads shared memory that nobody wrote");
    if (word.written_at == now && word.writer != me)
      emulator::fail("reads what another thread wrote, without a barrier");
    word.reader = word.read_at == now && word.reader != me ? SEVERAL : me;
    word.read_at = now;
    return word.value;
  }

  void write(int i, int alignment, unsigned value) {
    Word &word = this->word(i, alignment);
    unsigned me = threadIdx.x, now = emulator::launch.barrier;
    if ((word.written_at == now && word.writer != me) || (word.read_at == now && word.reader != me))
      emulator::fail("writes what another thread uses, without a barrier");
    word.value = value, word.block = emulator::launch.block, word.written_at = now, word.writer = me;
  }

public:
  unsigned get(int i) const { return read(i, 1); }
  unsigned long long pair(int i) const { return read(i, 2) | uint64_t(read(i + 1, 1)) << 32; }
  uint4 quad(int i) const { return {read(i, 4), read(i + 1, 1), read(i + 2, 1), read(i + 3, 1)}; }
  void put(int i, unsigned value) { write(i, 1, value); }
  void put_pair(int i, unsigned long long words) {
    write(i, 2, words);
    write(i + 1, 1, words >> 32);
  }
};

} // namespace
