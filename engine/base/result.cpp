#include "engine/base/result.h"

namespace layerscope {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInternal:
    case ErrorCode::kCancelled:
      return 1;
    case ErrorCode::kUsage:
      return 2;
    case ErrorCode::kInvalidInput:
      return 3;
    case ErrorCode::kDevice:
      return 4;
    case ErrorCode::kAnomaly:
      return 5;
  }
  return 1;
}

}  // namespace layerscope
