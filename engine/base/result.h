// Result<T>: how everything that can fail reports it.
//
// An Error is a code (which fixes the process exit code), one clear sentence, and optionally the
// cause below it. Context is added on the way up with `with_context`; it is logged once, at the
// top. Owned by whoever holds it; no thread restrictions.
#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace layerscope {

/// Kinds of failure. `exit_code` maps them to the codes of the command-line interface.
enum class ErrorCode {
  kInternal,      ///< A bug of ours: exit 1.
  kUsage,         ///< Wrong command line: exit 2.
  kInvalidInput,  ///< A bad file, prompt or request: exit 3.
  kDevice,        ///< Device missing or out of memory: exit 4.
  kAnomaly,       ///< Anomalies of severity error were found: exit 5.
  kCancelled,     ///< The user cancelled: exit 1.
};

/// The process exit code for `code` (0 is success and never returned here).
int exit_code(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  ///< One sentence: what is wrong, where, what to do.

  /// The same error with `context: ` in front of its sentence.
  [[nodiscard]] Error with_context(std::string_view context) const {
    return Error{code, std::string(context) + ": " + message};
  }
};

/// A value or an Error. Access the value only after checking `ok()`.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: same

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    assert(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    assert(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  const Error& error() const {
    assert(!ok());
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

/// Success or an Error, for operations without a value.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return ok_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    assert(!ok_);
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

/// Shorthands for the commonest kinds.
inline Error invalid_input(std::string message) {
  return Error{ErrorCode::kInvalidInput, std::move(message)};
}
inline Error internal_error(std::string message) {
  return Error{ErrorCode::kInternal, std::move(message)};
}
inline Error usage_error(std::string message) {
  return Error{ErrorCode::kUsage, std::move(message)};
}
inline Error device_error(std::string message) {
  return Error{ErrorCode::kDevice, std::move(message)};
}
inline Error cancelled_error() { return Error{ErrorCode::kCancelled, "cancelled by the user"}; }

}  // namespace layerscope

#define LS_CONCAT_INNER(a, b) a##b
#define LS_CONCAT(a, b) LS_CONCAT_INNER(a, b)

/// Evaluates a Status or Result expression; returns its error from the enclosing function.
#define LS_CHECK(expr)                                       \
  do {                                                       \
    if (const auto& ls_status_ = (expr); !ls_status_.ok()) { \
      return ls_status_.error();                             \
    }                                                        \
  } while (false)

/// `LS_TRY(auto x, f());` declares x from a Result, or returns its error.
// NOLINTBEGIN(bugprone-macro-parentheses): `declaration` cannot stand in parentheses
#define LS_TRY(declaration, expr)                   \
  auto LS_CONCAT(ls_result_, __LINE__) = (expr);    \
  if (!LS_CONCAT(ls_result_, __LINE__).ok()) {      \
    return LS_CONCAT(ls_result_, __LINE__).error(); \
  }                                                 \
  declaration = std::move(LS_CONCAT(ls_result_, __LINE__)).value()
// NOLINTEND(bugprone-macro-parentheses)
