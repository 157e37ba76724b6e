# Dear ImGui 1.92.x → target imgui::imgui: core, misc/cpp/imgui_stdlib, GLFW and Vulkan backends.
#
# 1.92 is needed for dynamic fonts (any script in any token, any DPI) and for textures that the backend
# manages; the version that Debian 12 packages is older. Taken from, in this order:
#   1. -DLS_IMGUI_SOURCE_DIR=<folder that holds imgui.h>
#   2. Debian's source package in a newer suite, through a private apt configuration
#   3. upstream's tag, by git
# Dynamic rendering is a runtime choice of the Vulkan backend (ImGui_ImplVulkan_InitInfo); with Vulkan 1.3
# headers the backend defines IMGUI_IMPL_VULKAN_HAS_DYNAMIC_RENDERING itself.
set(LS_IMGUI_PIN "1.92.2b+ds") # Debian repackaged it without bundled fonts and example libraries
set(LS_IMGUI_SHA256 e7bd201d56b5ee90d24d5dac85e5c12f98bdb95410252a62d27b7f89e4566d48)
set(LS_IMGUI_SOURCE_DIR "" CACHE PATH "Dear ImGui sources to use instead of fetching them")

set(ls_imgui_dir "${LS_IMGUI_SOURCE_DIR}")
if(NOT ls_imgui_dir)
  set(ls_imgui_dir "${LS_DEPS_DIR}/imgui")
  if(NOT EXISTS "${ls_imgui_dir}/.complete")
    execute_process(
      COMMAND "${CMAKE_CURRENT_LIST_DIR}/fetch_debian_source.sh" source imgui "${ls_imgui_dir}"
              "${LS_IMGUI_PIN}" "${LS_IMGUI_SHA256}" "1\\.92\\."
      RESULT_VARIABLE ls_result)
    if(NOT ls_result EQUAL 0)
      message(STATUS "Dear ImGui: not from Debian, trying upstream's repository "
                 "(without a network: -DLS_IMGUI_SOURCE_DIR=<folder>)")
      include(FetchContent)
      FetchContent_Declare(
        imgui_upstream
        GIT_REPOSITORY https://github.com/ocornut/imgui.git
        GIT_TAG v1.92.2b
        GIT_SHALLOW ON
        SOURCE_DIR "${LS_DEPS_DIR}/imgui-upstream")
      FetchContent_Populate(imgui_upstream)
      set(ls_imgui_dir "${imgui_upstream_SOURCE_DIR}")
    endif()
  endif()
endif()
if(NOT EXISTS "${ls_imgui_dir}/backends/imgui_impl_vulkan.cpp")
  message(FATAL_ERROR "Dear ImGui: no usable sources in '${ls_imgui_dir}'. Give 1.92.x with "
                      "-DLS_IMGUI_SOURCE_DIR=<folder>, or configure with -DLS_BUILD_GUI=OFF")
endif()
file(STRINGS "${ls_imgui_dir}/imgui.h" ls_imgui_version REGEX "define IMGUI_VERSION ")
string(REGEX REPLACE ".*\"([^\"]+)\".*" "\\1" ls_imgui_version "${ls_imgui_version}")
if(NOT ls_imgui_version MATCHES "^1\\.92\\.")
  message(FATAL_ERROR "Dear ImGui ${ls_imgui_version} in '${ls_imgui_dir}': 1.92.x is needed")
endif()
message(STATUS "Dear ImGui ${ls_imgui_version} in ${ls_imgui_dir}")

add_library(
  imgui STATIC
  "${ls_imgui_dir}/imgui.cpp"
  "${ls_imgui_dir}/imgui_draw.cpp"
  "${ls_imgui_dir}/imgui_tables.cpp"
  "${ls_imgui_dir}/imgui_widgets.cpp"
  "${ls_imgui_dir}/misc/cpp/imgui_stdlib.cpp"
  "${ls_imgui_dir}/backends/imgui_impl_glfw.cpp"
  "${ls_imgui_dir}/backends/imgui_impl_vulkan.cpp")
add_library(imgui::imgui ALIAS imgui)
# Headers by plain name: imgui.h, imgui_internal.h, imgui_stdlib.h, imgui_impl_glfw.h, imgui_impl_vulkan.h.
target_include_directories(imgui SYSTEM PUBLIC "${ls_imgui_dir}" "${ls_imgui_dir}/misc/cpp"
                                               "${ls_imgui_dir}/backends")
target_compile_features(imgui PUBLIC cxx_std_20)
# IMGUI_DISABLE_OBSOLETE_FUNCTIONS: only the names of 1.92. ImWchar32: code points beyond the first plane.
target_compile_definitions(imgui PUBLIC IMGUI_DISABLE_OBSOLETE_FUNCTIONS IMGUI_USE_WCHAR32
                                        GLFW_INCLUDE_NONE)
target_compile_options(imgui PRIVATE -w) # not ours to clean
target_link_libraries(imgui PUBLIC glfw Vulkan::Vulkan PRIVATE layerscope_sanitize)
