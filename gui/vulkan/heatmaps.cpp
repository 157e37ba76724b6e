#include "gui/vulkan/heatmaps.h"

#include <fmt/format.h>
#include <imgui_impl_vulkan.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "gui/vulkan/check.h"
#include "gui/vulkan/pipelines.h"
#include "shaders/chart.comp.spv.h"
#include "shaders/heatmap.comp.spv.h"

namespace layerscope::gui {
namespace {

constexpr std::uint64_t kKeepFrames = 30;  ///< unused textures live half a second at 60 frames/s
constexpr VkDeviceSize kChunkBytes = VkDeviceSize{4} << 20U;
constexpr std::uint32_t kMaxChunks = 64;
constexpr std::uint32_t kMaxSlots = 8;  ///< shared with the engine
constexpr std::uint32_t kGroup = 8;     ///< the shader's work group is kGroup × kGroup
constexpr std::uint32_t kFlagLog = 1;
constexpr std::uint32_t kFlagSpecial = 2;
constexpr std::uint32_t kOverlayShift = 2;  ///< two bits: HeatmapData::overlay
// Of charts, beside kFlagLog.
constexpr std::uint32_t kFlagMarks = 2;
constexpr std::uint32_t kFlagRanges = 4;
constexpr std::uint32_t kFlagPooled = 8;

}  // namespace

VulkanHeatmaps::VulkanHeatmaps(const Context& context, std::string reason)
    : context_(context), memory_(context), path_reason_(std::move(reason)) {
  path_text_ = context.software()
                   ? fmt::format("staging · software Vulkan ({})", context.device_name())
                   : fmt::format("staging · {}", context.device_name());
}

Result<std::unique_ptr<VulkanHeatmaps>> VulkanHeatmaps::create(const Context& context,
                                                               std::string reason) {
  std::unique_ptr<VulkanHeatmaps> heatmaps(new VulkanHeatmaps(context, std::move(reason)));
  LS_CHECK(heatmaps->create_pipelines());
  return heatmaps;
}

VulkanHeatmaps::~VulkanHeatmaps() {
  for (auto& [key, entry] : entries_) {
    destroy(entry);
  }
  for (Grave& grave : graves_) {
    destroy(grave.entry);
  }
}

Status VulkanHeatmaps::create_pipelines() {
  VkDevice device = context_.device();
  VkSamplerCreateInfo sampler{};
  sampler.sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO;
  // Enlarged cells keep hard edges; shrunken maps are averaged, so that thin lines don't flicker.
  sampler.magFilter = VK_FILTER_NEAREST;
  sampler.minFilter = VK_FILTER_LINEAR;
  sampler.mipmapMode = VK_SAMPLER_MIPMAP_MODE_NEAREST;
  sampler.addressModeU = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE;
  sampler.addressModeV = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE;
  sampler.addressModeW = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_EDGE;
  VkSampler raw_sampler = VK_NULL_HANDLE;
  LS_VK(vkCreateSampler(device, &sampler, nullptr, &raw_sampler));
  sampler_ = UniqueSampler(device, raw_sampler);

  VkDescriptorSetLayoutBinding input{};
  input.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
  input.descriptorCount = 1;
  input.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT;
  VkDescriptorSetLayoutBinding output = input;
  output.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_IMAGE;
  LS_TRY(input_layout_, make_set_layout(device, {&input, 1}));
  LS_TRY(output_layout_, make_set_layout(device, {&output, 1}));

  // Buried textures keep their sets for a few frames: hence twice the number.
  const std::array<VkDescriptorPoolSize, 2> sizes{{
      {VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, kStagingSlots * kMaxChunks + kMaxSlots},
      {VK_DESCRIPTOR_TYPE_STORAGE_IMAGE, 2 * kMaxHeatmaps},
  }};
  VkDescriptorPoolCreateInfo pool{};
  pool.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO;
  pool.flags = VK_DESCRIPTOR_POOL_CREATE_FREE_DESCRIPTOR_SET_BIT;
  pool.maxSets = kStagingSlots * kMaxChunks + kMaxSlots + 2 * kMaxHeatmaps;
  pool.poolSizeCount = static_cast<std::uint32_t>(sizes.size());
  pool.pPoolSizes = sizes.data();
  VkDescriptorPool raw_pool = VK_NULL_HANDLE;
  LS_VK(vkCreateDescriptorPool(device, &pool, nullptr, &raw_pool));
  pool_ = UniqueDescriptorPool(device, raw_pool);

  const std::array<VkDescriptorSetLayout, 2> layouts{input_layout_.get(), output_layout_.get()};
  LS_TRY(layout_, make_pipeline_layout(device, layouts, VK_SHADER_STAGE_COMPUTE_BIT, sizeof(Push)));
  LS_TRY(pipelines_[static_cast<std::size_t>(Shader::kHeatmap)],
         make_compute_pipeline(device, kHeatmapComp, layout_.get()));
  LS_TRY(pipelines_[static_cast<std::size_t>(Shader::kChart)],
         make_compute_pipeline(device, kChartComp, layout_.get()));
  return {};
}

Result<VkDescriptorSet> VulkanHeatmaps::allocate_set(VkDescriptorSetLayout layout) {
  VkDescriptorSetAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO;
  info.descriptorPool = pool_.get();
  info.descriptorSetCount = 1;
  info.pSetLayouts = &layout;
  VkDescriptorSet set = VK_NULL_HANDLE;
  LS_VK(vkAllocateDescriptorSets(context_.device(), &info, &set));
  return set;
}

Status VulkanHeatmaps::create_entry(Entry& entry, int width, int height) {
  const VkExtent2D extent{static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height)};
  LS_TRY(entry.image, make_image(context_, memory_, extent, VK_FORMAT_R8G8B8A8_UNORM,
                                 VK_IMAGE_USAGE_STORAGE_BIT | VK_IMAGE_USAGE_SAMPLED_BIT));
  entry.width = width;
  entry.height = height;
  auto output = allocate_set(output_layout_.get());
  if (!output.ok()) {
    destroy(entry);
    return output.error();
  }
  entry.output = output.value();
  VkDescriptorImageInfo image{VK_NULL_HANDLE, entry.image.view.get(), VK_IMAGE_LAYOUT_GENERAL};
  VkWriteDescriptorSet write{};
  write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
  write.dstSet = entry.output;
  write.descriptorCount = 1;
  write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_IMAGE;
  write.pImageInfo = &image;
  vkUpdateDescriptorSets(context_.device(), 1, &write, 0, nullptr);
  entry.shown = ImGui_ImplVulkan_AddTexture(sampler_.get(), entry.image.view.get(),
                                            VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
  return {};
}

void VulkanHeatmaps::destroy(Entry& entry) {
  if (entry.shown != VK_NULL_HANDLE) {
    ImGui_ImplVulkan_RemoveTexture(entry.shown);
    entry.shown = VK_NULL_HANDLE;
  }
  if (entry.output != VK_NULL_HANDLE) {
    vkFreeDescriptorSets(context_.device(), pool_.get(), 1, &entry.output);
    entry.output = VK_NULL_HANDLE;
  }
  destroy_image(memory_, entry.image);
}

void VulkanHeatmaps::bury(Entry entry) { graves_.push_back(Grave{std::move(entry), frame_}); }

void VulkanHeatmaps::begin_frame(std::uint64_t frame, std::uint64_t submitted,
                                 std::uint64_t finished) {
  frame_ = frame;
  jobs_.clear();
  reads_slots_ = false;
  for (auto it = entries_.begin(); it != entries_.end();) {
    if (it->second.last_used + kKeepFrames < frame) {
      graves_.push_back(Grave{std::move(it->second), submitted});
      it = entries_.erase(it);
    } else {
      ++it;
    }
  }
  std::erase_if(graves_, [this, finished](Grave& grave) {
    if (grave.last_frame > finished) {
      return false;
    }
    destroy(grave.entry);
    return true;
  });
  for (Chunk& chunk : staging_[frame_ % kStagingSlots]) {
    chunk.used = 0;
  }
}

void VulkanHeatmaps::point_at(VkDescriptorSet set, VkBuffer buffer, VkDeviceSize bytes) const {
  VkDescriptorBufferInfo info{buffer, 0, bytes};
  VkWriteDescriptorSet write{};
  write.sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET;
  write.dstSet = set;
  write.descriptorCount = 1;
  write.descriptorType = VK_DESCRIPTOR_TYPE_STORAGE_BUFFER;
  write.pBufferInfo = &info;
  vkUpdateDescriptorSets(context_.device(), 1, &write, 0, nullptr);
}

Status VulkanHeatmaps::set_device_slots(std::span<const VkBuffer> buffers, VkDeviceSize bytes) {
  if (!slots_.empty()) {
    vkFreeDescriptorSets(context_.device(), pool_.get(), static_cast<std::uint32_t>(slots_.size()),
                         slots_.data());
    slots_.clear();
  }
  slot_floats_ = bytes / sizeof(float);
  for (VkBuffer buffer : buffers) {
    LS_TRY(VkDescriptorSet set, allocate_set(input_layout_.get()));
    slots_.push_back(set);
    point_at(set, buffer, bytes);
  }
  return {};
}

void VulkanHeatmaps::set_path(std::string text, std::string reason) {
  path_text_ = std::move(text);
  path_reason_ = std::move(reason);
}

Result<std::pair<VkDescriptorSet, std::uint32_t>> VulkanHeatmaps::input_of(
    const DeviceValues& device, std::span<const float> values, std::size_t count) {
  if (device.slot >= 0) {
    const auto slot = static_cast<std::size_t>(device.slot);
    if (slot >= slots_.size() || count > slot_floats_ || device.offset > slot_floats_ - count) {
      return internal_error("it lies outside the shared slots");
    }
    reads_slots_ = true;
    return std::pair(slots_[slot], static_cast<std::uint32_t>(device.offset));
  }
  if (values.size() < count) {
    return internal_error("it has fewer values than cells");
  }
  const VkDeviceSize bytes = count * sizeof(float);
  LS_TRY(Chunk* const chunk, staging(bytes));
  std::memcpy(static_cast<std::byte*>(chunk->buffer.mapped) + chunk->used, values.data(), bytes);
  const auto first = static_cast<std::uint32_t>(chunk->used / sizeof(float));
  chunk->used += bytes;
  ++uploads_;
  return std::pair(chunk->input, first);
}

Result<VulkanHeatmaps::Chunk*> VulkanHeatmaps::staging(VkDeviceSize bytes) {
  std::vector<Chunk>& chunks = staging_[frame_ % kStagingSlots];
  for (Chunk& chunk : chunks) {
    if (chunk.used + bytes <= chunk.buffer.size) {
      return &chunk;
    }
  }
  if (chunks.size() >= kMaxChunks || bytes > context_.limits().maxStorageBufferRange) {
    return device_error("the staging buffer of one frame is full");
  }
  Chunk chunk;
  LS_TRY(chunk.buffer, context_.make_upload_buffer(std::max(bytes, kChunkBytes),
                                                   VK_BUFFER_USAGE_STORAGE_BUFFER_BIT));
  LS_TRY(chunk.input, allocate_set(input_layout_.get()));
  point_at(chunk.input, chunk.buffer.buffer.get(), chunk.buffer.size);
  chunks.push_back(std::move(chunk));
  return &chunks.back();
}

TextureHandle VulkanHeatmaps::refuse(std::string_view key, std::string_view why) {
  if (!refused_) {
    spdlog::error("heatmap '{}' cannot be drawn: {}", key, why);
    refused_ = true;
  }
  return 0;
}

TextureHandle VulkanHeatmaps::texture(std::string_view key, const HeatmapData& data) {
  Look look;
  look.version = data.version;
  look.device = data.device;
  look.push.width = data.width;
  look.push.height = data.height;
  look.push.kind = static_cast<std::uint32_t>(data.color_map);
  look.push.flags = (data.log_scale ? kFlagLog : 0U) | (data.flag ? kFlagSpecial : 0U) |
                    (static_cast<std::uint32_t>(data.overlay) << kOverlayShift);
  look.push.lo = data.lo;
  look.push.hi = data.hi;
  look.push.colors = view::color_map_stops(data.color_map);
  return made(key, look, data.values,
              static_cast<std::size_t>(std::max(data.width, 0)) *
                  static_cast<std::size_t>(std::max(data.height, 0)));
}

TextureHandle VulkanHeatmaps::chart(std::string_view key, const ChartData& data) {
  const ChartSource& source = data.source;
  const bool bars = data.kind == ChartData::Kind::kBars;
  const int rows = bars ? 2 : source.ranges ? 2 * source.lines : source.lines;
  if (source.cells <= 0 || source.lines <= 0 || (bars && data.height > source.cells)) {
    return 0;
  }
  if (source.lines > kMostChartLines) {
    return refuse(key, fmt::format("{} lines are more than {}", source.lines, kMostChartLines));
  }
  Look look;
  look.version = source.version;
  look.device = source.device;
  look.shader = Shader::kChart;
  look.push.width = data.width;
  look.push.height = data.height;
  look.push.kind = static_cast<std::uint32_t>(data.kind);
  look.push.flags = (data.log_scale ? kFlagLog : 0U) | (data.marks ? kFlagMarks : 0U) |
                    (source.ranges ? kFlagRanges : 0U) | (source.pooled ? kFlagPooled : 0U);
  look.push.lo = data.lo;
  look.push.hi = data.hi > data.lo ? data.hi : data.lo + 1.0F;
  look.push.lines = source.lines;
  look.push.cells = source.cells;
  look.push.thickness = data.thickness;
  std::copy(data.colors.begin(), data.colors.end(), look.push.colors.begin());
  return made(key, look, source.values,
              static_cast<std::size_t>(rows) * static_cast<std::size_t>(source.cells));
}

TextureHandle VulkanHeatmaps::made(std::string_view key, const Look& look,
                                   std::span<const float> values, std::size_t count) {
  const int width = look.push.width;
  const int height = look.push.height;
  const auto limit = static_cast<int>(context_.limits().maxImageDimension2D);
  if (width <= 0 || height <= 0) {
    return 0;
  }
  if (width > limit || height > limit) {
    return refuse(key, fmt::format("{}x{} is larger than {} on a side", width, height, limit));
  }
  auto found = entries_.find(key);
  if (found != entries_.end() && (found->second.width != width || found->second.height != height)) {
    bury(std::move(found->second));
    entries_.erase(found);
    found = entries_.end();
  }
  if (found != entries_.end() && found->second.coloured && found->second.look == look) {
    found->second.last_used = frame_;
    return reinterpret_cast<TextureHandle>(found->second.shown);
  }
  if (look.device.slot < 0 && values.size() < count) {
    return refuse(key, "it has fewer values than cells");
  }
  if (found == entries_.end()) {
    if (entries_.size() + graves_.size() >= kMaxHeatmaps) {
      return refuse(key, fmt::format("{} textures are in use already", kMaxHeatmaps));
    }
    Entry entry;
    if (const Status status = create_entry(entry, width, height); !status.ok()) {
      return refuse(key, status.error().message);
    }
    found = entries_.emplace(std::string(key), std::move(entry)).first;
  }
  Entry& entry = found->second;
  entry.last_used = frame_;
  const auto input = input_of(look.device, values, count);
  if (!input.ok()) {
    refuse(key, input.error().message);
    return entry.coloured ? reinterpret_cast<TextureHandle>(entry.shown) : 0;
  }
  Job job;
  job.image = entry.image.image.get();
  job.input = input.value().first;
  job.output = entry.output;
  job.shader = look.shader;
  job.push = look.push;
  job.push.offset = input.value().second;
  jobs_.push_back(job);
  entry.coloured = true;
  entry.look = look;
  return reinterpret_cast<TextureHandle>(entry.shown);
}

void VulkanHeatmaps::record(VkCommandBuffer commands) {
  if (jobs_.empty()) {
    return;
  }
  // All images at once: a barrier for each would let the device run empty between two of them.
  std::vector<VkImageMemoryBarrier2> before;
  std::vector<VkImageMemoryBarrier2> after;
  for (const Job& job : jobs_) {
    constexpr VkPipelineStageFlags2 kReaders =
        VK_PIPELINE_STAGE_2_FRAGMENT_SHADER_BIT | VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT;
    before.push_back(image_transition(
        job.image, VK_IMAGE_LAYOUT_UNDEFINED, VK_IMAGE_LAYOUT_GENERAL, kReaders, VK_ACCESS_2_NONE,
        VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT));
    after.push_back(image_transition(
        job.image, VK_IMAGE_LAYOUT_GENERAL, VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL,
        VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT, VK_ACCESS_2_SHADER_STORAGE_WRITE_BIT, kReaders,
        VK_ACCESS_2_SHADER_SAMPLED_READ_BIT));
  }
  image_barriers(commands, before);
  for (const Job& job : jobs_) {
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE,
                      pipelines_[static_cast<std::size_t>(job.shader)].get());
    const std::array<VkDescriptorSet, 2> sets{job.input, job.output};
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_COMPUTE, layout_.get(), 0, 2,
                            sets.data(), 0, nullptr);
    vkCmdPushConstants(commands, layout_.get(), VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof(job.push),
                       &job.push);
    vkCmdDispatch(commands, (static_cast<std::uint32_t>(job.push.width) + kGroup - 1) / kGroup,
                  (static_cast<std::uint32_t>(job.push.height) + kGroup - 1) / kGroup, 1);
  }
  image_barriers(commands, after);
  jobs_.clear();
}

}  // namespace layerscope::gui
