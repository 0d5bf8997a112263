#pragma once

namespace glet::net {

// Keeps the memory of large frames in the process instead of giving it back and faulting it in
// again with every image: glibc's limits for that follow sizes only upwards, and per arena. Applies
// to the whole process; a daemon's loops call it once.
void keep_freed_memory();

}  // namespace glet::net
