#include "glet/web/grpc_contents.h"

#include <array>
#include <cstring>
#include <limits>
#include <optional>

#include "glet/error.h"
#include "glet/web/protobuf.h"

namespace glet::web {
namespace {

constexpr std::string_view kWhat = "InferTensorContents";

// Fields of InferTensorContents.
enum Field : std::uint32_t {
  kBool = 1,
  kInt = 2,
  kInt64 = 3,
  kUint = 4,
  kUint64 = 5,
  kFp32 = 6,
  kFp64 = 7,
  kBytes = 8,
};
constexpr std::array<std::string_view, 9> kFieldNames{"",
                                                      "bool_contents",
                                                      "int_contents",
                                                      "int64_contents",
                                                      "uint_contents",
                                                      "uint64_contents",
                                                      "fp32_contents",
                                                      "fp64_contents",
                                                      "bytes_contents"};

// The field that holds a datatype; 0: none does.
std::uint32_t field_of(OipType type) {
  switch (type) {
    case OipType::kBool:
      return kBool;
    case OipType::kInt8:
    case OipType::kInt16:
    case OipType::kInt32:
      return kInt;
    case OipType::kInt64:
      return kInt64;
    case OipType::kUint8:
    case OipType::kUint16:
    case OipType::kUint32:
      return kUint;
    case OipType::kUint64:
      return kUint64;
    case OipType::kFp32:
      return kFp32;
    case OipType::kFp64:
      return kFp64;
    case OipType::kBytes:
      return kBytes;
    default:
      return 0;
  }
}

std::string prefix(const OipInput& input) {
  return "input '" + std::string(input.name.substr(0, 64)) + "': ";
}

class Decoder {
 public:
  Decoder(OipInput& input, OipType type, std::size_t longest)
      : input_(input), type_(type), longest_(longest), field_(field_of(type)) {
    if (field_ == 0) {
      throw WireError(prefix(input) + std::string(input.datatype) +
                      " has no typed contents; send it in raw_input_contents");
    }
  }

  void read(std::span<const std::byte> contents) {
    ProtoReader reader(contents, kWhat);
    while (reader.next()) {
      if (reader.field() == 0 || reader.field() > kBytes) {
        reader.skip();
      } else if (reader.field() == field_) {
        read_field(reader);
      } else {
        refuse_field(reader);
      }
    }
  }

  void finish() {
    if (!owned_) {
      input_.bytes = viewed_;
      return;
    }
    input_.bytes = {reinterpret_cast<const std::byte*>(owned_->data()), owned_->size()};
    input_.keep = owned_;
  }

 private:
  // An empty packed field says nothing, whatever datatype it is of.
  void refuse_field(ProtoReader& reader) const {
    const std::uint32_t field = reader.field();
    if (reader.type() == WireType::kBytes && field != kBytes && reader.bytes().empty()) return;
    throw WireError(prefix(input_) + "values of " + std::string(input_.datatype) + " are in " +
                    std::string(kFieldNames[field]) + "; " + std::string(kFieldNames[field_]) +
                    " is valid");
  }

  void read_field(ProtoReader& reader) {
    if (field_ == kFp32 || field_ == kFp64) return read_fixed(reader);
    if (field_ == kBytes) return read_element(reader);
    if (reader.type() == WireType::kVarint) return add(reader.varint());
    if (reader.type() != WireType::kBytes) return reader.skip();
    ProtoReader packed(reader.bytes(), kWhat);
    while (!packed.at_end()) add(packed.varint());
  }

  void read_fixed(ProtoReader& reader) {
    const std::size_t width = field_ == kFp32 ? sizeof(float) : sizeof(double);
    if (reader.type() == (field_ == kFp32 ? WireType::kFixed32 : WireType::kFixed64)) {
      const std::uint64_t bits = field_ == kFp32 ? reader.fixed32() : reader.fixed64();
      return append(&bits, width);
    }
    if (reader.type() != WireType::kBytes) return reader.skip();
    const auto values = reader.bytes();
    if (values.size() % width != 0) {
      throw WireError(prefix(input_) + std::string(kFieldNames[field_]) + " of " +
                      std::to_string(values.size()) + " bytes; a multiple of " +
                      std::to_string(width) + " is valid");
    }
    if (!owned_ && viewed_.empty()) {
      viewed_ = values;
    } else {
      append(values.data(), values.size());
    }
  }

  void read_element(ProtoReader& reader) {
    if (reader.type() != WireType::kBytes) return reader.skip();
    const auto element = reader.bytes();
    const auto length = static_cast<std::uint32_t>(element.size());
    append(&length, sizeof length);
    append(element.data(), element.size());
  }

  void add(std::uint64_t value) {
    switch (type_) {
      case OipType::kBool:
        return append_as<std::uint8_t>(value != 0 ? 1 : 0);
      case OipType::kInt8:
        return append_as<std::int8_t>(static_cast<std::int32_t>(value));
      case OipType::kInt16:
        return append_as<std::int16_t>(static_cast<std::int32_t>(value));
      case OipType::kInt32:
        return append_as<std::int32_t>(static_cast<std::int32_t>(value));
      case OipType::kUint8:
        return append_as<std::uint8_t>(static_cast<std::uint32_t>(value));
      case OipType::kUint16:
        return append_as<std::uint16_t>(static_cast<std::uint32_t>(value));
      case OipType::kUint32:
        return append_as<std::uint32_t>(static_cast<std::uint32_t>(value));
      default:
        return append(&value, sizeof value);
    }
  }

  template <typename T>
  void append_as(std::int64_t value) {
    if (value < std::numeric_limits<T>::min() || value > std::numeric_limits<T>::max()) {
      throw WireError(prefix(input_) + std::to_string(value) + " does not fit " +
                      std::string(input_.datatype));
    }
    const T narrow = static_cast<T>(value);
    append(&narrow, sizeof narrow);
  }

  void append(const void* bytes, std::size_t size) {
    if (!owned_) {
      owned_ = std::make_shared<std::string>(reinterpret_cast<const char*>(viewed_.data()),
                                             viewed_.size());
    }
    if (owned_->size() + size > longest_) {
      throw WireError(prefix(input_) + "more than " + std::to_string(longest_) +
                      " bytes of contents; send it in raw_input_contents, or in parts");
    }
    owned_->append(static_cast<const char*>(bytes), size);
  }

  OipInput& input_;
  OipType type_;
  std::size_t longest_;
  std::uint32_t field_;
  std::span<const std::byte> viewed_;
  std::shared_ptr<std::string> owned_;
};

}  // namespace

void read_contents(std::span<const std::span<const std::byte>> contents, std::size_t longest,
                   OipInput& input) {
  const auto type = oip_type(input.datatype);
  if (!type) return;  // whoever checks the datatype says what is valid
  Decoder decoder(input, *type, longest);
  for (const auto& part : contents) decoder.read(part);
  decoder.finish();
}

}  // namespace glet::web
