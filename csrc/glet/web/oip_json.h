#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "glet/web/json.h"
#include "glet/web/oip_call.h"

// Bodies of the Open Inference Protocol over REST, with the binary tensor extension.
namespace glet::web {

// Reads the body of an infer request. One reader's memory is used by one request at a time.
class OipJsonReader {
 public:
  // `json` is the first part of the body, `tensors` what is behind it (empty without binary
  // tensors), `keep` their owner, maybe nothing. The request's views point into all of them and
  // into the reader. Throws WireError, one line.
  OipRequest read(std::string_view json, std::span<const std::byte> tensors,
                  std::shared_ptr<const void> keep);

 private:
  struct Data {
    std::optional<std::size_t> at;  // where its array begins
    std::optional<std::uint64_t> binary_size;
  };

  void read_parameters(OipRequest& request);
  void read_input(OipRequest& request, std::vector<Data>& data);
  void read_output(OipRequest& request);
  bool read_shm(std::string_view name, std::optional<OipShm>& shm);
  void read_data(OipInput& input, std::size_t at);
  std::vector<std::byte>& take_memory();

  std::optional<JsonReader> reader_;
  std::string_view json_;
  std::deque<std::vector<std::byte>> memory_;  // of small tensors, kept for the next request
  std::size_t used_ = 0;
};

// Appends the JSON of an answer to `out`, and to `frames` the tensors that follow it. Otherwise one
// line: an output cannot be said in JSON.
std::optional<std::string> write_response(OipResponse& response, std::string& out,
                                          std::vector<net::Message>& frames);

}  // namespace glet::web
