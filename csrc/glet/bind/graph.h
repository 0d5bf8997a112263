#pragma once

#include <pybind11/pybind11.h>

#include "glet/exec/graph_runner.h"

namespace glet::bind {

// capture(batch, stream, context_id) -> Captured, called under the GIL on the gpulet's thread. With
// the GIL; throws ArgumentError when it cannot be called.
exec::GraphRunner::Capture python_capture(pybind11::object function);

}  // namespace glet::bind
