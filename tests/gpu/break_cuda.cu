// A library that breaks the CUDA context of the program it is preloaded into, from a thread of its
// own, as a faulty kernel does: as soon as the file $LS_BREAK_WHEN is there, a kernel writes to an
// address that is nobody's. tests/gpu/cuda_fault.sh uses it on the window as it is shipped.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>

namespace {

__global__ void write_kernel(float* d_nobodys) { d_nobodys[threadIdx.x] = 1.0F; }

void break_when(const std::string& file) {
  while (::access(file.c_str(), F_OK) != 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  cudaSetDevice(0);
  write_kernel<<<1, 32>>>(reinterpret_cast<float*>(0x10));
  const cudaError_t code = cudaDeviceSynchronize();
  std::fprintf(stderr, "break_cuda: %s\n", cudaGetErrorName(code));
}

const struct Breaker {
  Breaker() {
    if (const char* file = std::getenv("LS_BREAK_WHEN"); file != nullptr) {
      ::unsetenv("LS_BREAK_WHEN");  // not in programs that this one starts
      std::thread(break_when, std::string(file)).detach();
    }
  }
} breaker;

}  // namespace
