#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "glet/net/door.h"
#include "glet/net/slot_table.h"
#include "glet/web/grpc_connection.h"
#include "glet/web/grpc_status.h"
#include "glet/web/oip_call.h"

namespace glet::web {

// What the calls of a door ask for: inferences and health here, everything else of Python.
class GrpcCalls : public GrpcHandler, private OipCalls::Owner {
 public:
  GrpcCalls(net::Door& door, const GrpcLimits& limits) : limits_(limits), oip_(door, *this) {}
  void attach(net::DoorHost& host, std::uint64_t door);

  void serve(GrpcConnection& connection, GrpcStream& stream, Nanos now) override;
  void abandon(GrpcStream& stream) override;

  OipCalls& oip() { return oip_; }
  void web_answer(std::uint64_t call, const net::WebAnswer& answer);
  // Answers for what Python has not.
  void tick(Nanos now);
  std::size_t size() const { return calls_.size(); }

 private:
  struct Call {
    GrpcConnection* connection = nullptr;
    GrpcStream* stream = nullptr;
    std::uint64_t inference = 0;  // what OipCalls knows it by, 0: not under way there
    Nanos overdue = kNever;       // when Python should have answered
    std::string model, id;        // of a request of a stream
  };

  void infer(GrpcConnection& connection, GrpcStream& stream, std::span<const std::byte> message,
             const std::shared_ptr<const void>& keep, Nanos now);
  void serve_message(GrpcConnection& connection, GrpcStream& stream,
                     std::span<const std::byte> message, const std::shared_ptr<const void>& keep,
                     Nanos now);
  void serve_packed(GrpcConnection& connection, GrpcStream& stream, Nanos now);
  void ask_python(GrpcConnection& connection, GrpcStream& stream,
                  std::span<const std::byte> message, Nanos now);
  void answer_flag(GrpcConnection& connection, GrpcStream& stream, bool value);
  bool is_ready(std::span<const std::byte> message) const;
  std::optional<double> timeout_us(const OipRequest& request, const GrpcStream& stream,
                                   Nanos now) const;
  void oip_done(std::uint64_t call, OipResponse response) override;
  void oip_failed(std::uint64_t call, OipCode code, std::string_view message) override;
  void fail(GrpcConnection& connection, GrpcStream& stream, const Call& call, GrpcStatus status,
            std::string_view message);
  void release(std::uint64_t tag);

  const GrpcLimits& limits_;
  OipCalls oip_;
  net::DoorHost* host_ = nullptr;
  std::uint64_t door_ = 0;
  net::SlotTable<Call> calls_;
  OutBody plain_;  // an answer on its way to be compressed
};

}  // namespace glet::web
