// Values → lines or bars (gui/view/chart.h). One invocation per texel; the image has straight alpha
// and is drawn over the panel, one texel a pixel.
#version 460

layout(local_size_x = 8, local_size_y = 8) in;

layout(set = 0, binding = 0, std430) readonly buffer Values { float values[]; };  // [rows][cells]
layout(set = 1, binding = 0, rgba8) uniform writeonly image2D image;

layout(push_constant) uniform Push {
  int width;
  int height;
  uint offset;  // first value
  uint kind;    // 0 lines, 1 bars
  uint flags;
  float lo;
  float hi;
  int lines;
  int cells;
  float thickness;
  uint colours[4];  // 0xAABBGGRR
} push;

const uint kLog = 1u;
const uint kMarks = 2u;
const uint kRanges = 4u;
const uint kPooled = 8u;
const float kHole = -3.402823466e+38;
const vec3 kNan = vec3(1.00, 0.00, 0.78);  // as heatmap.comp, and the next two
const vec3 kPlusInfinity = vec3(1.00, 0.45, 0.10);
const vec3 kMinusInfinity = vec3(0.10, 0.85, 1.00);
const float kMarkAlpha = 0.55;

vec4 colour_of(int line) { return unpackUnorm4x8(push.colours[line]); }

float value_at(int row, int cell) {
  return values[push.offset + uint(row) * uint(push.cells) + uint(cell)];
}

// Bit tests: comparisons with NaN may be optimised away.
bool is_number(float v) {
  return v != kHole && (floatBitsToUint(v) & 0x7FFFFFFFu) < 0x7F800000u;
}
// 1 NaN, 2 +Inf, 3 −Inf, 0 any number.
uint odd_kind(float v) {
  const uint bits = floatBitsToUint(v);
  const uint magnitude = bits & 0x7FFFFFFFu;
  return magnitude > 0x7F800000u ? 1u : magnitude < 0x7F800000u ? 0u : (bits >> 31) != 0u ? 3u : 2u;
}

const float kGap = -1e30;
// Distance from the upper end of the axis, in texels; kGap where there is no point.
float y_of(float v, float top, float span) {
  if (!is_number(v) || ((push.flags & kLog) != 0u && v <= 0.0)) {
    return kGap;
  }
  const float at = (push.flags & kLog) != 0u ? log2(v) * 0.30102999566 : v;
  return top + span * (1.0 - (at - push.lo) / (push.hi - push.lo));
}

float to_segment(vec2 p, vec2 a, vec2 b) {
  const vec2 d = b - a;
  const float length2 = dot(d, d);
  const float t = length2 > 0.0 ? clamp(dot(p - a, d) / length2, 0.0, 1.0) : 0.0;
  return distance(p, a + t * d);
}

// How much of the texel a line of points covers.
float line_cover(int row, vec2 p, float margin, vec2 span, out uint odd) {
  odd = 0u;
  const int last = push.cells - 1;
  const float step = last > 0 ? span.x / float(last) : 0.0;
  const float first = last > 0 ? margin : margin + span.x / 2.0;
  const float reach = push.thickness + 1.0;
  int begin = 0;
  int end = last;
  if (last > 0) {
    begin = clamp(int(floor((p.x - reach - first) / step)), 0, last);
    end = clamp(int(ceil((p.x + reach - first) / step)), 0, last);
  }
  float cover = 0.0;
  float before = begin > 0 ? y_of(value_at(row, begin - 1), margin, span.y) : kGap;
  for (int i = begin; i <= end; ++i) {
    const float value = value_at(row, i);
    if (odd == 0u && abs(p.x - (first + step * float(i))) < 1.5) {
      odd = odd_kind(value);
    }
    const float y = y_of(value, margin, span.y);
    if (y != kGap) {
      const vec2 here = vec2(first + step * float(i), y);
      const float next = i < last ? y_of(value_at(row, i + 1), margin, span.y) : kGap;
      if (before != kGap) {
        const float d = to_segment(p, vec2(here.x - step, before), here);
        cover = max(cover, push.thickness / 2.0 + 0.5 - d);
      } else if (next == kGap) {  // alone: a dot
        cover = max(cover, push.thickness + 0.5 - distance(p, here));
      }
    }
    before = y;
  }
  return clamp(cover, 0.0, 1.0);
}

// More cells than texels, or cells of many values: from the smallest to the largest of the column,
// up to where the next one begins.
float range_cover(int row, int high_row, vec2 p, float margin, vec2 span, out uint odd) {
  odd = 0u;
  const float x = p.x - 0.5 - margin;
  if (x < -0.5 || x >= span.x) {
    return 0.0;
  }
  const float scale = float(push.cells) / span.x;
  const int begin = clamp(int(floor(max(x, 0.0) * scale)), 0, push.cells - 1);
  const int end = clamp(int(floor((x + 1.0) * scale)), begin, push.cells - 1);
  float top = -kGap;
  float bottom = kGap;
  for (int i = begin; i <= end; ++i) {
    const float low = value_at(row, i);
    odd = odd == 0u ? odd_kind(low) : odd;
    const float y_low = y_of(low, margin, span.y);
    const float y_high = y_of(value_at(high_row, i), margin, span.y);
    if (y_high != kGap) {
      top = min(top, y_high);
      bottom = max(bottom, y_low != kGap ? y_low : y_high);
    }
  }
  if (bottom == kGap) {
    return 0.0;
  }
  const float half_stroke = push.thickness / 2.0;
  return clamp(min(p.y + 0.5, bottom + half_stroke) - max(p.y - 0.5, top - half_stroke), 0.0, 1.0);
}

vec4 lines_at(vec2 p) {
  const float margin = float(int(push.thickness) + 2);  // chart_margin
  const vec2 span = vec2(push.width, push.height) - 2.0 * margin;
  const bool ranges = (push.flags & kRanges) != 0u;
  const bool dense = (push.flags & kPooled) != 0u || float(push.cells) > span.x;
  vec3 colour = vec3(0.0);  // premultiplied
  float alpha = 0.0;
  uint any_odd = 0u;
  for (int line = 0; line < push.lines; ++line) {
    uint odd;
    const int row = ranges ? 2 * line : line;
    const float cover = dense ? range_cover(row, ranges ? row + 1 : row, p, margin, span, odd)
                              : line_cover(row, p, margin, span, odd);
    any_odd = any_odd == 0u ? odd : any_odd;
    const vec4 own = colour_of(line);
    const float a = own.a * cover;
    colour = own.rgb * a + colour * (1.0 - a);
    alpha = a + alpha * (1.0 - a);
  }
  if (any_odd != 0u && (push.flags & kMarks) != 0u) {
    const vec3 mark = any_odd == 1u ? kNan : any_odd == 2u ? kPlusInfinity : kMinusInfinity;
    colour = mark * kMarkAlpha + colour * (1.0 - kMarkAlpha);
    alpha = kMarkAlpha + alpha * (1.0 - kMarkAlpha);
  }
  return alpha > 0.0 ? vec4(colour / alpha, alpha) : vec4(0.0);
}

vec4 bar_at(ivec2 texel) {
  const float value = value_at(0, texel.y);
  if (value == kHole) {
    return vec4(0.0);
  }
  float end = is_number(value) ? value * float(push.width) : 0.0;
  end = value > 0.0 ? max(end, push.thickness) : 0.0;
  const vec4 fill = colour_of(value_at(1, texel.y) == 1.0 ? 2 : 1);
  return mix(colour_of(0), fill, clamp(end - float(texel.x), 0.0, 1.0));
}

void main() {
  const ivec2 texel = ivec2(gl_GlobalInvocationID.xy);
  if (texel.x >= push.width || texel.y >= push.height) {
    return;
  }
  imageStore(image, texel, push.kind == 1u ? bar_at(texel) : lines_at(vec2(texel) + 0.5));
}
