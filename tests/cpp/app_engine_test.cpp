// Apps as graphs of requests: the engine with a host that plays router and executors.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "glet/error.h"
#include "glet/net/app_engine.h"

using namespace std::chrono_literals;
using glet::ArgumentError;
using glet::Nanos;
using glet::exec::DType;
using glet::exec::Outcome;
using glet::exec::Signature;
using glet::exec::TensorSpec;
using namespace glet::net;

namespace {

struct Frame {
  std::string bytes;
  std::size_t size() const { return bytes.size(); }
  Frame share() const { return {bytes}; }
};

struct Frames {
  static std::vector<Frame> rows(const Frame& whole, std::size_t n) {
    std::vector<Frame> rows;
    const std::size_t size = whole.size() / n;
    for (std::size_t i = 0; i < n; ++i) rows.push_back({whole.bytes.substr(i * size, size)});
    return rows;
  }
  static Frame join(const std::vector<Frame>& parts, std::size_t bytes) {
    Frame whole;
    for (const Frame& part : parts) whole.bytes += part.bytes;
    CHECK(whole.size() == bytes);
    return whole;
  }
};

using Engine = AppEngine<Frame, Frames>;

struct Sent {
  AppPart part;
  int model;
  std::vector<Frame> frames;
  Nanos deadline;
};

struct Host : Engine::Host {
  void send_part(const AppPart& part, int model, std::vector<Frame> frames, Nanos deadline,
                 Nanos) override {
    sent.push_back({part, model, std::move(frames), deadline});
    if (on_sent) on_sent(part);
  }
  void app_done(const AppCaller& caller, const AppGraph&, std::vector<Frame>& made,
                const ResultTimes& spent, Nanos) override {
    ++answers[caller.id];
    outputs.clear();
    for (const Frame& frame : made) outputs.push_back(frame.bytes);
    times = spent;
  }
  void app_failed(const AppCaller& caller, Outcome what, const std::string& text) override {
    ++answers[caller.id];
    outcome = what;
    message = text;
  }
  Sent take() {
    REQUIRE(!sent.empty());
    Sent first = std::move(sent.front());
    sent.erase(sent.begin());
    return first;
  }

  std::vector<Sent> sent;
  std::map<std::int64_t, int> answers;
  std::vector<std::string> outputs;
  Outcome outcome = Outcome::kOk;
  std::string message;
  ResultTimes times;
  std::function<void(const AppPart&)> on_sent;
};

TensorSpec bytes_spec(const std::string& name, std::vector<std::int64_t> shape) {
  return {name, DType::kUInt8, std::move(shape)};
}

AppStageSpec stage(const std::string& name, int each, double budget_ms,
                   std::vector<AppSource> inputs, std::int64_t output_bytes) {
  return {name,      "model of " + name, each,
          budget_ms, std::move(inputs),  {bytes_spec("y", {output_bytes})}};
}

// detect (image of 4 bytes -> 3 crops of 2) -> kind and plate of each crop.
AppGraph traffic() {
  Signature signature{{bytes_spec("image", {4})},
                      {bytes_spec("kinds", {3, 1}), bytes_spec("plates", {3, 2})}};
  AppGraph graph("traffic", signature,
                 {stage("detect", 0, 60, {{0, false}}, 6), stage("kind", 3, 40, {{1, true}}, 1),
                  stage("plate", 3, 20, {{1, true}}, 2)},
                 {2, 3});
  for (std::size_t i = 0; i < 3; ++i) graph.set_model(i, static_cast<int>(i) + 10);
  return graph;
}

std::shared_ptr<const AppGraph> shared(AppGraph graph) {
  return std::make_shared<const AppGraph>(std::move(graph));
}

const ResultTimes kTimes{2, 1ms, 2ms, 4ms};

}  // namespace

TEST_CASE("rows of one stage's output become requests of the next, and are gathered in order") {
  Host host;
  Engine engine(host, 1000);
  REQUIRE(engine.start(shared(traffic()), {"c", 7, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  const Sent detect = host.take();
  CHECK(detect.model == 10);
  CHECK(detect.frames[0].bytes == "abcd");
  CHECK(detect.deadline == 60ms);
  CHECK(host.sent.empty());
  engine.part_done(detect.part, {{"112233"}}, kTimes, 20ms);
  REQUIRE(host.sent.size() == 6);
  // What the detector saved is theirs: nothing follows, so they have until the end.
  for (const Sent& sent : host.sent) CHECK(sent.deadline == 100ms);
  CHECK(host.sent[1].frames[0].bytes == "22");
  std::vector<Sent> waiting;
  std::swap(waiting, host.sent);
  for (const int i : {5, 2, 1, 3, 0, 4}) {
    const Sent& sent = waiting[static_cast<std::size_t>(i)];
    CHECK(host.answers.empty());
    const std::string mark(1, static_cast<char>('A' + sent.part.item));
    engine.part_done(sent.part, {{sent.model == 11 ? mark : mark + mark}}, kTimes, 50ms);
  }
  CHECK(host.answers == std::map<std::int64_t, int>{{7, 1}});
  CHECK(host.outputs == std::vector<std::string>{"ABC", "AABBCC"});
  CHECK(host.times.queued == 2ms);
  CHECK(host.times.executed == 8ms);
  CHECK(engine.size() == 0);
  CHECK(engine.held_bytes() == 0);
}

TEST_CASE("a stage gets its part of what is left, more when those before it were quick") {
  Host host;
  Engine engine(host, 1000);
  Signature signature{{bytes_spec("x", {1})}, {bytes_spec("y", {1})}};
  AppGraph chain("chain", signature,
                 {stage("a", 0, 10, {{0, false}}, 1), stage("b", 0, 30, {{1, false}}, 1),
                  stage("c", 0, 60, {{2, false}}, 1)},
                 {3});
  REQUIRE(engine.start(shared(std::move(chain)), {"c", 1, 0, 0ms, 200ms}, {{"x"}}, 0ms));
  const Sent a = host.take();
  CHECK(a.deadline == 20ms);
  engine.part_done(a.part, {{"x"}}, kTimes, 20ms);
  const Sent b = host.take();
  CHECK(b.deadline == 80ms);
  engine.part_done(b.part, {{"x"}}, kTimes, 50ms);
  CHECK(host.take().deadline == 200ms);
}

TEST_CASE("the first failure answers, names the stage, and siblings are dropped") {
  for (const auto outcome :
       {Outcome::kLate, Outcome::kFull, Outcome::kFailed, Outcome::kUnavailable}) {
    Host host;
    Engine engine(host, 1000);
    REQUIRE(engine.start(shared(traffic()), {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
    engine.part_done(host.take().part, {{"112233"}}, kTimes, 20ms);
    const auto parts = std::move(host.sent);
    engine.part_done(parts[0].part, {{"A"}}, kTimes, 30ms);
    engine.part_failed(parts[4].part, outcome, "why");
    CHECK(host.answers[1] == 1);
    CHECK(host.outcome == outcome);
    CHECK(host.message == "app 'traffic', stage 'plate': why");
    CHECK_FALSE(engine.running(parts[0].part.run));
    for (const Sent& sent : parts) {
      engine.part_done(sent.part, {{"A"}}, kTimes, 40ms);
      engine.part_failed(sent.part, Outcome::kLate, "later");
    }
    CHECK(host.answers[1] == 1);
    CHECK(engine.held_bytes() == 0);
  }
}

TEST_CASE("what cannot be sent ends the app before its siblings go out") {
  Host host;
  Engine engine(host, 1000);
  host.on_sent = [&](const AppPart& part) {
    if (part.stage == 1 && part.item == 1) engine.part_failed(part, Outcome::kFull, "full");
  };
  REQUIRE(engine.start(shared(traffic()), {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  engine.part_done(host.take().part, {{"112233"}}, kTimes, 20ms);
  CHECK(host.sent.size() == 2);
  CHECK(host.answers[1] == 1);
  CHECK(host.outcome == Outcome::kFull);
}

TEST_CASE("a stage that would begin after the deadline is late") {
  Host host;
  Engine engine(host, 1000);
  REQUIRE(engine.start(shared(traffic()), {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  engine.part_done(host.take().part, {{"112233"}}, kTimes, 100ms);
  CHECK(host.sent.empty());
  CHECK(host.outcome == Outcome::kLate);
}

TEST_CASE("outputs that the graph does not expect end the run as failed") {
  for (const auto& outputs : std::vector<std::vector<Frame>>{{}, {{"1"}}, {{"112233"}, {"x"}}}) {
    Host host;
    Engine engine(host, 1000);
    REQUIRE(engine.start(shared(traffic()), {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
    engine.part_done(host.take().part, outputs, kTimes, 20ms);
    CHECK(host.answers[1] == 1);
    CHECK(host.outcome == Outcome::kFailed);
  }
  Host host;
  Engine engine(host, 1000);
  REQUIRE(engine.start(shared(traffic()), {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  engine.part_failed(host.take().part, Outcome::kInvalid, "no such input");
  CHECK(host.outcome == Outcome::kFailed);
}

TEST_CASE("runs hold so many bytes together and no more") {
  Host host;
  const auto graph = shared(traffic());
  Engine engine(host, 2 * graph->bytes());
  CHECK(engine.start(graph, {"c", 1, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  CHECK(engine.start(graph, {"c", 2, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  CHECK_FALSE(engine.start(graph, {"c", 3, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
  engine.part_failed(host.take().part, Outcome::kLate, "late");
  CHECK(engine.start(graph, {"c", 4, 0, 0ms, 100ms}, {{"abcd"}}, 0ms));
}

TEST_CASE("graphs that are none, or too large, are refused") {
  const Signature signature{{bytes_spec("x", {4})}, {bytes_spec("y", {1})}};
  const auto make = [&](std::vector<AppStageSpec> stages, std::vector<int> outputs) {
    return AppGraph("app", signature, std::move(stages), std::move(outputs));
  };
  CHECK_NOTHROW(make({stage("a", 0, 1, {{0, false}}, 1)}, {1}));
  CHECK_THROWS_AS(make({}, {0}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{1, false}}, 1)}, {1}), ArgumentError);  // itself
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{-1, false}}, 1)}, {1}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 0, {{0, false}}, 1)}, {1}), ArgumentError);  // no budget
  CHECK_THROWS_AS(make({stage("a", 3, 1, {{0, true}}, 1)}, {1}), ArgumentError);   // 4 / 3 rows
  CHECK_THROWS_AS(make({stage("a", 2, 1, {{0, false}}, 1)}, {1}), ArgumentError);  // none split
  CHECK_THROWS_AS(make({stage("a", 65, 1, {{0, true}}, 1)}, {1}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 1, {}, 1)}, {1}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{0, false}}, 2)}, {1}), ArgumentError);  // y is 1 byte
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{0, false}}, 1)}, {2}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{0, false}}, 1)}, {}), ArgumentError);
  CHECK_THROWS_AS(make({stage("a", 0, 1, {{0, false}}, std::int64_t{1} << 40),
                        stage("b", 0, 1, {{1, false}}, 1)},
                       {2}),
                  ArgumentError);
  // One value is cut one way.
  CHECK_THROWS_AS(make({stage("a", 2, 1, {{0, true}}, 1), stage("b", 4, 1, {{0, true}}, 1),
                        stage("c", 0, 1, {{1, false}, {2, false}}, 1)},
                       {3}),
                  ArgumentError);
  std::vector<AppStageSpec> many;
  for (int i = 0; i < 33; ++i) many.push_back(stage("s", 0, 1, {{i, false}}, 1));
  CHECK_THROWS_AS(make(many, {33}), ArgumentError);
  const Signature wide{{bytes_spec("x", {64})}, {bytes_spec("y", {64})}};
  std::vector<AppStageSpec> parts;
  for (int i = 0; i < 5; ++i) parts.push_back(stage("s", 64, 1, {{i, true}}, 1));
  CHECK_THROWS_AS(AppGraph("app", wide, parts, {5}), ArgumentError);
}

// Random graphs with random orders of answers and, in half of them, a failure somewhere: one answer
// each, and a whole answer is what the graph computes. Every "model" returns one byte per request:
// the sum of all it was given, so a row in the wrong place shows.
TEST_CASE("random graphs are answered once, with what they compute") {
  std::mt19937 random(5);
  const auto below = [&random](int n) {
    return static_cast<int>(random() % static_cast<unsigned>(n));
  };
  const auto model = [](const std::vector<Frame>& frames) {
    char total = 1;
    for (std::size_t i = 0; i < frames.size(); ++i) {
      for (const char byte : frames[i].bytes) {
        total = static_cast<char>(total * 3 + byte + static_cast<int>(i));
      }
    }
    return std::string(1, total);
  };
  for (int round = 0; round < 500; ++round) {
    const int count = 1 + below(8);
    std::vector<AppStageSpec> stages;
    std::vector<int> size{4, 6};
    std::vector<int> rows{0, 0};
    for (int s = 0; s < count; ++s) {
      const int first = below(static_cast<int>(size.size()));
      const int wanted = size[static_cast<std::size_t>(first)];
      int& cut = rows[static_cast<std::size_t>(first)];
      const int each = below(2) == 0 && (cut == 0 || cut == wanted) ? wanted : 0;
      if (each > 0) cut = each;
      std::vector<AppSource> inputs{{first, each > 0}};
      if (below(2) == 0) inputs.push_back({below(static_cast<int>(size.size())), false});
      stages.push_back(stage("s" + std::to_string(s), each, 1 + below(50), inputs, 1));
      size.push_back(std::max(each, 1));
      rows.push_back(each);
    }
    const int output = static_cast<int>(size.size()) - 1;
    const Signature signature{{bytes_spec("p", {4}), bytes_spec("q", {6})},
                              {bytes_spec("y", {size.back()})}};
    const auto graph = shared(AppGraph("random", signature, stages, {output}));

    std::vector<std::string> values{"abcd", "qrstuv"};
    int parts = 0;
    for (const AppStageSpec& spec : stages) {
      std::string made;
      for (int item = 0; item < std::max(spec.each, 1); ++item, ++parts) {
        std::vector<Frame> frames;
        for (const AppSource& source : spec.inputs) {
          const std::string& whole = values[static_cast<std::size_t>(source.value)];
          frames.push_back(
              {source.split ? whole.substr(static_cast<std::size_t>(item), 1) : whole});
        }
        made += model(frames);
      }
      values.push_back(made);
    }

    Host host;
    Engine engine(host, std::size_t{1} << 20);
    REQUIRE(engine.start(graph, {"c", 1, 0, 0ms, 1000ms}, {{values[0]}, {values[1]}}, 0ms));
    const int failing = below(2) == 0 ? below(parts) : -1;
    int answered = 0;
    while (!host.sent.empty()) {
      const auto at = static_cast<std::size_t>(below(static_cast<int>(host.sent.size())));
      const Sent next = std::move(host.sent[at]);
      host.sent.erase(host.sent.begin() + static_cast<std::ptrdiff_t>(at));
      CHECK(next.deadline > Nanos{answered});
      CHECK(next.deadline <= 1000ms);
      if (answered++ == failing) {
        engine.part_failed(next.part, Outcome::kLate, "late");
      } else {
        engine.part_done(next.part, {{model(next.frames)}}, kTimes, Nanos{answered});
      }
    }
    CHECK(host.answers == std::map<std::int64_t, int>{{1, 1}});
    if (failing < 0) {
      CHECK(answered == parts);
      CHECK(host.outputs == std::vector<std::string>{values.back()});
    } else {
      CHECK(host.outcome == Outcome::kLate);
    }
    CHECK(engine.held_bytes() == 0);
  }
}
