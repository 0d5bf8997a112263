#include "glet/web/oip_call.h"

// Tensors of an inference that are in device memory: only an executor can look at them.
namespace glet::web {

std::optional<std::string> OipCalls::cut_there(const exec::TensorSpec& spec,
                                               const exec::DeviceTensor& whole, Plan& plan) const {
  const std::size_t number = plan.rows.size();
  if (spec.is_bytes()) return "strings cannot be in device memory";
  if (number >= net::DeviceTensors::kMost) return "only the first 16 inputs can be device memory";
  const std::size_t row = spec.bytes();
  if (whole.bytes != row * static_cast<std::size_t>(plan.count)) {
    return std::to_string(whole.bytes) + " bytes of device memory are not " +
           std::to_string(plan.count) + " times " + std::to_string(row);
  }
  plan.rows.emplace_back();
  plan.inputs_there.emplace_back(whole)->bytes = row;
  plan.device.inputs |= static_cast<std::uint16_t>(1 << number);
  return std::nullopt;
}

std::optional<std::string> OipCalls::write_there(const exec::TensorSpec& spec, std::size_t number,
                                                 exec::DeviceTensor whole, OipWanted& wanted,
                                                 Plan& plan) const {
  if (spec.is_bytes() || wanted.classification > 0 || number >= net::DeviceTensors::kMost) {
    return "into device memory goes a tensor of numbers, one of the first 16 outputs";
  }
  const std::size_t bytes = spec.bytes() * static_cast<std::size_t>(plan.count);
  if (whole.bytes < bytes) {
    return "it has " + std::to_string(bytes) + " bytes, shared_memory_byte_size is " +
           std::to_string(whole.bytes);
  }
  wanted.is_there = true;
  wanted.shm->byte_size = bytes;
  whole.bytes = spec.bytes();
  plan.outputs_there.emplace_back(number, whole);
  plan.device.outputs |= static_cast<std::uint16_t>(1 << number);
  return std::nullopt;
}

}  // namespace glet::web
