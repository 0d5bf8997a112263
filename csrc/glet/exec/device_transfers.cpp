#include "glet/exec/device_transfers.h"

#include <utility>

#include "glet/error.h"
#include "glet/exec/engine.h"

namespace glet::exec {

std::optional<DeviceTransfers::Opened> DeviceTransfers::open(const DeviceTensor& tensor,
                                                             std::string& wrong) {
  if (tensor.host != this_host()) {
    wrong = "is device memory of another host; send a host array";
    return std::nullopt;
  }
  Opened opened;
  try {
    opened.import = device_->imports().open(tensor.handle, now());
  } catch (const DeviceError& error) {
    wrong = "is device memory that cannot be opened on device " +
            std::to_string(device_->device()) + " (" + error.what() +
            "); was it freed, or is it on a device that this one cannot reach?";
    return std::nullopt;
  }
  const std::size_t whole = opened.import->bytes();
  if (tensor.offset > whole || tensor.bytes > whole - tensor.offset) {
    wrong = "is in an allocation of " + std::to_string(whole) + " bytes; " +
            std::to_string(tensor.bytes) + " from " + std::to_string(tensor.offset) +
            " on are not all in it";
    return std::nullopt;
  }
  opened.address = opened.import->address() + tensor.offset;
  return opened;
}

void DeviceTransfers::set(std::vector<Transfer> inputs, std::vector<Transfer> outputs) {
  inputs_ = std::move(inputs);
  outputs_ = std::move(outputs);
}

void DeviceTransfers::inputs(const BlockLayout& layout, int n, const std::byte* block,
                             const DeviceTensors& device, cuda::Stream stream) const {
  if (inputs_.empty()) return copy_to_device(driver(), layout, n, block, device, stream);
  for (std::size_t i = 0; i < device.addresses.size(); ++i) {
    const std::size_t item = layout.item_bytes[i];
    // Runs of neighbouring slots that the host has.
    int first = 0;
    const auto copy_until = [&](int end) {
      const std::size_t at = item * static_cast<std::size_t>(first);
      const std::size_t bytes = item * static_cast<std::size_t>(end - first);
      if (end > first && bytes > 0) {
        driver().call(driver().entry().copy_to_device, device.addresses[i] + at,
                      block + layout.offsets[i] + at, bytes, stream);
      }
    };
    for (const Transfer& from : inputs_) {
      if (from.tensor != i) continue;
      copy_until(from.slot);
      first = from.slot + 1;
      if (item == 0) continue;
      driver().call(driver().entry().copy_on_device,
                    device.addresses[i] + item * static_cast<std::size_t>(from.slot),
                    from.opened.address, item, stream);
    }
    copy_until(n);
  }
}

void DeviceTransfers::outputs(const BlockLayout& layout, const DeviceTensors& device,
                              cuda::Stream stream) const {
  for (const Transfer& to : outputs_) {
    const std::size_t item = layout.item_bytes[to.tensor];
    if (item == 0) continue;
    driver().call(driver().entry().copy_on_device, to.opened.address,
                  device.addresses[to.tensor] + item * static_cast<std::size_t>(to.slot), item,
                  stream);
  }
}

}  // namespace glet::exec
