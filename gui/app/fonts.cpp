#include "gui/app/fonts.h"

#include <fmt/format.h>
#include <fontconfig/fontconfig.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>

#include "gui/app/theme.h"

namespace layerscope::gui {

struct FontSet::File {
  std::string path;
  std::vector<char> bytes;
};

struct FontSet::Face {
  std::string path;
  std::string family;
  int index = 0;
};

namespace {

/// Dear ImGui numbers the sources of one font with four bits.
constexpr std::size_t kMaxFaces = 15;

constexpr std::array kRegular{"Inter", "Noto Sans", "Cantarell", "DejaVu Sans", "Liberation Sans"};
constexpr std::array kMono{"JetBrains Mono", "Noto Sans Mono", "Noto Mono", "DejaVu Sans Mono",
                           "Liberation Mono"};

/// One character per script or group of signs that tokens are likely to hold.
constexpr std::array<FcChar32, 22> kSamples{
    0x2423,   // open box: a visible space
    0x23CE,   // return sign
    0x25C1,   // triangles
    0x2588,   // blocks
    0x2192,   // arrows
    0x2200,   // mathematics
    0x1F600,  // emoji
    0x2713,   // dingbats
    0x0416,   // Cyrillic
    0x03A9,   // Greek
    0x05D0,   // Hebrew
    0x0627,   // Arabic
    0x4E2D,   // Han
    0x3042,   // Hiragana
    0xAC00,   // Hangul
    0x0905,   // Devanagari
    0x0985,   // Bengali
    0x0B85,   // Tamil
    0x0E01,   // Thai
    0x10D0,   // Georgian
    0x0531,   // Armenian
    0x1D400,  // mathematical letters
};

struct PatternDeleter {
  void operator()(FcPattern* pattern) const { FcPatternDestroy(pattern); }
};
using Pattern = std::unique_ptr<FcPattern, PatternDeleter>;

const char* string_of(const FcPattern* pattern, const char* key) {
  FcChar8* value = nullptr;
  return FcPatternGetString(pattern, key, 0, &value) == FcResultMatch
             ? reinterpret_cast<const char*>(value)
             : "";
}

/// An outline font in a container that the rasteriser reads.
bool usable(const FcPattern* pattern) {
  FcBool outline = FcFalse;
  FcBool color = FcFalse;
  FcPatternGetBool(pattern, FC_OUTLINE, 0, &outline);
  FcPatternGetBool(pattern, FC_COLOR, 0, &color);
  const std::string_view format = string_of(pattern, FC_FONTFORMAT);
  return outline == FcTrue && color == FcFalse && (format == "TrueType" || format == "CFF");
}

bool covers(const FcPattern* pattern, FcChar32 character) {
  FcCharSet* set = nullptr;
  return FcPatternGetCharSet(pattern, FC_CHARSET, 0, &set) == FcResultMatch &&
         FcCharSetHasChar(set, character) == FcTrue;
}

Pattern query(const char* family, int weight) {
  Pattern pattern(FcPatternCreate());
  if (family != nullptr) {
    FcPatternAddString(pattern.get(), FC_FAMILY, reinterpret_cast<const FcChar8*>(family));
  }
  FcPatternAddInteger(pattern.get(), FC_WEIGHT, weight);
  FcPatternAddInteger(pattern.get(), FC_SLANT, FC_SLANT_ROMAN);
  FcPatternAddBool(pattern.get(), FC_OUTLINE, FcTrue);
  FcConfigSubstitute(nullptr, pattern.get(), FcMatchPattern);
  FcDefaultSubstitute(pattern.get());
  return pattern;
}

/// The first of `families` that is installed.
Pattern match(std::span<const char* const> families, int weight) {
  for (const char* family : families) {
    FcResult result = FcResultNoMatch;
    Pattern found(FcFontMatch(nullptr, query(family, weight).get(), &result));
    if (found && usable(found.get()) &&
        std::strcmp(string_of(found.get(), FC_FAMILY), family) == 0) {
      return found;
    }
  }
  return nullptr;
}

int index_of(const FcPattern* pattern) {
  int index = 0;
  FcPatternGetInteger(pattern, FC_INDEX, 0, &index);
  return index & 0xFFFF;  // the upper half numbers named instances of variable fonts
}

/// Fonts that add what `first` lacks, best match first.
std::vector<Pattern> find_fallbacks(const FcPattern* first) {
  std::vector<Pattern> chosen;
  FcResult result = FcResultNoMatch;
  const Pattern wanted = query("sans-serif", FC_WEIGHT_REGULAR);
  FcFontSet* sorted = FcFontSort(nullptr, wanted.get(), FcFalse, nullptr, &result);
  if (sorted == nullptr) {
    return chosen;
  }
  for (const FcChar32 sample : kSamples) {
    const bool present = covers(first, sample) ||
                         std::any_of(chosen.begin(), chosen.end(), [sample](const Pattern& p) {
                           return covers(p.get(), sample);
                         });
    for (int i = 0; !present && i < sorted->nfont && chosen.size() + 1 < kMaxFaces; ++i) {
      if (usable(sorted->fonts[i]) && covers(sorted->fonts[i], sample)) {
        FcPatternReference(sorted->fonts[i]);
        chosen.emplace_back(sorted->fonts[i]);
        break;
      }
    }
  }
  FcFontSetDestroy(sorted);
  return chosen;
}

}  // namespace

FontSet::FontSet() = default;
FontSet::~FontSet() = default;

const FontSet::File* FontSet::read(const std::string& path) {
  for (const auto& file : files_) {
    if (file->path == path) {
      return file.get();
    }
  }
  std::ifstream stream(path, std::ios::binary);
  auto file = std::make_unique<File>();
  file->path = path;
  file->bytes.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  if (file->bytes.empty()) {
    return nullptr;
  }
  files_.push_back(std::move(file));
  return files_.back().get();
}

ImFont* FontSet::add(const std::vector<Face>& faces) {
  ImFontAtlas* atlas = ImGui::GetIO().Fonts;
  ImFont* font = nullptr;
  for (const Face& face : faces) {
    const File* file = read(face.path);
    if (file == nullptr) {
      continue;
    }
    ImFontConfig config;
    config.FontDataOwnedByAtlas = false;
    config.FontNo = static_cast<ImU32>(face.index);
    config.MergeMode = font != nullptr;
    // The atlas does not write to data that it does not own.
    ImFont* added =
        atlas->AddFontFromMemoryTTF(const_cast<char*>(file->bytes.data()),
                                    static_cast<int>(file->bytes.size()), kTextSize, &config);
    font = font == nullptr ? added : font;
  }
  return font;
}

Fonts FontSet::load() {
  Fonts fonts;
  const Pattern regular = FcInit() == FcTrue ? match(kRegular, FC_WEIGHT_REGULAR) : nullptr;
  if (!regular) {
    spdlog::warn("fontconfig knows no usable font; the built-in one shows Latin letters only");
    fonts.regular = fonts.bold = fonts.mono = ImGui::GetIO().Fonts->AddFontDefault();
    text_ = "built-in font";
    return fonts;
  }
  const Pattern bold = match(kRegular, FC_WEIGHT_DEMIBOLD);
  const Pattern mono = match(kMono, FC_WEIGHT_REGULAR);
  const std::vector<Pattern> fallbacks = find_fallbacks(regular.get());
  const auto load_face = [&](const FcPattern* first) {
    std::vector<Face> faces;
    const auto push = [&faces](const FcPattern* pattern) {
      faces.push_back(
          Face{string_of(pattern, FC_FILE), string_of(pattern, FC_FAMILY), index_of(pattern)});
    };
    push(first);
    if (first != regular.get()) {
      push(regular.get());
    }
    for (const Pattern& pattern : fallbacks) {
      if (faces.size() < kMaxFaces) {
        push(pattern.get());
      }
    }
    return add(faces);
  };
  fonts.regular = load_face(regular.get());
  fonts.bold = bold ? load_face(bold.get()) : fonts.regular;
  fonts.mono = mono ? load_face(mono.get()) : fonts.regular;
  if (fonts.regular == nullptr) {
    fonts.regular = ImGui::GetIO().Fonts->AddFontDefault();
  }
  fonts.bold = fonts.bold == nullptr ? fonts.regular : fonts.bold;
  fonts.mono = fonts.mono == nullptr ? fonts.regular : fonts.mono;
  text_ = fmt::format("{}, {}; {} fall-backs", string_of(regular.get(), FC_FULLNAME),
                      mono ? string_of(mono.get(), FC_FULLNAME) : "no monospaced font",
                      fallbacks.size());
  return fonts;
}

}  // namespace layerscope::gui
