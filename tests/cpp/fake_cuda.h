#pragma once

// What the fake libcuda.so.1 exports beside cuGetProcAddress_v2, for tests.
//
// Settings, with what they are at first: sms 132, unit 8 (smallest group), align 8, rest 12 (SMs
// that are in no group of `unit`), refuse 0 (groups below so many SMs are refused although they are
// aligned), give 0 (SMs that a green context has beyond, or below 0: short of, those of its
// descriptor), uneven 0 (SMs that the last group is larger), driver 13000, devices 1, memory_mb
// 143771, capability 90, ipc 0 (1: other processes can open device memory; 2: this one, too).
// The same from the environment:
// FAKE_CUDA="sms=114,rest=2,fail=cuInit:1:100,hide=cuGreenCtxCreate".
//
// What is put on a stream is done when somebody waits for it, on the thread that waits.
//
// Counts: contexts, streams, events, graphs, memory, pinned (alive; blocks of memory), primary
// (retained), current (contexts that are current to a thread), splits (real ones), overlaps (pairs
// of live green contexts that share an SM), leaked (streams and graphs whose context went first),
// misuse (calls the driver leaves undefined: a dead handle, a green context current to two
// threads), calls (all), cuXYZ (calls of that).
extern "C" {
// Forgets every object, setting and count, then reads the environment.
void fake_cuda_reset();
// Returns 0 for a name that it does not know.
int fake_cuda_set(const char* name, int value);
// The nth call of `name` from now on, counted from 1, fails with `code`; 0 ends that.
void fake_cuda_fail(const char* name, int nth, int code);
// cuGetProcAddress does not know `name`.
void fake_cuda_hide(const char* name);
// -1 for a name that it does not know.
int fake_cuda_count(const char* name);
// SMs of a context, 0..sms - 1, into `ids`, at most `capacity`; returns how many there are.
int fake_cuda_sms(void* context, int* ids, int capacity);
int fake_cuda_priority(void* stream);

// Device memory, which is the host's: 0 when there is no more.
unsigned long long fake_cuda_alloc(unsigned long long bytes);
void fake_cuda_free(unsigned long long address);
// A CUgraphExec, as if captured on the stream: each launch calls function(data) in the stream's
// order. To be freed before its context goes.
void* fake_cuda_graph(void* stream, int (*function)(void*), void* data);
void fake_cuda_graph_free(void* graph);
// The same once, as a launch without a graph does.
void fake_cuda_enqueue(void* stream, int (*function)(void*), void* data);
}
