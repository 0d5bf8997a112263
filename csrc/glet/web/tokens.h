#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Bearer tokens: who may do what at the doors.
namespace glet::web {

enum class Right : std::uint8_t {
  kNone,
  kDashboard,  // the dashboard, its buttons and the metrics
  kUse,        // inference, and whatever only reads
  kAdmin,      // everything
};

// What a request takes.
enum class Need : std::uint8_t {
  kNothing,  // probes, and the dashboard's own page
  kToken,    // any
  kUse,
  kDashboard,  // to change models there
  kAdmin,
};

bool allows(Right right, Need need);

// By method and target of HTTP. What is not known to only read takes an admin: a path that says the
// same in other words is refused, never let through.
Need http_need(std::string_view method, std::string_view path);

// What is said with 401 and 403, or their like of gRPC.
inline constexpr const char* kNoToken =
    "wrong or no token; send one of this glet's as Authorization: Bearer";
inline constexpr const char* kNoRight = "this token may not do that; an admin's may";

// All that are valid. Never changed once it is shared.
class Tokens {
 public:
  // A line each: `TOKEN`, `NAME: TOKEN`, or `NAME admin: TOKEN`; # begins a comment. Throws
  // ConfigError that names `where` and the line, without a token in it.
  static Tokens parse(std::string_view text, const std::string& where);

  // Throws ConfigError when it is none, or there already.
  void add(std::string_view token, Right right, const std::string& where);
  // Of the value of an Authorization header; `Bearer TOKEN`, in whatever case.
  Right right_of_header(std::string_view value) const;
  // The time that it takes depends on how many tokens there are, and on nothing that is in them.
  Right right_of(std::string_view token) const;
  std::size_t size() const { return known_.size(); }

 private:
  static constexpr std::size_t kLongest = 256;
  struct Known {
    std::uint8_t padded[kLongest];
    std::size_t size;
    Right right;
  };

  std::vector<Known> known_;
};

}  // namespace glet::web
