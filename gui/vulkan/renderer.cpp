#include "gui/vulkan/renderer.h"

#include <imgui_impl_vulkan.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "gui/vulkan/check.h"
#include "gui/vulkan/offscreen_target.h"

namespace layerscope::gui {

Result<std::unique_ptr<Renderer>> Renderer::create(const Context& context, RenderTarget& target,
                                                   std::string reason, DrawWith with) {
  std::unique_ptr<Renderer> renderer(new Renderer(context, target));
  LS_CHECK(renderer->create_objects());
  LS_CHECK(renderer->choose(with));
  LS_CHECK(renderer->start_imgui());
  LS_TRY(renderer->heatmaps_, VulkanHeatmaps::create(context, std::move(reason)));
  return renderer;
}

Renderer::~Renderer() {
  context_.wait_idle();
  heatmaps_.reset();  // gives its textures back to Dear ImGui's backend
  if (imgui_started_) {
    ImGui_ImplVulkan_Shutdown();
  }
}

Status Renderer::create_objects() {
  for (Slot& slot : slots_) {
    VkCommandPoolCreateInfo pool{};
    pool.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
    pool.queueFamilyIndex = context_.queue_family();
    VkCommandPool raw = VK_NULL_HANDLE;
    LS_VK(vkCreateCommandPool(context_.device(), &pool, nullptr, &raw));
    slot.pool = UniqueCommandPool(context_.device(), raw);
    VkCommandBufferAllocateInfo info{};
    info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
    info.commandPool = raw;
    info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
    info.commandBufferCount = 1;
    LS_VK(vkAllocateCommandBuffers(context_.device(), &info, &slot.commands));
  }
  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  info.pNext = &type;
  VkSemaphore semaphore = VK_NULL_HANDLE;
  LS_VK(vkCreateSemaphore(context_.device(), &info, nullptr, &semaphore));
  timeline_ = UniqueSemaphore(context_.device(), semaphore);
  format_ = target_.format();
  LS_TRY(interface_, InterfacePass::create(context_, format_));
  LS_TRY(timer_, GpuTimer::create(context_));
  return {};
}

Status Renderer::choose(DrawWith with) {
  const bool possible = TilePass::possible(context_) && target_.takes_copies();
  if (with == DrawWith::kTiles && !possible) {
    return device_error(context_.device_name() + " cannot draw the interface with compute shaders");
  }
  if (possible && (with == DrawWith::kTiles || (with == DrawWith::kAuto && !context_.software()))) {
    LS_TRY(tiles_, TilePass::create(context_, format_));
  }
  return {};
}

void Renderer::on_imgui_result(VkResult result) {
  if (result >= 0) {
    return;
  }
  auto* self = static_cast<Renderer*>(ImGui::GetIO().UserData);
  if (self != nullptr && self->imgui_result_ == VK_SUCCESS) {
    self->imgui_result_ = result;
  }
}

Status Renderer::start_imgui() {
  ImGui::GetIO().UserData = this;
  ImGui_ImplVulkan_InitInfo info{};
  info.ApiVersion = VK_API_VERSION_1_3;
  info.Instance = context_.instance();
  info.PhysicalDevice = context_.physical();
  info.Device = context_.device();
  info.QueueFamily = context_.queue_family();
  info.Queue = context_.queue();
  info.MinImageCount = 2;
  info.ImageCount = kFrameSlots + 1;  // one more: a capture draws a frame a second time
  info.DescriptorPoolSize = kMaxHeatmaps + 64;
  info.UseDynamicRendering = true;
  info.PipelineRenderingCreateInfo.sType = VK_STRUCTURE_TYPE_PIPELINE_RENDERING_CREATE_INFO;
  info.PipelineRenderingCreateInfo.colorAttachmentCount = 1;
  info.PipelineRenderingCreateInfo.pColorAttachmentFormats = &format_;
  info.CheckVkResultFn = &Renderer::on_imgui_result;
  if (!ImGui_ImplVulkan_Init(&info)) {
    return device_error("Dear ImGui's Vulkan backend did not start");
  }
  imgui_started_ = true;
  return vk_check(imgui_result_, "ImGui_ImplVulkan_Init");
}

Status Renderer::wait_for(std::uint64_t value) const {
  return context_.wait(timeline_.get(), value);
}

Result<std::uint64_t> Renderer::finished() const { return context_.reached(timeline_.get()); }

Status Renderer::begin() {
  ++frame_;
  LS_CHECK(wait_for(slots_[frame_ % kFrameSlots].value));
  LS_TRY(const std::uint64_t done, finished());
  gpu_times_ = timer_->collect(static_cast<std::uint32_t>(frame_ % kFrameSlots));
  heatmaps_->begin_frame(frame_, submitted_, done);
  ImGui_ImplVulkan_NewFrame();
  return vk_check(imgui_result_, "ImGui_ImplVulkan_NewFrame");
}

/// New glyphs reach the font atlas. Dear ImGui's upload waits for fragment shaders only, while the
/// frames before may still read the atlas in compute shaders: they are waited for. Rare.
Status Renderer::update_textures() {
  const ImDrawData& data = *ImGui::GetDrawData();
  bool waited = false;
  for (ImTextureData* texture : *data.Textures) {
    if (texture->Status != ImTextureStatus_OK) {
      if (!std::exchange(waited, true)) {
        context_.wait_idle();
      }
      ImGui_ImplVulkan_UpdateTexture(texture);
    }
  }
  return vk_check(imgui_result_, "ImGui_ImplVulkan_UpdateTexture");
}

void Renderer::record_raster(VkCommandBuffer commands, const TargetImage& image,
                             std::uint32_t slot) const {
  image_barrier(commands, image.image, VK_IMAGE_LAYOUT_UNDEFINED,
                VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
                VK_PIPELINE_STAGE_2_COLOR_ATTACHMENT_OUTPUT_BIT | VK_PIPELINE_STAGE_2_COPY_BIT,
                VK_ACCESS_2_NONE, VK_PIPELINE_STAGE_2_COLOR_ATTACHMENT_OUTPUT_BIT,
                VK_ACCESS_2_COLOR_ATTACHMENT_WRITE_BIT);
  const ImVec4 background = ImGui::GetStyle().Colors[ImGuiCol_WindowBg];
  VkRenderingAttachmentInfo attachment{};
  attachment.sType = VK_STRUCTURE_TYPE_RENDERING_ATTACHMENT_INFO;
  attachment.imageView = image.view;
  attachment.imageLayout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL;
  attachment.loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR;
  attachment.storeOp = VK_ATTACHMENT_STORE_OP_STORE;
  attachment.clearValue.color = {{background.x, background.y, background.z, 1.0F}};
  VkRenderingInfo rendering{};
  rendering.sType = VK_STRUCTURE_TYPE_RENDERING_INFO;
  rendering.renderArea.extent = image.extent;
  rendering.layerCount = 1;
  rendering.colorAttachmentCount = 1;
  rendering.pColorAttachments = &attachment;
  vkCmdBeginRendering(commands, &rendering);
  interface_->record(commands, *ImGui::GetDrawData(), slot);
  vkCmdEndRendering(commands);
  const bool copied = image.final_layout == VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL;
  image_barrier(commands, image.image, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL, image.final_layout,
                VK_PIPELINE_STAGE_2_COLOR_ATTACHMENT_OUTPUT_BIT,
                VK_ACCESS_2_COLOR_ATTACHMENT_WRITE_BIT,
                copied ? VK_PIPELINE_STAGE_2_COPY_BIT : VK_PIPELINE_STAGE_2_NONE,
                copied ? VK_ACCESS_2_TRANSFER_READ_BIT : VK_ACCESS_2_NONE);
}

Status Renderer::record_interface(VkCommandBuffer commands, const TargetImage& image,
                                  std::uint32_t slot) {
  const ImDrawData& data = *ImGui::GetDrawData();
  if (tiles_ != nullptr) {
    LS_TRY(const bool fits, tiles_->upload(data, image, slot));
    if (fits) {
      tiles_->record(commands, image, slot, ImGui::GetStyle().Colors[ImGuiCol_WindowBg]);
      return {};
    }
  }
  LS_CHECK(interface_->upload(data, slot));
  record_raster(commands, image, slot);
  return {};
}

Result<bool> Renderer::end() {
  const std::uint32_t index = static_cast<std::uint32_t>(frame_ % kFrameSlots);
  Slot& slot = slots_[index];
  LS_TRY(const TargetImage image, target_.acquire(index));
  LS_CHECK(update_textures());
  LS_VK(vkResetCommandPool(context_.device(), slot.pool.get(), 0));
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  LS_VK(vkBeginCommandBuffer(slot.commands, &begin));
  const bool reads_slots = heatmaps_->reads_slots();
  timer_->begin(slot.commands, index);
  heatmaps_->record(slot.commands);  // also when the frame is skipped: its textures count as drawn
  timer_->coloured(slot.commands, index);
  if (image.available && drawing_) {
    LS_CHECK(record_interface(slot.commands, image, index));
  } else if (image.available) {
    image_barrier(slot.commands, image.image, VK_IMAGE_LAYOUT_UNDEFINED, image.final_layout,
                  VK_PIPELINE_STAGE_2_NONE, VK_ACCESS_2_NONE, VK_PIPELINE_STAGE_2_NONE,
                  VK_ACCESS_2_NONE);
  }
  timer_->drawn(slot.commands, index);
  LS_VK(vkEndCommandBuffer(slot.commands));

  std::array<VkSemaphoreSubmitInfo, 2> wait{};
  std::uint32_t n_waits = 0;
  const auto wait_for_semaphore = [&](VkSemaphore semaphore, std::uint64_t value,
                                      VkPipelineStageFlags2 stage) {
    wait[n_waits].sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
    wait[n_waits].semaphore = semaphore;
    wait[n_waits].value = value;
    wait[n_waits++].stageMask = stage;
  };
  if (image.wait != VK_NULL_HANDLE) {
    wait_for_semaphore(
        image.wait, 0,
        VK_PIPELINE_STAGE_2_COLOR_ATTACHMENT_OUTPUT_BIT | VK_PIPELINE_STAGE_2_COPY_BIT);
  }
  if (reads_slots && shared_ != VK_NULL_HANDLE) {
    wait_for_semaphore(shared_, shared_value_, VK_PIPELINE_STAGE_2_COMPUTE_SHADER_BIT);
  }
  std::array<VkSemaphoreSubmitInfo, 2> signal{};
  signal[0].sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
  signal[0].semaphore = timeline_.get();
  signal[0].value = frame_;
  signal[0].stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
  signal[1].sType = VK_STRUCTURE_TYPE_SEMAPHORE_SUBMIT_INFO;
  signal[1].semaphore = image.done;
  signal[1].stageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT;
  VkCommandBufferSubmitInfo commands{};
  commands.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
  commands.commandBuffer = slot.commands;
  VkSubmitInfo2 submit{};
  submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
  submit.waitSemaphoreInfoCount = n_waits;
  submit.pWaitSemaphoreInfos = wait.data();
  submit.commandBufferInfoCount = 1;
  submit.pCommandBufferInfos = &commands;
  submit.signalSemaphoreInfoCount = image.done != VK_NULL_HANDLE ? 2 : 1;
  submit.pSignalSemaphoreInfos = signal.data();
  LS_CHECK(context_.submit(submit));
  slot.value = frame_;
  submitted_ = frame_;
  if (image.available) {
    LS_CHECK(target_.present());
  }
  return image.available;
}

Result<Pixels> Renderer::capture() {
  const ImDrawData* data = ImGui::GetDrawData();
  if (data == nullptr || data->DisplaySize.x < 1.0F || data->DisplaySize.y < 1.0F) {
    return internal_error("there is no frame to capture yet");
  }
  const VkExtent2D extent{
      static_cast<std::uint32_t>(data->DisplaySize.x * data->FramebufferScale.x),
      static_cast<std::uint32_t>(data->DisplaySize.y * data->FramebufferScale.y)};
  context_.wait_idle();
  LS_TRY(const auto target, OffscreenTarget::create(context_, extent, format_));
  LS_TRY(const TargetImage image, target->acquire(0));
  const VkDeviceSize bytes = VkDeviceSize{4} * extent.width * extent.height;
  LS_TRY(const Buffer buffer, context_.make_buffer(bytes, VK_BUFFER_USAGE_TRANSFER_DST_BIT,
                                                   VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                                                       VK_MEMORY_PROPERTY_HOST_COHERENT_BIT));
  Slot& slot = slots_[frame_ % kFrameSlots];
  LS_VK(vkResetCommandPool(context_.device(), slot.pool.get(), 0));
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  LS_VK(vkBeginCommandBuffer(slot.commands, &begin));
  LS_CHECK(record_interface(slot.commands, image, kFrameSlots));
  VkBufferImageCopy region{};
  region.imageSubresource = {VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1};
  region.imageExtent = {extent.width, extent.height, 1};
  vkCmdCopyImageToBuffer(slot.commands, image.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                         buffer.buffer.get(), 1, &region);
  VkMemoryBarrier2 barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2;
  barrier.srcStageMask = VK_PIPELINE_STAGE_2_COPY_BIT;
  barrier.srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT;
  barrier.dstStageMask = VK_PIPELINE_STAGE_2_HOST_BIT;
  barrier.dstAccessMask = VK_ACCESS_2_HOST_READ_BIT;
  VkDependencyInfo dependency{};
  dependency.sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO;
  dependency.memoryBarrierCount = 1;
  dependency.pMemoryBarriers = &barrier;
  vkCmdPipelineBarrier2(slot.commands, &dependency);
  LS_VK(vkEndCommandBuffer(slot.commands));
  VkCommandBufferSubmitInfo commands{};
  commands.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO;
  commands.commandBuffer = slot.commands;
  VkSubmitInfo2 submit{};
  submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2;
  submit.commandBufferInfoCount = 1;
  submit.pCommandBufferInfos = &commands;
  LS_CHECK(context_.submit(submit));
  LS_CHECK(context_.wait_queue());

  Pixels pixels{extent.width, extent.height, {}};
  const auto* mapped = static_cast<const std::uint8_t*>(buffer.mapped);
  pixels.rgba.assign(mapped, mapped + bytes);
  const bool swap = format_ == VK_FORMAT_B8G8R8A8_UNORM;
  for (std::size_t i = 0; i + 3 < pixels.rgba.size(); i += 4) {
    if (swap) {
      std::swap(pixels.rgba[i], pixels.rgba[i + 2]);
    }
    pixels.rgba[i + 3] = 255;
  }
  return pixels;
}

}  // namespace layerscope::gui
