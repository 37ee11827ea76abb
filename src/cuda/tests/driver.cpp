// A CUDA driver without a GPU: the functions that driver.rs calls, over the emulator. Its memory is the CPU's.
//
// KERNELS names the kernels' source; the test compiles changed ones, too, and some with fewer PLANES.

#include "emulator.h"

namespace {

struct Job;
using Kernel = std::function<void(const Job &)>;

// By name.
std::map<std::string, Kernel> kernels;
bool add(const char *name, Kernel kernel) { return kernels[name] = kernel, true; }

#define KERNEL(NAME, ...) bool NAME = add(#NAME, [](const Job &job) { __VA_ARGS__(job); });
#include KERNELS

// What a test may change: the function that fails, maybe with ": out of memory" after its name; what the driver says of
// itself and its device; and where arrays and blocks begin that are too many to have or to run them all.
std::string failing;
int version, capability, processors;
uint64_t first_element;
unsigned first_block, end_block;

// The words for what went wrong last.
std::string text;
// Devices' primary contexts, and which of them are current.
char contexts[2];
std::vector<char *> current;

int result_of(const char *function) {
  bool is_full = failing == std::string(function) + ": out of memory";
  text = is_full ? "out of memory" : failing + " was told to fail";
  return is_full ? 2 : failing == function ? 999 : 0;
}

// An element's size, by the end of a kernel's name.
size_t size_of(const std::string &name) {
  std::string kind = name.substr(name.rfind('_') + 1);
  return std::stoul(kind.substr(kind.find_first_of("0123456789"))) / 8;
}

} // namespace

extern "C" void emulator_set(const char *new_failing, int new_version, int new_capability, int new_processors,
                             uint64_t new_first_element, unsigned new_first_block, unsigned new_end_block) {
  failing = new_failing, version = new_version, capability = new_capability, processors = new_processors;
  first_element = new_first_element, first_block = new_first_block, end_block = new_end_block;
}
extern "C" unsigned emulator_round_to_bf16(unsigned bits) { return BF16::round(__uint_as_float(bits)); }
extern "C" int emulator_depth() { return current.size(); }

extern "C" int cuInit(unsigned) { return result_of(__func__); }
extern "C" int cuDriverGetVersion(int *to) { return *to = version, result_of(__func__); }
extern "C" int cuDeviceGet(int *device, int ordinal) { return *device = ordinal, result_of(__func__); }

extern "C" int cuDeviceGetAttribute(int *value, int attribute, int) {
  // 16: multiprocessors; 75: the first part of the compute capability.
  *value = attribute == 16 ? processors : attribute == 75 ? capability : -1;
  return result_of(__func__);
}

extern "C" int cuDevicePrimaryCtxRetain(void **context, int device) {
  *context = &contexts[device];
  return result_of(__func__);
}

extern "C" int cuCtxPushCurrent_v2(void *context) {
  char *pushed = static_cast<char *>(context);
  int result = pushed == &contexts[0] || pushed == &contexts[1] ? result_of(__func__) : 201;
  if (result == 0)
    current.push_back(pushed);
  return result;
}

extern "C" int cuCtxPopCurrent_v2(void **context) {
  *context = current.back();
  current.pop_back();
  return 0;
}

extern "C" int cuModuleLoadData(void **module, const void *ptx) {
  *module = const_cast<void *>(ptx);
  return current.size() == 1 ? result_of(__func__) : 201;
}

extern "C" int cuModuleGetFunction(void **function, void *module, const char *name) {
  auto kernel = kernels.find(name);
  std::string entry = std::string(".entry ") + name + "(";
  bool is_there = kernel != kernels.end() && strstr(static_cast<char *>(module), entry.c_str());
  *function = is_there ? &kernel->second : nullptr;
  return !is_there ? 500 : result_of(__func__);
}

extern "C" int cuGetErrorString(int, const char **to) { return *to = text.c_str(), 0; }

extern "C" int aoti_torch_get_current_cuda_stream(int32_t device, void **stream) {
  *stream = reinterpret_cast<void *>(uintptr_t(1000 + device));
  return result_of(__func__);
}

extern "C" int cuLaunchKernel(void *function, unsigned blocks, unsigned y, unsigned z, unsigned threads, unsigned,
                              unsigned, unsigned shared, void *stream, void **parameters, void **extra) {
  if (int result = result_of(__func__))
    return result;
  Job job = *static_cast<const Job *>(parameters[0]);
#ifdef PLANES
  int digits = job.threshold ? 64 - __builtin_ctzll(job.threshold) : 0;
  job.planes = digits < PLANES ? digits : PLANES, job.has_ties = digits > PLANES;
#endif
  for (auto &[name, kernel] : kernels)
    if (&kernel == function) {
      auto array = [&](const void *memory) {
        size_t size = size_of(name), start = reinterpret_cast<uintptr_t>(memory);
        if (!memory)
          return emulator::Array{};
        return emulator::Array{start + size * first_element, start + size * job.elements};
      };
      uintptr_t stream_of_context = current.size() == 1 ? 1000 + (current[0] - contexts) : 0;
      bool is_right = uintptr_t(stream) == stream_of_context && y == 1 && z == 1 && shared == 0 && !extra;
      text = is_right ? emulator::run(blocks, {first_block, end_block}, threads, {array(job.x), array(job.residual)}, array(job.y),
                                      [&] { kernel(job); })
                      : "a launch with other settings, or without a context";
      return text.empty() ? 0 : 719;
    }
  return 400;
}
