// Seeded mutations for the fuzz targets where libFuzzer is not available: what ctest runs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace layerscope::testing {

/// One to eight random edits: bytes, bits, 64-bit extremes, cuts, insertions, copies within.
inline std::string mutate(std::string input, std::mt19937& random) {
  const std::size_t n_edits = 1 + random() % 8;
  for (std::size_t i = 0; i < n_edits; ++i) {
    const std::size_t place = input.empty() ? 0 : random() % input.size();
    switch (input.empty() ? 4U : random() % 6U) {
      case 0:
        input[place] = static_cast<char>(random() & 0xFFU);
        break;
      case 1:
        input[place] = static_cast<char>(input[place] ^ (1U << (random() % 8U)));
        break;
      case 2: {
        constexpr std::uint64_t kExtremes[] = {0, 1, 0x7F, 0x80000000U, 1ULL << 63U, ~0ULL};
        const std::uint64_t value = kExtremes[random() % 6U];
        for (std::size_t j = 0; j < 8 && place + j < input.size(); ++j) {
          input[place + j] = static_cast<char>((value >> (8 * j)) & 0xFFU);
        }
        break;
      }
      case 3:
        input.resize(place);
        break;
      case 4:
        input.insert(place, 1 + random() % 9U, static_cast<char>(random() & 0xFFU));
        break;
      default:
        input.insert(place, input.substr(random() % input.size(), random() % 32U));
        break;
    }
  }
  return input;
}

/// Runs the fuzz target over each seed and `rounds` mutations of them.
inline void run_mutations(const std::vector<std::string>& seeds, unsigned seed, int rounds) {
  std::printf("seed %u, %d rounds\n", seed, rounds);
  std::mt19937 random(seed);
  const auto run = [](const std::string& input) {
    // A copy of exactly this size, so that a sanitizer sees any read beyond it.
    const std::vector<std::uint8_t> exact(input.begin(), input.end());
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
  };
  for (const std::string& input : seeds) {
    run(input);
  }
  for (int round = 0; round < rounds; ++round) {
    run(mutate(seeds[random() % seeds.size()], random));
  }
}

}  // namespace layerscope::testing
