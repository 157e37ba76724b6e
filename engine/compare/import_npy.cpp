// Importers of NumPy: .npy (one array) and .npz (a zip of them, stored or deflated).
//
// Formats: numpy.lib.format (magic "\x93NUMPY", version, header length, a Python dict literal with
// descr, fortran_order, shape); PKWARE APPNOTE for zip, of which only what np.savez writes is read:
// stored and deflated members found through the central directory.
#include <fmt/format.h>
#include <zlib.h>

#include <cctype>
#include <charconv>
#include <cstring>
#include <regex>

#include "engine/compare/importers.h"

namespace layerscope::compare {
namespace {

template <typename T>
bool read_at(std::string_view bytes, std::size_t at, T& value) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) {
    return false;
  }
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return true;
}

/// The dtype of the array protocol ("<f4") as safetensors calls it; empty: not readable.
std::string_view plain_dtype(std::string_view descr) {
  constexpr std::pair<const char*, const char*> kTypes[] = {
      {"<f4", "F32"}, {"<f2", "F16"}, {"<f8", "F64"}, {"<i8", "I64"},
      {"<i4", "I32"}, {"<i2", "I16"}, {"|i1", "I8"},  {"<u8", "U64"},
      {"<u4", "U32"}, {"<u2", "U16"}, {"|u1", "U8"},  {"|b1", "BOOL"}};
  for (const auto& [from, to] : kTypes) {
    if (descr == from) {
      return to;
    }
  }
  return {};
}

/// What the header's dict says.
struct NpyHeader {
  std::string descr;
  bool fortran = false;
  std::vector<std::int64_t> shape;
};

Result<NpyHeader> parse_header(const std::string& text, const std::string& name) {
  static const std::regex kDescr(R"('descr'\s*:\s*'([^']{1,16})')");
  static const std::regex kOrder(R"('fortran_order'\s*:\s*(True|False))");
  static const std::regex kShape(R"('shape'\s*:\s*\(([0-9, ]{0,400})\))");
  NpyHeader header;
  std::smatch match;
  if (!std::regex_search(text, match, kDescr)) {
    return invalid_input(fmt::format("array '{}' has no plain dtype in its header", name));
  }
  header.descr = match[1];
  if (!std::regex_search(text, match, kOrder)) {
    return invalid_input(fmt::format("array '{}' does not say its order", name));
  }
  header.fortran = match[1] == "True";
  if (!std::regex_search(text, match, kShape)) {
    return invalid_input(fmt::format("array '{}' has no shape in its header", name));
  }
  const std::string shape = match[1];
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(shape[i])) == 0) {
      continue;
    }
    std::int64_t d = 0;
    const auto read = std::from_chars(shape.data() + i, shape.data() + shape.size(), d);
    if (read.ec != std::errc()) {
      return invalid_input(fmt::format("array '{}' has a dimension beyond 64 bits", name));
    }
    header.shape.push_back(d);
    i = static_cast<std::size_t>(read.ptr - shape.data());
  }
  return header;
}

/// Column-major values to row-major.
std::vector<float> from_fortran(const std::vector<float>& values,
                                const std::vector<std::int64_t>& shape) {
  std::vector<float> out(values.size());
  std::vector<std::int64_t> at(shape.size(), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {  // i runs over the stored order
    std::size_t flat = 0;
    for (std::size_t d = 0; d < shape.size(); ++d) {
      flat = flat * static_cast<std::size_t>(shape[d]) + static_cast<std::size_t>(at[d]);
    }
    out[flat] = values[i];
    for (std::size_t d = 0; d < shape.size() && ++at[d] == shape[d]; ++d) {
      at[d] = 0;
    }
  }
  return out;
}

/// A member of a zip archive.
struct Member {
  std::string name;
  std::uint16_t method = 0;
  std::uint32_t packed = 0, size = 0, local = 0;
};

/// The central directory; empty when the archive has none that fits.
std::vector<Member> central_directory(std::string_view zip) {
  constexpr std::uint32_t kEnd = 0x06054b50;
  constexpr std::uint32_t kEntry = 0x02014b50;
  constexpr std::size_t kEndBytes = 22;
  std::vector<Member> members;
  if (zip.size() < kEndBytes) {
    return members;
  }
  std::size_t end = zip.size() - kEndBytes;
  std::uint32_t magic = 0;
  while (read_at(zip, end, magic) && magic != kEnd && end > 0) {
    --end;
  }
  std::uint16_t count = 0;
  std::uint32_t at32 = 0;
  if (magic != kEnd || !read_at(zip, end + 10, count) || !read_at(zip, end + 16, at32)) {
    return members;
  }
  std::size_t at = at32;
  for (int i = 0; i < count; ++i) {
    Member m;
    std::uint16_t name_bytes = 0;
    std::uint16_t extra = 0;
    std::uint16_t comment = 0;
    if (!read_at(zip, at, magic) || magic != kEntry || !read_at(zip, at + 10, m.method) ||
        !read_at(zip, at + 20, m.packed) || !read_at(zip, at + 24, m.size) ||
        !read_at(zip, at + 28, name_bytes) || !read_at(zip, at + 30, extra) ||
        !read_at(zip, at + 32, comment) || !read_at(zip, at + 42, m.local) ||
        zip.size() - at < std::size_t{46} + name_bytes) {
      return {};
    }
    m.name = zip.substr(at + 46, name_bytes);
    at += std::size_t{46} + name_bytes + extra + comment;
    members.push_back(std::move(m));
  }
  return members;
}

/// Raw deflate to exactly `size` bytes.
bool inflate_exactly(std::string_view packed, std::string& out) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) {
    return false;
  }
  stream.next_in =
      reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));  // NOLINT: zlib's API
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());  // NOLINT: bytes
  stream.avail_out = static_cast<uInt>(out.size());
  const int status = inflate(&stream, Z_FINISH);
  const bool whole = status == Z_STREAM_END && stream.avail_out == 0;
  inflateEnd(&stream);
  return whole;
}

Result<std::string> unpack(std::string_view zip, const Member& m) {
  const auto fail = [&](const char* what) {
    return invalid_input(fmt::format("member '{}' of the archive {}", m.name, what));
  };
  constexpr std::uint32_t kLocal = 0x04034b50;
  constexpr std::uint32_t kMost = 1U << 30U;
  std::uint32_t magic = 0;
  std::uint16_t name_bytes = 0;
  std::uint16_t extra = 0;
  if (!read_at(zip, m.local, magic) || magic != kLocal ||
      !read_at(zip, std::size_t{m.local} + 26, name_bytes) ||
      !read_at(zip, std::size_t{m.local} + 28, extra)) {
    return fail("is not where the directory says: the archive is cut short or damaged");
  }
  const std::size_t at = std::size_t{m.local} + 30 + name_bytes + extra;
  if (at > zip.size() || zip.size() - at < m.packed) {
    return fail("is cut short");
  }
  if (m.size > kMost) {
    return fail("is larger than 1 GiB; write a safetensors file instead");
  }
  const std::string_view packed = zip.substr(at, m.packed);
  if (m.method == 0 && m.packed == m.size) {
    return std::string(packed);
  }
  if (m.method != Z_DEFLATED) {
    return fail("is packed in a way that is not read here; use np.savez or np.savez_compressed");
  }
  std::string out(m.size, '\0');
  if (!inflate_exactly(packed, out)) {
    return fail("cannot be unpacked: it is damaged");
  }
  return out;
}

bool is_ids(const std::string& name) {
  return name == "ids" || name == "input_ids" || name == "tokens" || name == "token_ids";
}

}  // namespace

Result<TraceTensor> parse_npy(std::string_view bytes, const std::string& name) {
  constexpr std::size_t kMagic = 6;
  std::uint8_t major = 0;
  std::uint32_t length = 0;
  std::uint16_t short_length = 0;
  bool ok = bytes.starts_with("\x93NUMPY") && read_at(bytes, kMagic, major);
  std::size_t begin = kMagic + 4;
  if (ok && major == 1) {
    ok = read_at(bytes, kMagic + 2, short_length);
    length = short_length;
  } else {
    ok = ok && read_at(bytes, kMagic + 2, length);
    begin += 2;
  }
  constexpr std::uint32_t kLongest = 65536;
  if (!ok || length > kLongest || bytes.size() < begin || bytes.size() - begin < length) {
    return invalid_input(fmt::format("array '{}' has no whole NumPy header", name));
  }
  LS_TRY(const NpyHeader header, parse_header(std::string(bytes.substr(begin, length)), name));
  format::SafetensorsTensor stored;
  stored.name = name;
  stored.dtype = plain_dtype(header.descr);
  if (stored.dtype.empty()) {
    return invalid_input(
        fmt::format("array '{}' has dtype '{}': convert it to float32 first", name, header.descr));
  }
  LS_TRY(stored.n_elements, count_elements(header.shape));
  const std::size_t data = begin + length;
  if ((bytes.size() - data) / *format::safetensors_dtype_bytes(stored.dtype) < stored.n_elements) {
    return invalid_input(
        fmt::format("array '{}' has {} elements but only {} bytes: it is cut short", name,
                    stored.n_elements, bytes.size() - data));
  }
  stored.data = std::as_bytes(std::span(bytes.data() + data, bytes.size() - data));
  TraceTensor tensor;
  tensor.name = name;
  tensor.dtype = stored.dtype;
  tensor.shape = header.shape;
  LS_TRY(tensor.values, format::safetensors_values(stored, 0, stored.n_elements));
  if (header.fortran) {
    tensor.values = from_fortran(tensor.values, tensor.shape);
  }
  return tensor;
}

bool accepts_npy(const Source& source) { return source.head.starts_with("\x93NUMPY"); }
bool accepts_npz(const Source& source) { return source.head.starts_with("PK\x03\x04"); }

Result<Trace> import_npy(const Source& source) {
  LS_TRY(const std::string bytes, read_text(source.path));
  auto tensor = parse_npy(bytes, source.path.stem().string());
  if (!tensor.ok()) {
    return trace_error(source.path, tensor.error().message);
  }
  Trace trace;
  trace.tensors.push_back(std::move(tensor).value());
  return trace;
}

Result<Trace> import_npz(const Source& source) {
  LS_TRY(const std::string zip, read_text(source.path));
  const std::vector<Member> members = central_directory(zip);
  if (members.empty()) {
    return trace_error(source.path, "the archive has no readable directory: it is cut short");
  }
  Trace trace;
  for (const Member& member : members) {
    if (!member.name.ends_with(".npy")) {
      trace.notes.push_back(fmt::format("member '{}' is no array and was left out", member.name));
      continue;
    }
    const std::string name = member.name.substr(0, member.name.size() - 4);
    const auto bytes = unpack(zip, member);
    if (!bytes.ok()) {
      return trace_error(source.path, bytes.error().message);
    }
    auto tensor = parse_npy(bytes.value(), name);
    if (!tensor.ok()) {
      return trace_error(source.path, tensor.error().message);
    }
    if (trace.ids.empty() && is_ids(name)) {
      for (const float id : tensor.value().values) {
        trace.ids.push_back(static_cast<std::int32_t>(id));  // exact below 2²⁴
      }
      continue;
    }
    trace.tensors.push_back(std::move(tensor).value());
  }
  return trace;
}

}  // namespace layerscope::compare
