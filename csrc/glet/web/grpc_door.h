#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "glet/net/door.h"
#include "glet/net/slot_table.h"
#include "glet/web/grpc_calls.h"
#include "glet/web/grpc_connection.h"

namespace glet::web {

// gRPC of the Open Inference Protocol v2, over HTTP/2, on the frontend's loop thread.
//
//   listener -> connection: socket, HTTP/2 session -> calls -> OipCalls -> DoorHost::submit()
class GrpcDoor : public net::Door {
 public:
  // Listens at "HOST:PORT" (port 0: any) and opens nghttp2. Throws ConfigError naming an address
  // that is malformed or in use, DeviceError without the library.
  // `guard` says who gets in; nullptr: everybody, without TLS.
  GrpcDoor(const std::string& address, const std::string& libnghttp2, const GrpcLimits& limits,
           std::shared_ptr<Guard> guard = nullptr);
  ~GrpcDoor() override;
  GrpcDoor(const GrpcDoor&) = delete;
  GrpcDoor& operator=(const GrpcDoor&) = delete;

  // HOST:PORT as it became.
  const std::string& address() const { return address_; }

  void attach(net::DoorHost& host, std::uint64_t number) override;
  int fd() const override { return epoll_; }
  bool receive(Nanos now) override;
  void flush(Nanos now) override;
  void tick(Nanos now) override;
  void answered(std::uint64_t call, const net::ServedModel& model, const net::ResultTimes& times,
                std::vector<net::Message>& outputs, Nanos now) override;
  void failed(std::uint64_t call, exec::Outcome outcome, std::string_view message) override;
  void web_answer(std::uint64_t call, net::WebAnswer answer, Nanos now) override;
  void stop(Nanos now) override;
  std::size_t outstanding() const override;
  void add_shm(const std::string& name, std::byte* address, std::size_t size) override;
  void add_device_memory(const std::string& name, const exec::DeviceTensor& whole) override;
  void remove_shm(const std::string& name) override;

 private:
  void accept(Nanos now);
  void listen_again(bool wanted);
  void watch(GrpcConnection& connection);
  void sweep(Nanos now);
  void close(std::uint64_t number);

  std::string address_;
  int listener_ = -1;
  int epoll_ = -1;
  bool is_listening_ = false;
  bool is_stopping_ = false;
  Nanos next_sweep_{0};
  Nanos accept_at_{0};  // again, after there was no descriptor
  GrpcShared shared_;
  GrpcCalls calls_;
  net::SlotTable<std::unique_ptr<GrpcConnection>> connections_;
  std::unique_ptr<std::byte[]> buffer_;
};

}  // namespace glet::web
