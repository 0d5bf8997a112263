#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "glet/net/client_connection.h"
#include "glet/net/load_record.h"
#include "glet/net/zmq.h"
#include "glet/time.h"

namespace glet::net {

// A request of a load: which sample of which model.
struct LoadRequest {
  std::int64_t id = 0;
  const LoadModel& model;
  const LoadSample& sample;
  Nanos give_up = kNever;  // it ends as `unavailable` then
};

// What a load is sent to, over whichever protocol. Owned by the load's thread; never blocks.
class LoadPeer {
 public:
  virtual ~LoadPeer() = default;

  // Sends it. Each request has one answer, in `ended`: of this call or of a later one.
  virtual void send(const LoadRequest& request, Nanos now, std::vector<Answer>& ended) = 0;
  // Handles everything that has happened since the last call. Call when a poll item is ready and
  // when `wake_at` is reached.
  virtual void pump(Nanos now, std::vector<Answer>& ended) = 0;
  virtual std::vector<PollItem> poll_items() const = 0;
  virtual Nanos wake_at() const = 0;
  virtual bool ready() const = 0;
  // Why it is not ready.
  virtual std::string trouble() const = 0;
  // Requests sent that have not ended.
  virtual std::size_t outstanding() const = 0;
};

}  // namespace glet::net
