// Dear ImGui's vertices: pixels → clip space.
#version 460

layout(location = 0) in vec2 position;  // pixels of the window
layout(location = 1) in vec2 uv;
layout(location = 2) in vec4 colour;

layout(push_constant) uniform Push {
  vec2 scale;
  vec2 translate;
} push;

layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec2 out_uv;

void main() {
  out_colour = colour;
  out_uv = uv;
  gl_Position = vec4(position * push.scale + push.translate, 0.0, 1.0);
}
