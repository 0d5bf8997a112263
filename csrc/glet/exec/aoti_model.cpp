#include "glet/exec/aoti_model.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>

#include "glet/error.h"

namespace glet::exec {
namespace {

// Whether a loaded library refers to a symbol: the name is in its dynamic string table. dlsym()
// cannot tell, it sees only what is defined.
bool refers_to(void* library, std::string_view symbol) {
  link_map* map = nullptr;
  if (::dlinfo(library, RTLD_DI_LINKMAP, &map) != 0) return false;
  const char* names = nullptr;
  std::size_t bytes = 0;
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_STRTAB) names = reinterpret_cast<const char*>(entry->d_un.d_ptr);
    if (entry->d_tag == DT_STRSZ) bytes = entry->d_un.d_val;
  }
  return names != nullptr && std::string_view(names, bytes).find(symbol) != std::string_view::npos;
}

}  // namespace

void AotiModel::Close::operator()(void* library) const {
  ::dlclose(library);
}

AotiModel::AotiModel(std::shared_ptr<const TorchShim> torch, const std::string& path,
                     Signature signature, int runners, int cuda_device)
    : torch_(std::move(torch)),
      signature_(std::make_shared<const Signature>(std::move(signature))),
      path_(path),
      runners_(runners),
      cuda_device_(cuda_device),
      library_(::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  require_numeric("[AotiModel]", *signature_);
  if (runners < 1) {
    throw ArgumentError("[AotiModel] runners " + std::to_string(runners) + "; must be at least 1");
  }
  if (library_ == nullptr) fail(std::string("cannot be opened: ") + ::dlerror());
  resolve();
  if (refers_to(library_.get(), "aoti_torch_proxy_executor_call_function")) {
    fail(
        "needs operators beyond torch's C interface (custom or fallback operators); serve it "
        "through the Python runner");
  }
  const std::string device = cuda_device == kCpu ? "cpu" : "cuda:" + std::to_string(cuda_device);
  // Kernels for a GPU are files beside the library; where it was compiled is known to it alone.
  const std::string kernels = std::filesystem::path(path).parent_path().string();
  if (create_(&container_, static_cast<std::size_t>(runners), device.c_str(),
              cuda_device == kCpu ? nullptr : kernels.c_str()) != 0) {
    container_ = nullptr;
    fail("could not be set up for " + (cuda_device == kCpu ? "the CPU" : device) + ": " + reason());
  }
  try {
    check_counts();
  } catch (...) {
    delete_(container_);
    throw;
  }
  count_constants();
}

AotiModel::~AotiModel() {
  delete_(container_);
}

void AotiModel::resolve() {
  const auto optional = [this](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
        ::dlsym(library_.get(), name));
    return function != nullptr;
  };
  const auto get = [&](const char* name, auto& function) {
    if (!optional(name, function)) {
      fail(std::string("has no ") + name + "; it is not a model compiled by AOTInductor");
    }
  };
  get("AOTInductorModelContainerCreateWithDevice", create_);
  get("AOTInductorModelContainerDelete", delete_);
  get("AOTInductorModelContainerRun", run_);
  get("AOTInductorModelContainerGetNumInputs", num_inputs_);
  get("AOTInductorModelContainerGetNumOutputs", num_outputs_);
  optional("AOTInductorGetLastError", last_error_);
  optional("AOTInductorModelContainerGetNumConstants", num_constants_);
  optional("AOTInductorModelContainerGetConstantDataSize", constant_size_);
}

void AotiModel::check_counts() {
  std::size_t inputs = 0;
  std::size_t outputs = 0;
  if (num_inputs_(container_, &inputs) != 0 || num_outputs_(container_, &outputs) != 0) {
    fail("does not tell its inputs and outputs: " + reason());
  }
  if (inputs != signature_->inputs.size() || outputs != signature_->outputs.size()) {
    fail("has " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
         " outputs; its signature says " + std::to_string(signature_->inputs.size()) + " and " +
         std::to_string(signature_->outputs.size()));
  }
}

void AotiModel::count_constants() {
  std::size_t count = 0;
  if (num_constants_ == nullptr || constant_size_ == nullptr ||
      num_constants_(container_, &count) != 0) {
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t bytes = 0;
    if (constant_size_(container_, i, &bytes) == 0) constants_bytes_ += bytes;
  }
}

void AotiModel::run(std::span<TensorHandle> inputs, std::span<TensorHandle> outputs, void* stream) {
  if (run_(container_, inputs.data(), inputs.size(), outputs.data(), outputs.size(), stream,
           nullptr) != 0) {
    fail("failed: " + reason());
  }
}

void AotiModel::fail(const std::string& what) const {
  throw ModelError("[AotiModel] " + path_ + " " + what);
}

std::string AotiModel::reason() const {
  const char* message = nullptr;
  if (last_error_ != nullptr && last_error_(&message) == 0 && message != nullptr &&
      *message != '\0') {
    return message;
  }
  std::string text = torch_->last_error();
  return text.empty() ? "it gave no reason; see standard error" : text;
}

}  // namespace glet::exec
