#pragma once

#include <stdexcept>
#include <string>

namespace glet {

// One tree, the same names as python/glet/errors.py; bind/errors.cpp maps them one to one.
// Messages read "[Class.method] what is wrong, with the value; what would be valid".
// Late, full and unmet are outcomes, never exceptions.
class GletError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A configuration or a file that the user wrote is wrong.
class ConfigError : public GletError {
 public:
  using GletError::GletError;
};

// A caller broke the contract of a function.
class ArgumentError : public GletError {
 public:
  using GletError::GletError;
};

// A profile is missing, malformed or asked beyond what was measured.
class ProfileError : public GletError {
 public:
  using GletError::GletError;
};

// Bytes from a peer that are not the protocol.
class WireError : public GletError {
 public:
  using GletError::GletError;
};

// A peer went away.
class PeerLostError : public GletError {
 public:
  using GletError::GletError;
};

// A device or a library that drives it failed.
class DeviceError : public GletError {
 public:
  using GletError::GletError;
};

// A model could not be loaded, or threw while it ran.
class ModelError : public GletError {
 public:
  using GletError::GletError;
};

}  // namespace glet
