#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "glet/net/door.h"
#include "glet/net/slot_table.h"
#include "glet/web/oip_types.h"
#include "glet/web/shm_regions.h"

// An inference of the Open Inference Protocol v2, whatever it came in.
namespace glet::web {

// A part of a region that the client registered.
struct OipShm {
  std::string region;
  std::uint64_t offset = 0;
  std::uint64_t byte_size = 0;
};

struct OipInput {
  std::string_view name;
  std::string_view datatype;  // "FP32", ...
  std::vector<std::int64_t> shape;
  // Little-endian, C order; of BYTES a u32 length before each element. Looked at during start()
  // only, unless `keep` owns it: then large rows borrow it.
  std::span<const std::byte> bytes;
  std::shared_ptr<const void> keep;
  std::optional<OipShm> shm;  // instead of `bytes`
};

struct OipWanted {
  std::string name;
  bool binary = false;     // for whoever writes the answer
  int classification = 0;  // > 0: as many "value:index" instead of the tensor
  std::optional<OipShm> shm;
  bool is_there = false;  // `shm` is device memory, which the executor writes; set by start()
};

// Views have to live until start() returns.
struct OipRequest {
  std::string_view model;
  std::string_view version;  // empty or "1"
  std::string_view id;
  std::string_view traceparent;      // of W3C Trace Context, empty without
  std::optional<double> timeout_us;  // the deadline; nothing or 0: the model's SLO
  std::vector<OipInput> inputs;
  std::vector<OipWanted> outputs;  // empty: all of the signature
  bool binary = false;             // for outputs when `outputs` is empty
};

struct OipOutput {
  std::string name;
  OipType type = OipType::kFp32;
  std::vector<std::int64_t> shape;
  std::vector<net::Message> rows;  // in C order one after the other; empty when in `shm`
  bool binary = false;
  std::optional<OipShm> shm;  // written there already; byte_size is what it took

  std::size_t bytes() const;
};

struct OipResponse {
  std::string model;
  std::string version;
  std::string id;
  std::vector<OipOutput> outputs;
};

enum class OipCode {
  kInvalid,      // HTTP 400, INVALID_ARGUMENT
  kNotFound,     // 404, NOT_FOUND
  kFull,         // 429, RESOURCE_EXHAUSTED
  kFailed,       // 500, INTERNAL
  kUnavailable,  // 503, UNAVAILABLE
  kLate,         // 504, DEADLINE_EXCEEDED
};

// How a door answers for a model that no request can be made of: empty when it is there.
struct OipRefusal {
  OipCode code;
  std::string message;
};
std::optional<OipRefusal> refuse_model(const net::DoorHost& host, std::string_view model,
                                       std::string_view version);

inline constexpr std::int64_t kMaxRows = 256;

// The inferences of one door. A model has a batch dimension here: a request of shape [B, ...] is B
// items with one deadline, and the first that fails fails it; one of exactly the signature's rank
// is one item, and its answer has no batch dimension either.
//
//   start() -> one DoorHost::submit() per row -> answered()/failed() of the door -> done()/failed()
class OipCalls {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    // Exactly one of these per start(), unless it was cancelled. `call` is the owner's own.
    virtual void oip_done(std::uint64_t call, OipResponse response) = 0;
    virtual void oip_failed(std::uint64_t call, OipCode code, std::string_view message) = 0;
  };

  OipCalls(net::Door& door, Owner& owner) : door_(door), owner_(owner) {}
  void attach(net::DoorHost& host) { host_ = &host; }

  // Returns the tag to cancel by, 0 when it was answered before this returned.
  std::uint64_t start(std::uint64_t call, OipRequest& request, Nanos now);
  // Nothing is answered for it any more. Harmless when it has ended.
  void cancel(std::uint64_t tag);

  // The door's own, passed on; `row` is what submit() was given.
  void answered(std::uint64_t row, const net::ServedModel& model,
                std::vector<net::Message>& outputs);
  void failed(std::uint64_t row, exec::Outcome outcome, std::string_view message);

  ShmRegions& regions() { return regions_; }

 private:
  struct Call {
    std::uint64_t owners = 0;
    std::string model;
    std::string version;
    std::string id;
    bool batched = false;
    bool binary = false;
    std::size_t rows_left = 0;
    std::vector<std::uint64_t> submitted;         // tags, 0 where it has ended
    std::vector<std::vector<net::Message>> rows;  // outputs of each
    std::vector<OipWanted> wanted;
  };

  // What start() finds out about a request before it takes anything.
  struct Plan {
    std::vector<std::size_t> places;  // of the signature's inputs among the request's
    std::vector<std::vector<std::span<const std::byte>>> rows;  // [input of the signature][row]
    // Where the input is in device memory: in place of `rows`, each row's. [input of the signature]
    std::vector<std::optional<exec::DeviceTensor>> inputs_there;
    std::vector<std::pair<std::size_t, exec::DeviceTensor>>
        outputs_there;  // (of the signature, row 0)
    net::DeviceTensors device;
    bool batched = false;
    std::int64_t count = 1;
  };
  // One line when it does not fit the signature.
  std::optional<std::string> plan(const net::ServedModel& served, OipRequest& request, Plan& plan);
  std::optional<std::string> place(const net::ServedModel& served, const OipRequest& request,
                                   Plan& plan) const;
  std::optional<std::string> check_outputs(const net::ServedModel& served, OipRequest& request,
                                           Plan& plan) const;
  // Of oip_device.cpp: an input or output in device memory, for the plan.
  std::optional<std::string> cut_there(const exec::TensorSpec& spec,
                                       const exec::DeviceTensor& whole, Plan& plan) const;
  std::optional<std::string> write_there(const exec::TensorSpec& spec, std::size_t number,
                                         exec::DeviceTensor whole, OipWanted& wanted,
                                         Plan& plan) const;
  std::optional<std::string> cut(const net::ServedModel& served, OipInput& input,
                                 const exec::TensorSpec& spec, Plan& plan);
  std::optional<std::string> output_of(Call& call, const exec::TensorSpec& spec, std::size_t number,
                                       const OipWanted& wanted, OipOutput& output);
  void end(std::uint64_t tag, Call& call);
  void finish(std::uint64_t tag, Call& call, const net::ServedModel& model);

  net::Door& door_;
  Owner& owner_;
  net::DoorHost* host_ = nullptr;
  ShmRegions regions_;
  net::SlotTable<Call> calls_;
};

}  // namespace glet::web
