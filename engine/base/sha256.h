// SHA-256 (FIPS 180-4), to tell files apart: not for secrets.
#pragma once

#include <string>
#include <string_view>

namespace layerscope {

/// The digest of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace layerscope
