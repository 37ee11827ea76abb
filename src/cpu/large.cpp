// Memory for a large tensor, which the next one can take over.
//
// large.rs says what it is for, and declares what is extern "C" here.

#include <atomic>
#include <cstdint>
#include <cstdlib>

#include <ATen/core/Tensor.h>

namespace {

// libtorch's alignment, for its vector instructions.
constexpr size_t ALIGNMENT = 64;
// From here on glibc maps a block separately and returns it to the system at once, whatever its
// dynamic threshold.
constexpr size_t MAPPED = 32 << 20;

// Lies just before a large tensor's data, within the memory that malloc gave.
struct Block {
  void *memory;
  size_t capacity;
};

Block *block_of(void *data) { return static_cast<Block *>(data) - 1; }

void free_block(void *data) {
  if (data)
    std::free(block_of(data)->memory);
}

// The data of the block that was freed last, which the caches still hold. The next tensor of about
// its size takes it.
std::atomic<void *> last_freed;

void keep_block(void *data) {
  bool keep = block_of(data)->capacity < MAPPED;
  free_block(keep ? last_freed.exchange(data) : data);
}

// Null if there is no memory.
void *new_block(size_t bytes) {
  void *data = bytes < MAPPED ? last_freed.exchange(nullptr) : nullptr;
  if (data) {
    size_t capacity = block_of(data)->capacity;
    if (capacity >= bytes && capacity - bytes <= bytes / 8)
      return data;
    free_block(data);
  }
  constexpr size_t more = sizeof(Block) + ALIGNMENT;
  if (bytes > SIZE_MAX - more)
    return nullptr;
  void *memory = std::malloc(bytes + more);
  if (!memory) {
    free_block(last_freed.exchange(nullptr));
    memory = std::malloc(bytes + more);
    if (!memory)
      return nullptr;
  }
  auto after = reinterpret_cast<uintptr_t>(memory) + sizeof(Block);
  data = reinterpret_cast<void *>((after + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  *block_of(data) = {memory, bytes};
  return data;
}

} // namespace

// Gives an empty CPU tensor a size, strides (or null: contiguous), and memory of its own.
// Returns false if there is none; the tensor is then unchanged.
extern "C" bool tch_dropout_give_memory(at::Tensor *tensor, size_t bytes, size_t dims,
                                        const int64_t *size, const int64_t *strides) noexcept {
  void *data = new_block(bytes);
  if (!data)
    return false;
  try {
    at::DataPtr memory(data, data, &keep_block, at::kCPU);
    // Resizable, by libtorch's own allocator, as every tensor's memory is.
    at::Storage storage(at::Storage::use_byte_size_t(), bytes, std::move(memory),
                        c10::GetAllocator(at::kCPU), /*resizable=*/true);
    tensor->set_(std::move(storage), 0, at::IntArrayRef(size, dims),
                 at::IntArrayRef(strides, strides ? dims : 0));
    return true;
  } catch (...) {
    return false;
  }
}
