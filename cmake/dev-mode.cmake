# SPDX-License-Identifier: MIT
#
# Everything that is for those who work on multiproc and not for those who use it. MULTIPROC_DEV_MODE is off unless a
# preset (or a developer) turns it on; multiproc_own(<target>) then holds one of our targets to our rules.
option(MULTIPROC_DEV_MODE "Build multiproc as its developers do: warnings, sanitizers, header checks" OFF)

if(NOT MULTIPROC_DEV_MODE)
  function(multiproc_own target)
  endfunction()
  return()
endif()

option(MULTIPROC_WARNINGS_AS_ERRORS "Warnings in our own code are errors" ON)
set(MULTIPROC_SANITIZE "" CACHE STRING "Sanitizers: a list of address, undefined, thread, fuzzer-no-link")
option(MULTIPROC_FUZZ "Build tests/fuzz; needs Clang and fuzzer-no-link among the sanitizers" OFF)
option(MULTIPROC_COVERAGE "Count covered lines with gcov" OFF)

include(${CMAKE_CURRENT_LIST_DIR}/warnings.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/sanitizers.cmake)

set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON) # target all_verify_interface_header_sets: each public header compiles alone
set(CMAKE_EXPORT_COMPILE_COMMANDS ON) # for clang-tidy and editors

function(multiproc_own target)
  multiproc_warnings(${target})
  multiproc_sanitizers(${target})
endfunction()
