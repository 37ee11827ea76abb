// A backward pass that is a Rust closure, over libtorch's public torch::autograd::Function.
//
// mod.rs says what it is for, and declares what is extern "C" here.

#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/jit/frontend/tracer.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Passes an error's text to the other language; only that one knows what `to` is.
using Tell = void (*)(void *to, const char *text, size_t length);

// A boxed Rust closure, and how to use it. `call` gets the inputs if the node keeps them, else null. It writes
// a new tensor for each input that is needed, or returns false after passing an error to `tell`.
struct Closure {
  void *data;
  bool (*call)(const void *data, const Tensor *gradient, const Tensor *const *inputs,
               const bool *needed, Tensor **results, size_t count, Tell tell, void *to);
  void (*drop)(void *data);
};

// The arguments of Function::forward that are no inputs, and have no gradient.
constexpr size_t OTHERS = 2;

using Data = std::unique_ptr<void, decltype(Closure::drop)>;

// The closure, in a form that a node of the graph can hold and drop.
class Backward final : public torch::CustomClassHolder {
public:
  Backward(Data data, decltype(Closure::call) call, size_t inputs, bool keeps)
      : inputs(inputs), keeps(keeps), data(std::move(data)), call(call) {}

  // Undefined tensors for inputs that are not needed, and for the last arguments of forward.
  variable_list operator()(const Tensor &gradient, const variable_list &saved,
                           const bool *needed) const {
    std::string error;
    Tell tell = [](void *to, const char *text, size_t length) noexcept {
      static_cast<std::string *>(to)->assign(text, length);
    };
    std::vector<const Tensor *> pointers;
    for (const Tensor &input : saved)
      pointers.push_back(&input);
    std::vector<Tensor *> made(inputs);
    if (!call(data.get(), &gradient, saved.empty() ? nullptr : pointers.data(), needed, made.data(),
              inputs, tell, &error))
      throw std::runtime_error(error);
    variable_list results(inputs + OTHERS);
    for (size_t input = 0; input < inputs; ++input)
      if (std::unique_ptr<Tensor> result{made[input]})
        results[input] = std::move(*result);
    return results;
  }

  const size_t inputs;
  // Whether the node keeps the inputs.
  const bool keeps;

private:
  Data data;
  decltype(Closure::call) call;
};

struct Function : torch::autograd::Function<Function> {
  // `y` is a pointer, since a tensor would count as one more input.
  static Tensor forward(AutogradContext *context, at::TensorList inputs, const Tensor *y,
                        c10::intrusive_ptr<Backward> backward) {
    context->set_materialize_grads(false);
    if (backward->keeps)
      context->save_for_backward(inputs.vec());
    context->saved_data["backward"] = c10::IValue::make_capsule(std::move(backward));
    // libtorch would overwrite the history that the tensor has, for everyone who holds it.
    return y->requires_grad() ? y->detach() : *y;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    auto backward =
        c10::static_intrusive_pointer_cast<Backward>(context->saved_data["backward"].toCapsule());
    if (!gradients[0].defined())
      return variable_list(backward->inputs + OTHERS);
    auto needed = std::make_unique<bool[]>(backward->inputs);
    for (size_t input = 0; input < backward->inputs; ++input)
      needed[input] = context->needs_input_grad(input);
    // Fails if they have been freed or modified.
    variable_list saved = backward->keeps ? context->get_saved_variables() : variable_list();
    return (*backward)(gradients[0], saved, needed.get());
  }
};

} // namespace

// Returns null after passing an error to `tell`. The closure is dropped in any case, sooner or later.
extern "C" Tensor *tch_dropout_with_backward(const Tensor *const *inputs, size_t count,
                                             bool keep, const Tensor *y, Closure closure,
                                             Tell tell, void *to) {
  Data data(closure.data, closure.drop);
  try {
    variable_list variables;
    for (size_t input = 0; input < count; ++input)
      variables.push_back(*inputs[input]);
    // Function would do this too, but makes a node first, which takes as long as a small product.
    if (!at::GradMode::is_enabled() || !torch::autograd::any_variable_requires_grad(variables))
      return new Tensor(*y);
    auto backward = c10::make_intrusive<Backward>(std::move(data), closure.call, count, keep);
    return new Tensor(Function::apply(at::TensorList(variables), y, std::move(backward)));
  } catch (const std::exception &error) {
    tell(to, error.what(), std::strlen(error.what()));
  } catch (...) {
    const char *text = "an exception of C++ without a text";
    tell(to, text, std::strlen(text));
  }
  return nullptr;
}

// For src/trace.rs.
extern "C" bool tch_dropout_is_tracing() { return torch::jit::tracer::isTracing(); }
