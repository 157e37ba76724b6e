// Runs and traces that several tests of comparisons need.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/compare/comparison.h"
#include "engine/compare/registry.h"
#include "engine/diagnose/fault.h"
#include "engine/session/explain.h"
#include "engine/session/trace_run.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {

inline std::string sample(const std::string& name) {
  return source_dir() + "/tests/engine/compare/samples/" + name;
}

inline std::unique_ptr<backend::Backend> cpu_backend(
    const std::shared_ptr<const model::Model>& model) {
  auto backend = backend::create_backend(model, {"cpu", 1, 64});
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  return std::move(backend).value();
}

inline std::vector<std::int32_t> short_ids(const std::string& model) {
  return read_json(golden(model, "tokens-short.json")).at("ids").get<std::vector<std::int32_t>>();
}

/// Our run of a model on ids, the last `decoded` of them one by one, with faults.
inline Result<compare::Trace> own_trace(const std::shared_ptr<const model::Model>& model,
                                        const std::vector<std::int32_t>& ids, int decoded = 0,
                                        const std::vector<std::string>& faults = {}) {
  LS_TRY(const model::Interventions list, diagnose::parse_faults(faults, *model));
  const auto backend = cpu_backend(model);
  session::TraceRequest request;
  request.ids = ids;
  const int prefill = static_cast<int>(ids.size()) - decoded;
  request.passes.push_back({0, prefill});
  for (int i = 0; i < decoded; ++i) {
    request.passes.push_back({prefill + i, 1});
  }
  request.faults = list;
  return session::run_trace(*model, *backend, request);
}

inline compare::Trace imported(const std::string& path) {
  auto trace = compare::import_trace(path);
  EXPECT_TRUE(trace.ok()) << trace.error().message;
  return trace.ok() ? std::move(trace).value() : compare::Trace{};
}

/// The error of a trace that must not be read.
inline std::string import_error(const std::string& path) {
  const auto trace = compare::import_trace(path);
  EXPECT_FALSE(trace.ok()) << path;
  EXPECT_TRUE(trace.ok() || trace.error().code == ErrorCode::kInvalidInput);
  return trace.ok() ? std::string() : trace.error().message;
}

inline compare::Comparison compared(const compare::Trace& a, const compare::Trace& b) {
  auto comparison = compare::compare_traces(a, b);
  EXPECT_TRUE(comparison.ok()) << comparison.error().message;
  return comparison.ok() ? std::move(comparison).value() : compare::Comparison{};
}

inline std::string first_place(const compare::Comparison& c) {
  return c.tokens ? "tokens" : c.first ? compare::place_text(c.pairs[*c.first]) : "none";
}

}  // namespace layerscope::testing
