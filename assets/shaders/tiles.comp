// Dear ImGui's triangles → pixels, without the units that rasterise: a GPU for data centres has few
// of them (on an H100 or H200 four of 132 multiprocessors shade fragments), but all can compute.
//
// One work group per tile of 16 × 16 pixels, one invocation per pixel; it goes through the tile's
// primitives in the order of drawing. Blending rounds to 8 bits after each one, as a render target
// does. gui/vulkan/tile_lists.h says what the buffers hold; a test compares the pixels with those of
// the graphics pipeline.
#version 460

layout(local_size_x = 16, local_size_y = 16) in;

struct Primitive {
  vec4 a;
  vec4 b;
  uvec4 c;  // colour or first corner, kind, clip_min, clip_max
};
layout(set = 0, binding = 0, std430) readonly buffer Primitives { Primitive primitives[]; };
layout(set = 0, binding = 1, std430) readonly buffer Starts { uint starts[]; };
layout(set = 0, binding = 2, std430) readonly buffer Entries { uint entries[]; };
layout(set = 0, binding = 3, std430) readonly buffer Corners { uint corners[]; };  // u, v, colour
layout(set = 0, binding = 4, rgba8) uniform writeonly image2D canvas;
layout(set = 1, binding = 0) uniform sampler2D textures[32];

layout(push_constant) uniform Push {
  uvec2 size;
  uint across;      // tiles
  uint background;  // RGBA, red lowest
  uint swap;        // red and blue change places
} push;

const uint kTriangle = 1u << 16;
const uint kTextured = 1u << 17;
const uint kTextureMask = 31u;

// By number: a switch, because not every device lets a shader compute the index. The derivatives
// decide between enlarging and shrinking, as they do when rasterised.
#define LS_SAMPLE(i) case i: return textureGrad(textures[i], uv, dx, dy);
vec4 texel(uint texture_index, vec2 uv, vec2 dx, vec2 dy) {
  switch (texture_index) {
    LS_SAMPLE(0)
    LS_SAMPLE(1)
    LS_SAMPLE(2)
    LS_SAMPLE(3)
    LS_SAMPLE(4)
    LS_SAMPLE(5)
    LS_SAMPLE(6)
    LS_SAMPLE(7)
    LS_SAMPLE(8)
    LS_SAMPLE(9)
    LS_SAMPLE(10)
    LS_SAMPLE(11)
    LS_SAMPLE(12)
    LS_SAMPLE(13)
    LS_SAMPLE(14)
    LS_SAMPLE(15)
    LS_SAMPLE(16)
    LS_SAMPLE(17)
    LS_SAMPLE(18)
    LS_SAMPLE(19)
    LS_SAMPLE(20)
    LS_SAMPLE(21)
    LS_SAMPLE(22)
    LS_SAMPLE(23)
    LS_SAMPLE(24)
    LS_SAMPLE(25)
    LS_SAMPLE(26)
    LS_SAMPLE(27)
    LS_SAMPLE(28)
    LS_SAMPLE(29)
    LS_SAMPLE(30)
    LS_SAMPLE(31)
  }
  return vec4(1.0);
}

vec2 corner_uv(uint i) { return vec2(uintBitsToFloat(corners[3u * i]), uintBitsToFloat(corners[3u * i + 1u])); }
vec4 corner_colour(uint i) { return unpackUnorm4x8(corners[3u * i + 2u]); }

// Twice the area of (p, q, c), positive when c lies to the right of p → q on the screen. The ends
// are put in a fixed order first, so that two triangles agree exactly on the edge that they share.
float side(vec2 p, vec2 q, vec2 c) {
  const bool turned = p.y > q.y || (p.y == q.y && p.x > q.x);
  const vec2 from = turned ? q : p;
  const vec2 to = turned ? p : q;
  const float twice = (to.x - from.x) * (c.y - from.y) - (to.y - from.y) * (c.x - from.x);
  return turned ? -twice : twice;
}

// The top-left rule for a pixel exactly on an edge.
bool within(float e, vec2 along) {
  return e > 0.0 || (e == 0.0 && (along.y < 0.0 || (along.y == 0.0 && along.x > 0.0)));
}

bool rectangle(const Primitive p, vec2 centre, out vec4 colour) {
  if (any(lessThan(centre, p.a.xy)) || any(greaterThanEqual(centre, p.a.zw))) {
    return false;
  }
  colour = unpackUnorm4x8(p.c.x);
  if ((p.c.y & kTextured) != 0u) {
    const vec2 step = (p.b.zw - p.b.xy) / (p.a.zw - p.a.xy);
    const vec2 uv = p.b.xy + (centre - p.a.xy) * step;
    colour *= texel(p.c.y & kTextureMask, uv, vec2(step.x, 0.0), vec2(0.0, step.y));
  }
  return true;
}

bool triangle(const Primitive p, vec2 centre, out vec4 colour) {
  vec2 p0 = p.a.xy;
  vec2 p1 = p.a.zw;
  vec2 p2 = p.b.xy;
  uint i1 = p.c.x + 1u;
  uint i2 = p.c.x + 2u;
  float area = side(p0, p1, p2);
  if (area < 0.0) {
    const vec2 other = p1;
    p1 = p2;
    p2 = other;
    i1 = p.c.x + 2u;
    i2 = p.c.x + 1u;
    area = -area;
  }
  const float e0 = side(p1, p2, centre);
  const float e1 = side(p2, p0, centre);
  const float e2 = side(p0, p1, centre);
  if (!(area > 0.0) || !within(e0, p2 - p1) || !within(e1, p0 - p2) || !within(e2, p1 - p0)) {
    return false;
  }
  const vec3 w = vec3(e0, e1, e2) / (e0 + e1 + e2);
  colour = w.x * corner_colour(p.c.x) + w.y * corner_colour(i1) + w.z * corner_colour(i2);
  if ((p.c.y & kTextured) != 0u) {
    const vec2 uv = w.x * corner_uv(p.c.x) + w.y * corner_uv(i1) + w.z * corner_uv(i2);
    colour *= texel(p.c.y & kTextureMask, uv, vec2(0.0), vec2(0.0));
  }
  return true;
}

void main() {
  const uvec2 pixel = gl_GlobalInvocationID.xy;
  const vec2 centre = vec2(pixel) + 0.5;
  const uint tile = gl_WorkGroupID.y * push.across + gl_WorkGroupID.x;
  const uint end = starts[tile + 1u];
  vec3 shown = unpackUnorm4x8(push.background).rgb;
  for (uint e = starts[tile]; e < end; ++e) {
    const Primitive p = primitives[entries[e]];
    const uvec2 low = uvec2(p.c.z & 0xFFFFu, p.c.z >> 16);
    const uvec2 high = uvec2(p.c.w & 0xFFFFu, p.c.w >> 16);
    if (any(lessThan(pixel, low)) || any(greaterThanEqual(pixel, high))) {
      continue;
    }
    vec4 colour;
    if ((p.c.y & kTriangle) != 0u ? triangle(p, centre, colour) : rectangle(p, centre, colour)) {
      shown = floor((colour.rgb * colour.a + shown * (1.0 - colour.a)) * 255.0 + 0.5) / 255.0;
    }
  }
  if (pixel.x < push.size.x && pixel.y < push.size.y) {
    imageStore(canvas, ivec2(pixel), vec4(push.swap != 0u ? shown.bgr : shown, 1.0));
  }
}
