// Values → colours. One invocation per cell; sizes and settings come as push constants.
//
// Not-a-number, infinities and exact zeros get colours that no colour map contains; holes are
// transparent, so that the background shows. A map is piecewise linear in sRGB through the stops of
// gui/view/color_map.cpp, which draws the legends; a test compares the two. (A table of all maps in
// here is copied by software drivers for every cell: three times the time.)
#version 460

layout(local_size_x = 8, local_size_y = 8) in;

layout(set = 0, binding = 0, std430) readonly buffer Values { float values[]; };  // [height][width]
layout(set = 1, binding = 0, rgba8) uniform writeonly image2D colours;

layout(push_constant) uniform Push {
  int width;
  int height;
  uint offset;     // first value
  uint color_map;  // as ColorMap; 4: shade
  uint flags;      // 1: logarithmic scale, 2: mark NaN, infinities and zeros, >> 2: overlay
  float lo;
  float hi;
  int lines;  // of a chart, as the next two
  int cells;
  float thickness;
  uint colours[9];  // 0xRRGGBB, stops of the map
} push;

const uint kLog = 1u;
const uint kSpecial = 2u;
const float kHole = -3.402823466e+38;

const vec3 kNan = vec3(1.00, 0.00, 0.78);
const vec3 kPlusInfinity = vec3(1.00, 0.45, 0.10);
const vec3 kMinusInfinity = vec3(0.10, 0.85, 1.00);
const vec3 kZero = vec3(0.115, 0.12, 0.15);

// Overlays: what stands out, before everything else in grey.
const uint kOverlayNonFinite = 1u;
const uint kOverlayZero = 2u;
const uint kOverlaySign = 3u;
const vec3 kZeroMark = vec3(1.00, 0.80, 0.20);
const vec3 kPositive = vec3(0.84, 0.38, 0.31);
const vec3 kNegative = vec3(0.31, 0.56, 0.77);

const uint kShade = 4u;  // white, to be tinted: its opacity says how much
const float kShadeMost = 0.62;

const int kStops = 9;

vec3 unpack(uint rgb) {
  return vec3(float((rgb >> 16) & 255u), float((rgb >> 8) & 255u), float(rgb & 255u)) / 255.0;
}

// t in [0, 1]
vec3 map_colour(float t) {
  const float at = clamp(t, 0.0, 1.0) * float(kStops - 1);
  const int low = min(int(at), kStops - 2);
  return mix(unpack(push.colours[low]), unpack(push.colours[low + 1]), at - float(low));
}

float position(float value) {
  float lo = push.lo;
  float hi = push.hi;
  if ((push.flags & kLog) != 0u) {
    // Values at or below zero have no logarithm: they take the lowest colour. A lower end that is
    // not positive is taken as six decades below the upper one.
    hi = max(hi, 1e-30);
    lo = lo > 0.0 ? lo : hi * 1e-6;
    value = log(max(value, lo));
    lo = log(lo);
    hi = log(hi);
  }
  return hi > lo ? (value - lo) / (hi - lo) : 0.5;
}

void main() {
  const ivec2 cell = ivec2(gl_GlobalInvocationID.xy);
  if (cell.x >= push.width || cell.y >= push.height) {
    return;
  }
  const float value = values[push.offset + uint(cell.y) * uint(push.width) + uint(cell.x)];
  // Bit tests: comparisons with NaN may be optimised away.
  const uint bits = floatBitsToUint(value);
  const uint magnitude = bits & 0x7FFFFFFFu;
  vec4 colour;
  if (value == kHole) {
    colour = vec4(0.0);
  } else if (magnitude > 0x7F800000u) {
    colour = vec4((push.flags & kSpecial) != 0u ? kNan : map_colour(0.0), 1.0);
  } else if (magnitude == 0x7F800000u) {
    const bool negative = (bits >> 31) != 0u;
    const vec3 plain = map_colour(negative ? 0.0 : 1.0);
    colour = vec4((push.flags & kSpecial) == 0u ? plain
                                                : (negative ? kMinusInfinity : kPlusInfinity), 1.0);
  } else if (magnitude == 0u && (push.flags & kSpecial) != 0u) {
    colour = push.color_map == kShade ? vec4(0.0) : vec4(kZero, 1.0);
  } else {
    colour = push.color_map == kShade
                 ? vec4(vec3(1.0), kShadeMost * sqrt(clamp(position(value), 0.0, 1.0)))
                 : vec4(map_colour(position(value)), 1.0);
  }
  const uint overlay = (push.flags >> 2) & 3u;
  if (overlay != 0u && colour.a > 0.0) {
    const bool number = magnitude < 0x7F800000u;
    const float grey = 0.10 + 0.28 * dot(colour.rgb, vec3(0.30, 0.59, 0.11));
    if (overlay == kOverlaySign && number) {
      colour.rgb = magnitude == 0u ? kZero : ((bits >> 31) != 0u ? kNegative : kPositive);
    } else if (overlay == kOverlayZero && magnitude == 0u) {
      colour.rgb = kZeroMark;
    } else if (overlay == kOverlayZero || (overlay == kOverlayNonFinite && number)) {
      colour.rgb = vec3(grey);
    }
  }
  imageStore(colours, cell, colour);
}
