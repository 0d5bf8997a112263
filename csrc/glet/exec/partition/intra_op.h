#pragma once

namespace glet::exec {

// Sets how many threads a model may use inside one run when it is called from this thread, in
// whatever OpenMP and torch the process has loaded (it links neither). Returns the number that
// holds now; 1 when neither is loaded. Call it again after loading torch.
int set_intra_op_threads(int threads);

}  // namespace glet::exec
