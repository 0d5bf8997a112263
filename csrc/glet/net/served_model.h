#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glet/exec/device_tensor.h"
#include "glet/exec/tensor.h"
#include "glet/net/protocol.h"
#include "glet/net/zmq.h"

namespace glet::net {

// What the frontend knows of a model, and the check of a request against it. The usual header (all
// inputs, in order, as our own clients write them) is recognised by one comparison of bytes.
class ServedModel {
 public:
  // Throws ArgumentError unless slo_ms is finite and > 0.
  ServedModel(std::string name, exec::Signature signature, double slo_ms);

  const std::string& name() const { return name_; }
  const exec::Signature& signature() const { return signature_; }
  double slo_ms() const { return slo_ms_; }
  const std::string& encoded_outputs() const { return encoded_outputs_; }

  // Nothing when the request is good; `frames` is then in signature order. Otherwise one line that
  // says which input, what it is and what it should be. `device` gets the inputs that are in device
  // memory.
  std::optional<std::string> refuse(const ClientHeader& header, std::vector<Message>& frames,
                                    DeviceTensors& device) const;
  // The same for the outputs that an executor sent.
  std::optional<std::string> refuse_outputs(std::span<const Message> frames,
                                            DeviceTensors device = {}) const;

 private:
  std::optional<std::string> refuse_claims(std::span<const std::byte> inputs,
                                           std::vector<Message>& frames,
                                           DeviceTensors& device) const;
  std::optional<std::string> refuse_sizes(std::span<const Message> frames,
                                          DeviceTensors device) const;

  std::string name_;
  exec::Signature signature_;
  double slo_ms_;
  std::string encoded_inputs_;
  std::string encoded_outputs_;
};

// What a peer wrote, quoted and cut to a length that fits a line.
std::string quoted(std::string_view text);

// The name among `names` that is nearest to a misspelt one, or nothing when none is near.
std::optional<std::string> nearest_name(std::string_view wanted,
                                        const std::vector<std::string>& names);

}  // namespace glet::net
