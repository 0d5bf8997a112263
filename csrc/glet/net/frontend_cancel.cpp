#include "glet/net/frame.h"
#include "glet/net/frontend_core.h"

// Requests that nobody wants any more: their client took them back, or has gone.
namespace glet::net {

void FrontendCore::on_cancel(const std::string& client, const ClientHeader& header) {
  if (!header.id || *header.id < 0) {
    return refuse(nullptr, client, header.id, "invalid_input",
                  "cancel needs the `id` of a request, an integer from 0 to 2^63 - 1");
  }
  cancels_.emplace(*header.id, client);
}

// All of a burst in one walk over what is outstanding: an index by client and id would cost every
// request, and few are cancelled. What an app had sent is taken back with it.
void FrontendCore::cancel_asked() {
  const auto unwanted = [this](const std::string& client, std::int64_t id) {
    return cancels_.contains({id, client}) || gone_.contains(client);
  };
  const auto runs = apps_.runs_where([&](const AppCaller& caller) {
    return caller.door == nullptr && unwanted(caller.client, caller.id);
  });
  const std::set<std::uint64_t> ended(runs.begin(), runs.end());
  const auto tags = pending_.tags_where([&](const Pending& pending) {
    if (pending.part) return ended.contains(pending.part->run);
    return pending.door == nullptr && unwanted(pending.client, pending.id);
  });
  cancels_.clear();
  gone_.clear();
  for (const std::uint64_t tag : tags) send_cancel(*pending_.find(tag), tag);
  for (const std::uint64_t run : runs) {
    if (const auto caller = apps_.cancel(run)) {
      app_failed(*caller, exec::Outcome::kCancelled, "taken back by the client");
    }
  }
}

// Its executor answers as always: that it was taken back, or what has become of it meanwhile.
void FrontendCore::send_cancel(Pending& pending, std::uint64_t tag) {
  if (pending.cancelled) return;
  pending.cancelled = true;
  DataCancel cancel;
  cancel.tag = tag;
  const auto link = links_.find(targets_[static_cast<std::size_t>(pending.gpulet)].executor);
  if (link == links_.end()) return;
  Message frame = pack(cancel);
  link->second.socket->send(frame, false);
  forwarded_ = true;  // as after a request: receive() comes again
}

}  // namespace glet::net
