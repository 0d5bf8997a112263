#pragma once

namespace glet::exec {

// Sets how many threads a model may use inside one run when it is called from this thread, in
// whatever OpenMP and torch the process has loaded (it links neither). Returns the number that
// holds now; 1 when neither is loaded. Call it again after loading torch.
int set_intra_op_threads(int threads);

// Calls `function(data)` on the calling thread and once on each thread of its intra-op pool, all at
// once; those that are missing in the pool are made for it. Does nothing without OpenMP.
void run_on_intra_op_threads(void (*function)(void*), void* data);

}  // namespace glet::exec
