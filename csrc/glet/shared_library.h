#pragma once

#include <dlfcn.h>

#include <string>
#include <utility>

namespace glet {

// A library that is opened at run time and stays open. What is missing throws Error, which names
// `who` wanted it and ends with `needed`.
template <typename Error>
class SharedLibrary {
 public:
  SharedLibrary(std::string who, std::string path, std::string needed)
      : who_(std::move(who)),
        path_(std::move(path)),
        needed_(std::move(needed)),
        handle_(::dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) fail("cannot open " + path_ + ": " + ::dlerror());
  }

  // Sets `slot` to the function, to null without it.
  template <typename F>
  void find(const char* name, F& slot) const {
    slot = reinterpret_cast<F>(::dlsym(handle_, name));
  }

  // The same for one that has to be there.
  template <typename F>
  void require(const char* name, F& slot) const {
    find(name, slot);
    if (slot == nullptr) fail(path_ + " has no function " + name);
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw Error(who_ + " " + what + "; " + needed_);
  }

 private:
  std::string who_;
  std::string path_;
  std::string needed_;
  void* handle_;
};

}  // namespace glet
