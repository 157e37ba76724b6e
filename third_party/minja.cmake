# minja, a header-only Jinja engine for chat templates → target minja::minja.
#   #include <minja/minja.hpp>   #include <minja/chat-template.hpp>
#
# Taken from, in this order:
#   1. -DLS_MINJA_SOURCE_DIR=<folder that holds minja/minja.hpp>
#   2. the system, where libminja-dev is installed
#   3. Debian's libminja-dev in a newer suite, unpacked, not installed (it carries Debian's fixes)
#   4. Debian's source package   5. upstream's commit, by git
set(LS_MINJA_PIN "0~git20250922.021c2293c187") # upstream has no releases: date and commit
set(LS_MINJA_SOURCE_SHA256 f0767e6771623028947a9e387e70eb6d15c65c6b43ae51001e893fd84984c916)
set(LS_MINJA_DEB_SHA256 6e01352bfa31c663c8edb8b98e550db6d525e7cfc432f2e655eb4286e1dfdf7a)
set(LS_MINJA_SOURCE_DIR "" CACHE PATH "Folder with minja/minja.hpp to use instead of fetching it")

set(ls_minja_dir "${LS_MINJA_SOURCE_DIR}")
if(NOT ls_minja_dir)
  find_path(LS_MINJA_SYSTEM_DIR minja/minja.hpp)
  mark_as_advanced(LS_MINJA_SYSTEM_DIR)
  if(LS_MINJA_SYSTEM_DIR)
    set(ls_minja_dir "${LS_MINJA_SYSTEM_DIR}")
  elseif(EXISTS "${LS_DEPS_DIR}/minja-deb/.complete")
    set(ls_minja_dir "${LS_DEPS_DIR}/minja-deb/usr/include")
  elseif(EXISTS "${LS_DEPS_DIR}/minja-src/.complete")
    set(ls_minja_dir "${LS_DEPS_DIR}/minja-src/include")
  endif()
endif()
if(NOT ls_minja_dir)
  execute_process(
    COMMAND "${CMAKE_CURRENT_LIST_DIR}/fetch_debian_source.sh" binary libminja-dev
            "${LS_DEPS_DIR}/minja-deb" "${LS_MINJA_PIN}-2" "${LS_MINJA_DEB_SHA256}" "0~git"
    RESULT_VARIABLE ls_result)
  set(ls_minja_dir "${LS_DEPS_DIR}/minja-deb/usr/include")
  if(NOT ls_result EQUAL 0)
    execute_process(
      COMMAND "${CMAKE_CURRENT_LIST_DIR}/fetch_debian_source.sh" source minja
              "${LS_DEPS_DIR}/minja-src" "${LS_MINJA_PIN}" "${LS_MINJA_SOURCE_SHA256}" "0~git"
      RESULT_VARIABLE ls_result)
    set(ls_minja_dir "${LS_DEPS_DIR}/minja-src/include")
  endif()
  if(NOT ls_result EQUAL 0)
    message(STATUS "minja: not from Debian, trying upstream's repository "
                 "(without a network: -DLS_MINJA_SOURCE_DIR=<folder>)")
    include(FetchContent)
    FetchContent_Declare(
      minja_upstream
      GIT_REPOSITORY https://github.com/google/minja.git
      GIT_TAG 021c2293c187
      SOURCE_DIR "${LS_DEPS_DIR}/minja-upstream")
    FetchContent_Populate(minja_upstream)
    set(ls_minja_dir "${minja_upstream_SOURCE_DIR}/include")
  endif()
endif()
if(NOT EXISTS "${ls_minja_dir}/minja/minja.hpp")
  message(FATAL_ERROR "minja: no minja/minja.hpp in '${ls_minja_dir}'. "
                      "Give it with -DLS_MINJA_SOURCE_DIR=<folder>")
endif()
message(STATUS "minja in ${ls_minja_dir}")

add_library(minja INTERFACE)
add_library(minja::minja ALIAS minja)
target_include_directories(minja SYSTEM INTERFACE "${ls_minja_dir}")
target_link_libraries(minja INTERFACE nlohmann_json::nlohmann_json)
