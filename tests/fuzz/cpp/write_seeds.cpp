// Writes the seeds of every target to FOLDER/TARGET/NUMBER.
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "targets.h"

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  for (const glet::fuzz::Target& target : glet::fuzz::targets()) {
    const auto folder = std::filesystem::path(arguments[1]) / target.name;
    std::filesystem::create_directories(folder);
    const auto seeds = target.seeds();
    for (std::size_t i = 0; i < seeds.size(); ++i) {
      std::ofstream file(folder / std::to_string(i), std::ios::binary);
      file.write(seeds[i].data(), static_cast<std::streamsize>(seeds[i].size()));
      if (!file.flush()) {
        std::fprintf(stderr, "%s: cannot be written\n", folder.c_str());
        return 1;
      }
    }
  }
  return 0;
}
