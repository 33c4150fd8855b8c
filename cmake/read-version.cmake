# SPDX-License-Identifier: MIT
#
# The version stands in one place, include/multiproc/version.hpp; this reads it into multiproc_header_version.
set(version_header ${CMAKE_CURRENT_LIST_DIR}/../include/multiproc/version.hpp)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${version_header})
file(STRINGS ${version_header} lines REGEX "^#define MULTIPROC_VERSION_(MAJOR|MINOR|PATCH) [0-9]+")
foreach(part MAJOR MINOR PATCH)
  if(NOT "${lines}" MATCHES "MULTIPROC_VERSION_${part} ([0-9]+)")
    message(FATAL_ERROR "no MULTIPROC_VERSION_${part} in ${version_header}")
  endif()
  list(APPEND multiproc_header_version ${CMAKE_MATCH_1})
endforeach()
list(JOIN multiproc_header_version "." multiproc_header_version)
unset(lines)
unset(version_header)
