// What a segment of a model depends on besides its inputs: the leaves of its graph, libtorch's generators, and
// its modes.
//
// leaves.rs and setting.rs say what it is for, and declare what is extern "C" here.

#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <ATen/SequenceNumber.h>
#include <ATen/autocast_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/accumulate_grad.h>
#include <torch/csrc/autograd/variable.h>

namespace {

using at::Tensor;
using torch::autograd::AccumulateGrad;
using torch::autograd::Edge;
using torch::autograd::Node;
using torch::autograd::impl::gradient_edge;

// As in function.cpp.
using Tell = void (*)(void *to, const char *text, size_t length);

// Passes a new tensor, which the receiver owns, and where libtorch has it.
using Give = void (*)(void *to, Tensor *tensor, const void *id);

const at::Generator &generator_of(const Tensor *on) {
  return at::globalContext().defaultGenerator(on->device());
}

// Whether it worked; if not, after passing an error to `tell`.
template <class Work> bool try_to(Work work, Tell tell, void *to) {
  try {
    work();
    return true;
  } catch (const std::exception &error) {
    tell(to, error.what(), std::strlen(error.what()));
  } catch (...) {
    const char *text = "an exception of C++ without a text";
    tell(to, text, std::strlen(text));
  }
  return false;
}

} // namespace

// The number that this thread's next node gets.
extern "C" uint64_t tch_dropout_next_node() { return at::sequence_number::peek(); }

// Gives the leaves that `y` was computed from, other than `inputs`. The order depends on the graph alone. If it
// meets a node from before `since`, it passes its name to `outside`, and goes no further there.
extern "C" bool tch_dropout_leaves(const Tensor *y, const Tensor *const *inputs, size_t count,
                                   uint64_t since, Give give, void *leaves, Tell outside,
                                   void *name, Tell tell, void *to) {
  auto walk = [&] {
    // Edges hold their nodes.
    std::vector<Edge> ends;
    std::unordered_set<const Node *> seen{nullptr};
    for (size_t input = 0; input < count; ++input) {
      ends.push_back(gradient_edge(*inputs[input]));
      seen.insert(ends.back().function.get());
    }
    const Edge start = gradient_edge(*y);
    std::vector<const Node *> left{start.function.get()};
    while (!left.empty()) {
      const Node *node = left.back();
      left.pop_back();
      if (!seen.insert(node).second)
        continue;
      if (auto *leaf = dynamic_cast<const AccumulateGrad *>(node)) {
        give(leaves, new Tensor(leaf->variable), leaf->variable.unsafeGetTensorImpl());
      } else if (node->sequence_nr() < since) {
        std::string text = node->name();
        outside(name, text.data(), text.size());
      } else {
        for (const Edge &edge : node->next_edges())
          left.push_back(edge.function.get());
      }
    }
  };
  return try_to(walk, tell, to);
}

// The state of the generator on a tensor's device; null after passing an error to `tell`.
extern "C" Tensor *tch_dropout_generator_state(const Tensor *on, Tell tell, void *to) {
  std::unique_ptr<Tensor> state;
  auto get = [&] {
    at::Generator generator = generator_of(on);
    std::lock_guard<std::mutex> lock(generator.mutex());
    state = std::make_unique<Tensor>(generator.get_state());
  };
  try_to(get, tell, to);
  return state.release();
}

extern "C" bool tch_dropout_set_generator_state(const Tensor *on, const Tensor *state, Tell tell,
                                                void *to) {
  auto set = [&] {
    at::Generator generator = generator_of(on);
    std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(*state);
  };
  return try_to(set, tell, to);
}

// 64 random bits of the CPU's generator: what `random_` over all numbers draws for an element, without a tensor.
extern "C" bool tch_dropout_random64(uint64_t *bits, Tell tell, void *to) {
  auto draw = [&] {
    at::Generator generator = at::detail::getDefaultCPUGenerator();
    std::lock_guard<std::mutex> lock(generator.mutex());
    *bits = generator.get<at::CPUGeneratorImpl>()->random64();
  };
  return try_to(draw, tell, to);
}

// The seed of the generator on a GPU tensor's device, and its offset, which moves on by four numbers a thread (libtorch
// wants a multiple of four).
extern "C" bool tch_dropout_take_offset(const Tensor *on, uint64_t *seed, uint64_t *offset, Tell tell,
                                        void *to) {
  auto take = [&] {
    at::Generator generator = generator_of(on);
    std::lock_guard<std::mutex> lock(generator.mutex());
    *seed = generator.current_seed();
    *offset = generator.get_offset();
    generator.set_offset(*offset + 4);
  };
  return try_to(take, tell, to);
}

// Whether this thread's operations are recorded for a gradient.
extern "C" bool tch_dropout_is_recorded() { return at::GradMode::is_enabled(); }

// Autocast on one thread: on the CPU, and on CUDA devices, where tch's is.
struct Autocast {
  bool enabled[2];
  at::ScalarType kind[2];
};

static const at::DeviceType autocast_devices[2] = {at::kCPU, at::kCUDA};

extern "C" Autocast tch_dropout_autocast() {
  Autocast now;
  for (int i = 0; i < 2; ++i) {
    now.enabled[i] = at::autocast::is_autocast_enabled(autocast_devices[i]);
    now.kind[i] = at::autocast::get_autocast_dtype(autocast_devices[i]);
  }
  return now;
}

static void set_autocast(Autocast autocast) {
  for (int i = 0; i < 2; ++i) {
    at::autocast::set_autocast_enabled(autocast_devices[i], autocast.enabled[i]);
    at::autocast::set_autocast_dtype(autocast_devices[i], autocast.kind[i]);
  }
}

extern "C" void tch_dropout_enter_autocast(Autocast autocast) {
  at::autocast::increment_nesting();
  set_autocast(autocast);
}

// The outermost one to leave forgets the copies of weights in the other kind.
extern "C" void tch_dropout_leave_autocast(Autocast before) {
  if (at::autocast::decrement_nesting() == 0)
    at::autocast::clear_cache();
  set_autocast(before);
}
