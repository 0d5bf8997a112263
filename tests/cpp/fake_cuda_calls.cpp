// The entry points of the fake libcuda.so.1.

#include <algorithm>
#include <cstring>
#include <utility>

#include "fake_cuda_state.h"

namespace fake_cuda {

Result enter(const char* name, bool needs_init) {
  auto& s = state();
  ++s.calls[name];
  auto& failure = s.failures[name];
  if (failure.nth > 0 && --failure.nth == 0) return failure.code;
  return needs_init && !s.initialised ? kNotInitialized : kSuccess;
}

ContextObject* current_context() {
  const auto& stack = state().current[std::this_thread::get_id()];
  return stack.empty() ? nullptr : stack.back();
}

Result stream_state(Stream stream) {
  if (!usable(stream)) return kInvalidHandle;
  if (!stream->context->alive) ++state().misuse;
  return stream->context->alive ? kSuccess : kContextIsDestroyed;
}

namespace {

#define ENTER(name)                  \
  const std::lock_guard lock(mutex); \
  if (const Result early = enter(name)) return early

bool is_device(Device device) {
  return device >= 0 && device < setting("devices");
}

Origin origin_of(const DevResource& resource) {
  Origin origin;
  std::memcpy(&origin, resource.internal, sizeof(origin));
  return resource.type == kResourceSm ? origin : Origin{};
}

void describe(DevResource* resource, const Origin& origin) {
  *resource = DevResource{};
  resource->type = kResourceSm;
  std::memcpy(resource->internal, &origin, sizeof(origin));
  resource->sm.sm_count = static_cast<unsigned>(origin.count);
  if (setting("driver") < 13000) return;
  resource->sm.min_partition = static_cast<unsigned>(setting("unit"));
  resource->sm.coscheduled_alignment = static_cast<unsigned>(setting("align"));
}

Result init(unsigned flags) {
  const std::lock_guard lock(mutex);
  if (const Result early = enter("cuInit", false)) return early;
  if (flags != 0) return kInvalidValue;
  if (setting("devices") == 0) return kNoDevice;
  state().initialised = true;
  return kSuccess;
}

Result driver_get_version(int* version) {
  const std::lock_guard lock(mutex);
  if (const Result early = enter("cuDriverGetVersion", false)) return early;
  *version = setting("driver");
  return kSuccess;
}

Result device_get_count(int* count) {
  ENTER("cuDeviceGetCount");
  *count = setting("devices");
  return kSuccess;
}

Result device_get(Device* device, int index) {
  ENTER("cuDeviceGet");
  if (!is_device(index)) return kInvalidDevice;
  *device = index;
  return kSuccess;
}

Result device_get_name(char* name, int capacity, Device device) {
  ENTER("cuDeviceGetName");
  if (!is_device(device)) return kInvalidDevice;
  const std::string full = "Fake GPU " + std::to_string(device);
  name[full.copy(name, static_cast<std::size_t>(capacity) - 1)] = '\0';
  return kSuccess;
}

Result device_get_attribute(int* value, int attribute, Device device) {
  ENTER("cuDeviceGetAttribute");
  if (!is_device(device)) return kInvalidDevice;
  switch (attribute) {
    case kMultiprocessorCount:
      *value = setting("sms");
      return kSuccess;
    case kCapabilityMajor:
      *value = setting("capability") / 10;
      return kSuccess;
    case kCapabilityMinor:
      *value = setting("capability") % 10;
      return kSuccess;
    default:
      return kInvalidValue;
  }
}

Result device_total_mem(std::size_t* bytes, Device device) {
  ENTER("cuDeviceTotalMem");
  if (!is_device(device)) return kInvalidDevice;
  *bytes = static_cast<std::size_t>(setting("memory_mb")) << 20;
  return kSuccess;
}

Result primary_ctx_retain(Context* context, Device device) {
  ENTER("cuDevicePrimaryCtxRetain");
  if (!is_device(device)) return kInvalidDevice;
  ++state().retained[device];
  auto& primary = state().primary[device];
  primary.device = device;
  *context = &primary;
  return kSuccess;
}

Result primary_ctx_release(Device device) {
  ENTER("cuDevicePrimaryCtxRelease");
  if (state().retained[device] == 0) return kInvalidContext;
  --state().retained[device];
  return kSuccess;
}

Result ctx_push_current(Context context) {
  ENTER("cuCtxPushCurrent");
  if (!usable(context)) return kInvalidContext;
  const auto self = std::this_thread::get_id();
  context->current.insert(self);
  if (context->green && context->current.size() > 1) ++state().misuse;
  state().current[self].push_back(context);
  return kSuccess;
}

Result ctx_pop_current(Context* context) {
  ENTER("cuCtxPopCurrent");
  *context = current_context();
  if (*context == nullptr) return kInvalidContext;
  const auto self = std::this_thread::get_id();
  auto& stack = state().current[self];
  stack.pop_back();
  if (std::find(stack.begin(), stack.end(), *context) == stack.end()) {
    (*context)->current.erase(self);
  }
  return kSuccess;
}

Result mem_get_info(std::size_t* free_bytes, std::size_t* total_bytes) {
  ENTER("cuMemGetInfo");
  if (!usable(current_context())) return kInvalidContext;
  *total_bytes = static_cast<std::size_t>(setting("memory_mb")) << 20;
  *free_bytes = *total_bytes / 2;
  return kSuccess;
}

Result stream_synchronize(Stream stream) {
  Lock lock(mutex);
  if (const Result early = enter("cuStreamSynchronize")) return early;
  if (const Result bad = stream_state(stream)) return bad;
  finish(stream, lock);
  return kSuccess;
}

Result stream_destroy(Stream stream) {
  ENTER("cuStreamDestroy");
  if (const Result bad = stream_state(stream)) return bad;
  stream->alive = false;
  return kSuccess;
}

Result device_get_resource(Device device, DevResource* resource, unsigned type) {
  ENTER("cuDeviceGetDevResource");
  if (!is_device(device)) return kInvalidDevice;
  if (type != kResourceSm) return kInvalidResourceType;
  describe(resource, {Origin::kDevice, 0, 0, setting("sms")});
  return kSuccess;
}

Result ctx_get_resource(Context context, DevResource* resource, unsigned type) {
  ENTER("cuCtxGetDevResource");
  if (!usable(context)) return kInvalidContext;
  if (type != kResourceSm) return kInvalidResourceType;
  const int count =
      context->green ? static_cast<int>(context->sms.size()) + setting("give") : setting("sms");
  describe(resource, {Origin::kContext, 0, 0, count});
  return kSuccess;
}

Result split_by_count(DevResource* groups, unsigned* count, const DevResource* input,
                      DevResource* remaining, unsigned flags, unsigned smallest) {
  ENTER("cuDevSmResourceSplitByCount");
  if (count == nullptr || input == nullptr || flags != 0) return kInvalidValue;
  const Origin from = origin_of(*input);
  if (from.kind == Origin::kNone) return kInvalidResourceType;
  // Groups cannot be split again; nor can this fake split a context.
  if (from.kind != Origin::kDevice) return kInvalidResourceConfiguration;
  if (static_cast<int>(smallest) > from.count) return kInvalidValue;
  const int align = setting("align");
  int size = std::max(static_cast<int>(smallest), setting("unit"));
  size = (size + align - 1) / align * align;
  if (size < setting("refuse")) return kInvalidResourceConfiguration;
  const int possible = (from.count - setting("rest")) / size;
  if (groups == nullptr) {
    *count = static_cast<unsigned>(possible);
    return kSuccess;
  }
  if (*count == 0) return kInvalidValue;
  const int made = std::min(possible, static_cast<int>(*count));
  const int split = ++state().splits;
  for (int i = 0; i < made; ++i) {
    const int extra = i == made - 1 ? setting("uneven") : 0;
    describe(&groups[i], {Origin::kSplit, split, i * size, size + extra});
  }
  *count = static_cast<unsigned>(made);
  if (remaining == nullptr) return kSuccess;
  *remaining = DevResource{};
  const int left = from.count - made * size - setting("uneven");
  if (left > 0) describe(remaining, {Origin::kSplit, split, from.count - left, left});
  return kSuccess;
}

Result generate_desc(ResourceDesc* desc, DevResource* resources, unsigned count) {
  ENTER("cuDevResourceGenerateDesc");
  if (desc == nullptr || resources == nullptr || count == 0) return kInvalidValue;
  std::vector<int> sms;
  const Origin first = origin_of(resources[0]);
  for (unsigned i = 0; i < count; ++i) {
    const Origin origin = origin_of(resources[i]);
    if (origin.kind == Origin::kNone) return kInvalidResourceType;
    const bool together = origin.kind == Origin::kSplit && origin.split == first.split;
    if (count > 1 && !together) return kInvalidResourceConfiguration;
    for (int sm = 0; sm < origin.count; ++sm) sms.push_back(origin.first + sm);
  }
  std::sort(sms.begin(), sms.end());
  if (std::adjacent_find(sms.begin(), sms.end()) != sms.end()) {
    return kInvalidResourceConfiguration;
  }
  *desc = &state().descs.emplace_back(DescObject{std::move(sms)});
  return kSuccess;
}

Result green_create(Green* green, ResourceDesc desc, Device device, unsigned flags) {
  ENTER("cuGreenCtxCreate");
  if (!is_device(device)) return kInvalidDevice;
  if (desc == nullptr || flags != kGreenDefaultStream) return kInvalidValue;
  ++state().retained[device];
  *green = &state().greens.emplace_back();
  auto& context = (*green)->context;
  context.green = true;
  context.device = device;
  context.sms = desc->sms;
  return kSuccess;
}

Result green_destroy(Green green) {
  ENTER("cuGreenCtxDestroy");
  if (green == nullptr || !usable(&green->context)) return kInvalidContext;
  auto& context = green->context;
  if (!context.current.empty()) ++state().misuse;
  for (auto& stream : state().streams) {
    if (stream.alive && stream.context == &context) ++state().leaked;
  }
  for (auto& graph : state().graphs) {
    if (graph.alive && graph.context == &context) ++state().leaked;
  }
  context.alive = false;
  --state().retained[context.device];
  return kSuccess;
}

Result ctx_from_green(Context* context, Green green) {
  ENTER("cuCtxFromGreenCtx");
  if (green == nullptr || !usable(&green->context)) return kInvalidContext;
  *context = &green->context;
  return kSuccess;
}

Result green_stream_create(Stream* stream, Green green, unsigned flags, int priority) {
  ENTER("cuGreenCtxStreamCreate");
  if (green == nullptr || !usable(&green->context)) return kInvalidContext;
  if (flags != kStreamNonBlocking) return kInvalidValue;
  *stream = &state().streams.emplace_back();
  (*stream)->context = &green->context;
  (*stream)->priority = std::clamp(priority, -5, 0);
  return kSuccess;
}

}  // namespace

EntryPoints& table() {
  static EntryPoints entries = [] {
    EntryPoints all;
    all.init.function = init;
    all.driver_get_version.function = driver_get_version;
    all.get_error_name.function = get_error_name;
    all.get_error_string.function = get_error_string;
    all.device_get_count.function = device_get_count;
    all.device_get.function = device_get;
    all.device_get_name.function = device_get_name;
    all.device_get_attribute.function = device_get_attribute;
    all.device_total_mem.function = device_total_mem;
    all.primary_ctx_retain.function = primary_ctx_retain;
    all.primary_ctx_release.function = primary_ctx_release;
    all.ctx_push_current.function = ctx_push_current;
    all.ctx_pop_current.function = ctx_pop_current;
    all.mem_get_info.function = mem_get_info;
    all.stream_synchronize.function = stream_synchronize;
    all.stream_destroy.function = stream_destroy;
    all.device_get_resource.function = device_get_resource;
    all.ctx_get_resource.function = ctx_get_resource;
    all.split_by_count.function = split_by_count;
    all.generate_desc.function = generate_desc;
    all.green_create.function = green_create;
    all.green_destroy.function = green_destroy;
    all.ctx_from_green.function = ctx_from_green;
    all.green_stream_create.function = green_stream_create;
    add_work(all);
    add_ipc(all);
    return all;
  }();
  return entries;
}

}  // namespace fake_cuda
