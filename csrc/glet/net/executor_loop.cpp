#include "glet/net/executor_loop.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "glet/error.h"
#include "glet/net/frame.h"

namespace glet::net {
namespace {

constexpr int kBurst = 256;  // messages handed to the engine in one call
constexpr int kTickMs = 1000;
constexpr std::size_t kMostGreeted = 4096;
// Below this a copy into the frame is cheaper than a counted holder of the batch's memory.
constexpr std::size_t kCopyBelow = 4096;

// Input frames as they came from the socket; they live until they were copied into the batch.
class FramePayload : public exec::Payload {
 public:
  explicit FramePayload(std::vector<Message> frames) : frames_(std::move(frames)) {}
  std::size_t inputs() const override { return frames_.size() - 1; }
  std::span<const std::byte> input(std::size_t index) const override {
    return frames_[index + 1].bytes();
  }

 private:
  std::vector<Message> frames_;  // the first is the request struct
};

// The same where some tensors are device memory.
class DevicePayload : public exec::Payload {
 public:
  // Nothing when frames that should name device memory do not.
  static std::unique_ptr<DevicePayload> read(std::vector<Message> frames, DeviceTensors device) {
    auto made = std::make_unique<DevicePayload>();
    const auto named = static_cast<std::size_t>(std::popcount(device.outputs));
    if (frames.size() < 1 + named) return nullptr;
    made->inputs_ = frames.size() - 1 - named;
    std::size_t next = 1 + made->inputs_;
    for (std::size_t i = 0; i < DeviceTensors::kMost; ++i) {
      const auto read = [&](std::vector<exec::DeviceTensor>& to, std::size_t frame) {
        const auto tensor =
            frame < frames.size() ? exec::read_device_frame(frames[frame].bytes()) : std::nullopt;
        if (tensor) to.push_back(*tensor);
        return tensor.has_value();
      };
      const bool is_input = DeviceTensors::has(device.inputs, i);
      if (is_input && (i >= made->inputs_ || !read(made->from_, 1 + i))) return nullptr;
      if (DeviceTensors::has(device.outputs, i) && !read(made->to_, next++)) return nullptr;
    }
    made->device_ = device;
    made->frames_ = std::move(frames);
    return made;
  }
  std::size_t inputs() const override { return inputs_; }
  std::span<const std::byte> input(std::size_t index) const override {
    if (DeviceTensors::has(device_.inputs, index)) return {};
    return frames_[index + 1].bytes();
  }
  bool on_device() const override { return true; }
  const exec::DeviceTensor* device_input(std::size_t index) const override {
    return find(device_.inputs, from_, index);
  }
  const exec::DeviceTensor* device_output(std::size_t index) const override {
    return find(device_.outputs, to_, index);
  }

 private:
  static const exec::DeviceTensor* find(std::uint16_t set,
                                        const std::vector<exec::DeviceTensor>& tensors,
                                        std::size_t index) {
    if (!DeviceTensors::has(set, index)) return nullptr;
    const unsigned before = set & ((1u << index) - 1);
    return &tensors[static_cast<std::size_t>(std::popcount(before))];
  }

  std::vector<Message> frames_;
  std::size_t inputs_ = 0;
  DeviceTensors device_;
  std::vector<exec::DeviceTensor> from_;  // one per bit of device_
  std::vector<exec::DeviceTensor> to_;
};

std::vector<Message> output_frames(const exec::Completion& completion, DeviceTensors device) {
  std::vector<Message> frames;
  if (completion.outputs != nullptr) {
    frames.reserve(completion.outputs->outputs());
    for (std::size_t i = 0; i < completion.outputs->outputs(); ++i) {
      if (DeviceTensors::has(device.outputs, i)) {
        frames.emplace_back(std::string_view());
        continue;
      }
      const auto bytes = completion.outputs->item(i, completion.slot);
      if (bytes.size() < kCopyBelow) {
        frames.emplace_back(
            std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      } else {
        frames.push_back(Message::borrowed(bytes, completion.outputs));
      }
    }
  } else if (completion.error != nullptr) {
    frames.emplace_back(std::string_view(*completion.error));
  }
  return frames;
}

}  // namespace

ExecutorLoop::ExecutorLoop(const std::string& libzmq_path, exec::Engine& engine, CurveKeys keys)
    : context_(libzmq_path),
      keys_(std::move(keys)),
      socket_(context_, SocketType::kRouter),
      engine_(engine) {}

ExecutorLoop::~ExecutorLoop() {
  close();
}

std::string ExecutorLoop::bind(const std::string& endpoint) {
  return thread_.held([&](bool running) {
    if (running) throw ArgumentError("[ExecutorLoop.bind] the loop runs already");
    if (!keys_.empty() && crosses_network(endpoint)) socket_.serve_curve(keys_, true);
    return socket_.bind(endpoint);
  });
}

void ExecutorLoop::start() {
  thread_.start([this] { run(); });
}

void ExecutorLoop::close() {
  thread_.close();
}

void ExecutorLoop::run() {
  pollfd waited[] = {
      {socket_.fd(), POLLIN, 0}, {engine_.completion_fd(), POLLIN, 0}, {mailbox_.fd(), POLLIN, 0}};
  bool more = false;
  while (!thread_.stopping()) {
    wait(waited, more ? 0 : kTickMs);
    if (waited[2].revents != 0) mailbox_.run();
    // Before receive(): waiting is right only when that came after the last send.
    answer_completions();
    more = receive();
  }
}

bool ExecutorLoop::receive() {
  int handled = 0;
  Message identity;
  burst_.clear();
  while (handled < kBurst && socket_.receive(identity)) {
    std::vector<Message> frames;
    for (bool more = identity.more(); more;) {
      Message frame;
      if (!socket_.receive(frame)) break;
      more = frame.more();
      frames.push_back(std::move(frame));
    }
    if (!frames.empty()) on_message(std::string(identity.text()), frames);
    ++handled;
  }
  if (!burst_.empty()) engine_.submit(burst_);
  if (!cancels_.empty()) cancel_asked();
  return handled == kBurst;
}

// All of a burst in one walk over what is outstanding: an index by frontend and tag would cost
// every request, and few are cancelled.
void ExecutorLoop::cancel_asked() {
  const auto tags = origins_.tags_where([this](const Origin& origin) {
    const auto [first, last] = cancels_.equal_range(origin.tag);
    return std::any_of(first, last,
                       [&origin](const auto& asked) { return asked.second == origin.frontend; });
  });
  for (const std::uint64_t tag : tags) {
    const Origin& origin = *origins_.find(tag);
    engine_.cancel({tag, origin.gpulet, origin.model, origin.deadline});
  }
  cancels_.clear();
}

void ExecutorLoop::on_message(const std::string& frontend, std::vector<Message>& frames) {
  const Message& head = frames.front();
  if (head.size() == 0) return;
  const auto kind = static_cast<DataKind>(*head.data());
  DataHello hello;
  if (kind == DataKind::kHello && unpack(head, hello)) {
    // Frontends come under new names. Who is forgotten is asked for its hello again.
    if (greeted_.size() >= kMostGreeted) greeted_.clear();
    if (hello.version == kProtocolVersion) greeted_.insert(frontend);
    DataHello ours;
    ours.role = 2;
    return send(frontend, pack(ours), nullptr);
  }
  if (!greeted_.contains(frontend)) {
    // A frontend whose connection was cut in between is a stranger: role 0 asks for its hello.
    if (kind == DataKind::kPing || kind == DataKind::kRequest) {
      send(frontend, pack(DataHello{}), nullptr);
    }
    DataRequest request;
    if (kind == DataKind::kRequest && unpack(head, request)) {
      DataReply reply;
      reply.outcome = exec::Outcome::kUnavailable;
      reply.tag = request.tag;
      send(frontend, pack(reply), nullptr);
    }
    return;
  }
  if (kind == DataKind::kRequest) return on_request(frontend, frames);
  DataCancel cancel;
  if (kind == DataKind::kCancel && unpack(head, cancel)) {
    cancels_.emplace(cancel.tag, frontend);
    return;
  }
  DataPing ping;
  if (kind == DataKind::kPing && unpack(head, ping)) {
    ping.kind = DataKind::kPong;
    send(frontend, pack(ping), nullptr);
  }
}

void ExecutorLoop::on_request(const std::string& frontend, std::vector<Message>& frames) {
  DataRequest request;
  if (!unpack(frames.front(), request)) return;
  if (!admitting_) {
    DataReply reply;
    reply.outcome = exec::Outcome::kUnavailable;
    reply.tag = request.tag;
    return send(frontend, pack(reply), nullptr);
  }
  std::unique_ptr<exec::Payload> payload;
  if (request.device.any()) {
    payload = DevicePayload::read(std::move(frames), request.device);
    if (payload == nullptr) {
      DataReply reply;
      reply.outcome = exec::Outcome::kInvalid;
      reply.tag = request.tag;
      std::vector<Message> reason;
      reason.emplace_back(std::string_view("frames of device memory are missing or malformed"));
      return send(frontend, pack(reply), &reason);
    }
  } else {
    payload = std::make_unique<FramePayload>(std::move(frames));
  }
  auto [tag, origin] = origins_.take();
  origin->frontend = frontend;
  origin->tag = request.tag;
  outstanding_.store(origins_.size());
  exec::Submission& submission = burst_.emplace_back();
  submission.tag = tag;
  submission.gpulet = request.gpulet;
  submission.model = request.model;
  submission.arrival = exec::now();
  submission.deadline = request.budget_ns < 0
                            ? submission.arrival
                            : later_by(submission.arrival, Nanos(request.budget_ns));
  origin->gpulet = submission.gpulet;
  origin->model = submission.model;
  origin->deadline = submission.deadline;
  origin->device = request.device;
  submission.payload = std::move(payload);
}

void ExecutorLoop::answer_completions() {
  completions_.clear();
  engine_.drain(completions_);
  for (const exec::Completion& completion : completions_) {
    Origin* origin = origins_.find(completion.tag);
    if (origin == nullptr) continue;
    DataReply reply;
    reply.outcome = completion.outcome;
    reply.batch = static_cast<std::uint32_t>(completion.batch);
    reply.tag = origin->tag;
    reply.queue_ns = completion.queued.count();
    reply.batch_ns = completion.batched.count();
    reply.execute_ns = completion.executed.count();
    std::vector<Message> frames = output_frames(completion, origin->device);
    send(origin->frontend, pack(reply), &frames);
    origins_.release(completion.tag);
  }
  outstanding_.store(origins_.size());
}

void ExecutorLoop::send(const std::string& frontend, Message head, std::vector<Message>* rest) {
  // A frontend that is gone is dropped by the ROUTER: there is nobody left to tell.
  Message identity{std::string_view(frontend)};
  if (socket_.send(identity, true) != Socket::Sent::kYes) return;
  const std::size_t count = rest == nullptr ? 0 : rest->size();
  socket_.send(head, count > 0);
  for (std::size_t i = 0; i < count; ++i) socket_.send((*rest)[i], i + 1 < count);
}

}  // namespace glet::net
