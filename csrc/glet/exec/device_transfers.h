#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "glet/exec/device_tensor.h"
#include "glet/exec/partition/green_device.h"
#include "glet/exec/staging.h"

namespace glet::exec {

// The tensors of one batch that are in device memory of clients: inputs are copied into their slots
// on the gpulet's stream, in place of the host's bytes, outputs out of theirs. A runner's own; but
// for open(), of one thread.
class DeviceTransfers {
 public:
  // A client's tensor, open while this lives.
  struct Opened {
    std::shared_ptr<const MemoryImports::Import> import;
    cuda::DevicePointer address = 0;
  };
  struct Transfer {
    std::size_t tensor = 0;  // of the signature
    int slot = 0;
    Opened opened;
  };

  explicit DeviceTransfers(std::shared_ptr<GreenDevice> device) : device_(std::move(device)) {}

  // Nothing, and `wrong` is one line, when it cannot be had.
  std::optional<Opened> open(const DeviceTensor& tensor, std::string& wrong);

  // For the next run; by slot, increasing.
  void set(std::vector<Transfer> inputs, std::vector<Transfer> outputs);
  void clear() { set({}, {}); }

  // The first `n` slots of every input to the device. Throws DeviceError.
  void inputs(const BlockLayout& layout, int n, const std::byte* block, const DeviceTensors& device,
              cuda::Stream stream) const;
  // The outputs that were asked for. Throws DeviceError.
  void outputs(const BlockLayout& layout, const DeviceTensors& device, cuda::Stream stream) const;

 private:
  const CudaDriver& driver() const { return device_->primary()->driver(); }

  std::shared_ptr<GreenDevice> device_;
  std::vector<Transfer> inputs_;
  std::vector<Transfer> outputs_;
};

}  // namespace glet::exec
