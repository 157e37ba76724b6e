# Thin: everything real stands in CMakeLists.txt and CMakePresets.json.
CMAKE ?= cmake
BUILD := build
TOOLS := tests/tools
# Ninja if it is there. Evaluated when a recipe runs: `make run` may have just installed it.
GENERATOR = $(shell command -v ninja >/dev/null 2>&1 && echo Ninja || echo "Unix Makefiles")
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)

# configure,<preset>: an existing folder keeps its generator.
configure = CMAKE_GENERATOR="$(GENERATOR)" $(CMAKE) --preset $(1) $(2) >$(3)/configure.log 2>&1 \
	|| { cat $(3)/configure.log; exit 1; }

.PHONY: help build run test bench gpu-test sanitize asan tsan format clean deps deps-test configure

help:
	@echo "make build     both executables, in build/"
	@echo "make run       build, then the main job on the demo model"
	@echo "make test      every test that needs no GPU"
	@echo "make bench     benchmarks (GPU too)   make gpu-test  tests that need a GPU"
	@echo "make sanitize  unit tests under AddressSanitizer, then ThreadSanitizer"
	@echo "make format    clang-format in place  make clean     remove build folders"

deps:
	@$(TOOLS)/install_deps.sh --gui

deps-test:
	@$(TOOLS)/install_deps.sh --gui --test

configure:
	@mkdir -p $(BUILD)
	@echo "Configuring (log: $(BUILD)/configure.log)"
	@$(call configure,release,,$(BUILD))

build: configure
	@$(CMAKE) --build $(BUILD) --target layerscope layerscope-cli

run: deps
	@$(MAKE) --no-print-directory build
	@$(TOOLS)/run_demo.sh $(BUILD)

test: deps-test
	@$(MAKE) --no-print-directory configure
	@$(CMAKE) --build $(BUILD)
	@$(TOOLS)/run_tests.sh $(BUILD)

bench: deps-test
	@$(MAKE) --no-print-directory configure
	@$(CMAKE) --build $(BUILD) --target benchmarks
	@for program in $(BUILD)/bench/bench_*; do \
	  [ -x "$$program" ] || { echo "No benchmarks yet."; break; }; \
	  "$$program" --benchmark_repetitions=5 --benchmark_report_aggregates_only=true || exit 1; done
	@$(CMAKE) --build $(BUILD) --target layerscope-cli make_model
	@$(TOOLS)/gpu_bench.sh $(BUILD)

gpu-test:
	@if ! command -v nvidia-smi >/dev/null 2>&1 || ! nvidia-smi -L >/dev/null 2>&1; then \
	  echo "No GPU here: nothing to test."; \
	else \
	  $(MAKE) --no-print-directory configure && $(CMAKE) --build $(BUILD) && \
	  $(TOOLS)/gpu_test.sh $(BUILD); \
	fi

sanitize: asan tsan

asan tsan: deps-test
	@mkdir -p build-$@
	@$(call configure,$@,,build-$@)
	@$(CMAKE) --build build-$@
	@$(TOOLS)/run_tests.sh build-$@ -L unit -LE 'gpu|slow|style'

format:
	@$(TOOLS)/own_sources.sh h cpp cu cuh | xargs -r clang-format -i

clean:
	rm -rf build build-dev build-asan build-tsan build-cuda-profile
