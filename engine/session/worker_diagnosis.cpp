// Session::Worker: faults and diagnosis.
#include "engine/diagnose/fault.h"
#include "engine/session/run_faults.h"
#include "engine/session/worker.h"

namespace layerscope::session {

void Session::Worker::restart() {
  generator_->reset();
  const tokenizer::Tokenizer& tokenizer = *state_.model->tokenizer;
  if (!state_.fed_text.empty()) {
    state_.prompt_ids = prompt_with_faults(generator_->interventions(),
                                           tokenizer.encode(state_.fed_text).ids, tokenizer);
  }
  diagnosis_->start(state_.prompt_ids.size(), state_.fed_text);
  take_findings();
  forget_views();
  state_.stop_reason = StopReason::kNone;
  ++state_.session_serial;
}

void Session::Worker::take_findings() {
  state_.findings = diagnosis_->findings();
  state_.checks_run = diagnosis_->checks_run();
  ++state_.findings_serial;
  state_.diagnosed = false;
}

void Session::Worker::observe() {
  state_.diagnosed = false;
  if (diagnosis_settings_.live && diagnosis_->observe()) {
    take_findings();
  }
  state_.checks_run = diagnosis_->checks_run();
}

Status Session::Worker::deepen() {
  progress_.what = "diagnosing";
  LS_CHECK(diagnosis_->deepen(stop_));
  take_findings();
  state_.diagnosed = true;
  return {};
}

Status Session::Worker::set_faults(const std::vector<std::string>& faults) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded; open one first");
  }
  LS_TRY(model::Interventions list, diagnose::parse_faults(faults, generator_->model()));
  LS_CHECK(generator_->set_interventions(std::move(list)));
  state_.faults = faults;
  restart();
  return {};
}

void Session::Worker::handle(const SetFaults& command) {
  state_.error.clear();
  report(set_faults(command.faults));
}

void Session::Worker::handle(const SetDiagnosis& command) { diagnosis_settings_ = command; }

void Session::Worker::handle(const DiagnoseNow& /*command*/) {
  state_.error.clear();
  if (!report(prepare())) {
    return;
  }
  set_state(State::kEvaluating);
  report(deepen());
}

}  // namespace layerscope::session
