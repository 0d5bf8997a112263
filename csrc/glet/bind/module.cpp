#include "glet/bind/bind.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "glet's core: queues, router, engine and data plane. Import it as glet.native.";
#ifdef GLET_VERSION
  m.attr("__version__") = GLET_VERSION;
#endif
  glet::bind::bind_errors(m);
  glet::bind::bind_curve(m);
  glet::bind::bind_client(m);
  glet::bind::bind_load(m);
  glet::bind::bind_batch(m);
  glet::bind::bind_route(m);
  glet::bind::bind_exec(m);
  glet::bind::bind_cuda(m);
  glet::bind::bind_net(m);
  glet::bind::bind_web_guard(m);
  glet::bind::bind_web_http(m);
  glet::bind::bind_web_grpc(m);
  glet::bind::bind_engine_load(m);
  glet::bind::bind_sim(m);
}
