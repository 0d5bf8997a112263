// The targets of tests/fuzz/cpp for a moment: their seeds, and these damaged, the same in every
// run.
#include <doctest/doctest.h>

#include <random>
#include <string>

#include "targets.h"

namespace {

constexpr int kDamaged = 2000;

std::string damaged(std::string text, std::mt19937_64& random) {
  for (std::uint64_t left = 1 + random() % 4; left > 0 && !text.empty(); --left) {
    const std::size_t at = random() % text.size();
    switch (random() % 5) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text[at] = static_cast<char>(text[at] ^ 1 << random() % 8);
        break;
      case 2:
        text.erase(at, 1 + random() % 8);
        break;
      case 3:
        text.insert(at, text.substr(random() % text.size(), 1 + random() % 16));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

}  // namespace

TEST_CASE("parsers stand whatever comes") {
  for (const glet::fuzz::Target& target : glet::fuzz::targets()) {
    CAPTURE(target.name);
    const auto seeds = target.seeds();
    REQUIRE_FALSE(seeds.empty());
    target.run({});
    std::mt19937_64 random(7);
    for (const std::string& seed : seeds) {
      target.run(glet::fuzz::bytes_of(seed));
      const int rounds = seed.size() < 10'000 ? kDamaged : kDamaged / 20;
      for (int i = 0; i < rounds; ++i) target.run(glet::fuzz::bytes_of(damaged(seed, random)));
    }
  }
}
