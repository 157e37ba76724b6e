// A pixel of the interface: the vertex colour times the texture (glyphs, white, or a heatmap).
#version 460

layout(location = 0) in vec4 colour;
layout(location = 1) in vec2 uv;

layout(set = 0, binding = 0) uniform sampler2D image;

layout(location = 0) out vec4 pixel;

void main() {
  pixel = colour * texture(image, uv);
}
