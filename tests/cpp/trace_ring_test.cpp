// Which requests are traced, and what happens to records that nobody takes.
#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <thread>

#include "glet/error.h"
#include "glet/net/trace_ring.h"

using glet::ArgumentError;
using namespace glet::net;

namespace {

const std::string kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
const std::string kSpan = "00f067aa0ba902b7";
const std::string kSampled = "00-" + kTrace + "-" + kSpan + "-01";
const std::string kNotSampled = "00-" + kTrace + "-" + kSpan + "-00";

TraceRecord record(const std::string& model) {
  TraceRecord made;
  made.model = model;
  return made;
}

int begun(TraceRing& ring, const std::string& model, int requests) {
  int count = 0;
  for (int i = 0; i < requests; ++i) count += ring.begin(model, "") != nullptr;
  return count;
}

}  // namespace

TEST_CASE("a traceparent gives ids and the sampled flag") {
  const auto parent = read_traceparent(kSampled);
  REQUIRE(parent);
  CHECK(parent->trace_id == kTrace);
  CHECK(parent->span_id == kSpan);
  CHECK(parent->sampled);
  CHECK_FALSE(read_traceparent(kNotSampled)->sampled);
  CHECK(read_traceparent("00-" + kTrace + "-" + kSpan + "-03")->sampled);
  CHECK_FALSE(read_traceparent("00-" + kTrace + "-" + kSpan + "-a2")->sampled);
}

TEST_CASE("a later version may say more") {
  CHECK(read_traceparent("01-" + kTrace + "-" + kSpan + "-01-more"));
  CHECK_FALSE(read_traceparent("01-" + kTrace + "-" + kSpan + "-01more"));
  CHECK_FALSE(read_traceparent(kSampled + "-more"));
}

TEST_CASE("what is no traceparent is none") {
  const std::string zeros(32, '0');
  for (const std::string& text :
       {std::string(), std::string("00"), kSampled.substr(0, 54), "ff" + kSampled.substr(2),
        "0G" + kSampled.substr(2), "00-" + zeros + "-" + kSpan + "-01",
        "00-" + kTrace + "-" + zeros.substr(16) + "-01", "00_" + kSampled.substr(3),
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + kSpan + "-01",
        "00-" + kTrace + "-" + kSpan + "-0x"}) {
    CAPTURE(text);
    CHECK_FALSE(read_traceparent(text));
  }
}

TEST_CASE("nothing is traced before it is switched on") {
  TraceRing ring;
  CHECK(ring.begin("m", kSampled) == nullptr);
  CHECK(begun(ring, "m", 10) == 0);
}

TEST_CASE("a parent's decision holds, whatever the ratio") {
  TraceRing ring;
  ring.set_ratio(0.0, {});
  const Trace trace = ring.begin("m", kSampled);
  REQUIRE(trace);
  CHECK(trace->trace_id == kTrace);
  ring.set_ratio(1.0, {});
  CHECK(ring.begin("m", kNotSampled) == nullptr);
}

TEST_CASE("without a parent the ratio holds, over any run of requests") {
  for (const double ratio : {0.0, 0.001, 0.1, 1.0 / 3.0, 0.5, 1.0}) {
    CAPTURE(ratio);
    TraceRing ring;
    ring.set_ratio(ratio, {});
    CHECK(begun(ring, "m", 3000) == doctest::Approx(3000 * ratio).epsilon(0.001));
  }
}

TEST_CASE("a model may have a ratio of its own") {
  TraceRing ring;
  ring.set_ratio(0.0, {{"traced", 1.0}});
  CHECK(begun(ring, "traced", 5) == 5);
  CHECK(begun(ring, "other", 5) == 0);
  ring.set_ratio(0.0, {});
  CHECK(begun(ring, "traced", 5) == 0);
}

TEST_CASE("a ratio that is none is refused") {
  TraceRing ring;
  for (const double ratio : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()}) {
    CHECK_THROWS_AS(ring.set_ratio(ratio, {}), ArgumentError);
    CHECK_THROWS_AS(ring.set_ratio(0.5, {{"m", ratio}}), ArgumentError);
  }
  CHECK(ring.begin("m", kSampled) == nullptr);
}

TEST_CASE("a full ring loses the oldest and counts them") {
  TraceRing ring(3);
  for (int i = 0; i < 5; ++i) ring.end(record(std::to_string(i)));
  CHECK(ring.dropped() == 2);
  const auto taken = ring.take();
  REQUIRE(taken.size() == 3);
  CHECK(taken[0].model == "2");
  CHECK(taken[2].model == "4");
  CHECK(ring.take().empty());
  ring.end(record("5"));
  CHECK(ring.take().at(0).model == "5");
  CHECK(ring.dropped() == 2);
}

TEST_CASE("every record is taken once or counted as dropped, while another thread takes") {
  constexpr int kRecords = 20000;
  TraceRing ring(64);
  std::thread writer([&ring] {
    for (int i = 0; i < kRecords; ++i) ring.end(record("m"));
  });
  std::size_t taken = 0;
  while (taken + ring.dropped() < kRecords) taken += ring.take().size();
  writer.join();
  taken += ring.take().size();
  CHECK(taken + ring.dropped() == kRecords);
}
