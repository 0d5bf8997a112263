#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>

// Randomness that is the same on every machine: integers, and floating point whose every operation
// IEEE 754 rounds exactly. The libraries' log and exp are not, and std:: distributions are whatever
// their library makes of them. (csrc/CMakeLists.txt keeps compilers from contracting a * b + c.)
namespace glet::sim {

// Natural logarithm of a normal x > 0, to about 1e-16: log m = 2 artanh((m - 1) / (m + 1)).
inline double natural_log(double x) {
  constexpr double kLn2 = 0.6931471805599453;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FF0000000000000ULL);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  constexpr std::array<double, 11> kOdd = {1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15,
                                           1.0 / 13, 1.0 / 11, 1.0 / 9,  1.0 / 7,
                                           1.0 / 5,  1.0 / 3,  1.0};
  double sum = 0.0;
  for (const double coefficient : kOdd) sum = sum * z + coefficient;
  return static_cast<double>(exponent) * kLn2 + 2.0 * s * sum;
}

// e^x for |x| < 700, to about 1e-15: 2^k times a Taylor polynomial in the rest.
inline double natural_exp(double x) {
  constexpr double kLn2High = 0.693147180369123816490;
  constexpr double kLn2Low = 1.90821492927058770002e-10;
  const double k = std::floor(x * 1.4426950408889634 + 0.5);
  const double r = (x - k * kLn2High) - k * kLn2Low;
  constexpr std::array<double, 14> kFactorial = {1.0 / 6227020800,
                                                 1.0 / 479001600,
                                                 1.0 / 39916800,
                                                 1.0 / 3628800,
                                                 1.0 / 362880,
                                                 1.0 / 40320,
                                                 1.0 / 5040,
                                                 1.0 / 720,
                                                 1.0 / 120,
                                                 1.0 / 24,
                                                 1.0 / 6,
                                                 1.0 / 2,
                                                 1.0,
                                                 1.0};
  double sum = 0.0;
  for (const double coefficient : kFactorial) sum = sum * r + coefficient;
  const auto exponent = static_cast<std::int64_t>(k) + 1023;
  return sum * std::bit_cast<double>(static_cast<std::uint64_t>(exponent) << 52);
}

// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64. Two streams of one seed share
// nothing, so that one part of a simulation does not disturb the other's draws.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) {
    std::uint64_t state = seed;
    state = splitmix(state) ^ (stream * 0xD1342543DE82EF95ULL);
    for (std::uint64_t& word : state_) word = splitmix(state);
  }

  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // In (0, 1): never an end, so that its logarithm exists.
  double uniform() { return (static_cast<double>(next() >> 12) + 0.5) * 0x1p-52; }

  // 0..n-1, n > 0; by multiplication, the bias is below n / 2^32.
  std::uint32_t below(std::uint32_t n) {
    return static_cast<std::uint32_t>(((next() >> 32) * n) >> 32);
  }

  // Mean 1.
  double exponential() { return -natural_log(uniform()); }

  // Standard normal, by the inverse of its distribution: algorithm AS 241 (Wichura, 1988).
  double normal() { return inverse_normal(uniform()); }

  static double inverse_normal(double p);

 private:
  static std::uint64_t splitmix(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }

  std::array<std::uint64_t, 4> state_{};
};

}  // namespace glet::sim
