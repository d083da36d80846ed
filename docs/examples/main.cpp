// Load a compiled package without Python, and call it: ./call_package dist/mlp@cpu/compiled.pt2 [BATCH]
#include <cstdlib>
#include <exception>
#include <iostream>
#include <vector>

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: call_package PACKAGE [BATCH]\n";
    return 2;
  }
  const long batch = argc > 2 ? std::atol(argv[2]) : 3;
  try {
    c10::InferenceMode guard;
    torch::inductor::AOTIModelPackageLoader loader(argv[1]);
    // All tensors in one list, in the order of call.args and then call.kwargs of job.json: here x, mask.
    const std::vector<at::Tensor> inputs = {at::full({batch, 16}, 0.5), at::ones({batch, 4})};
    for (const at::Tensor& output : loader.run(inputs)) {
      std::cout << output.sizes() << " " << output.sum().item<float>() << "\n";
    }
  } catch (const c10::Error& error) {
    std::cerr << error.what_without_backtrace() << "\n";
    return 1;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
