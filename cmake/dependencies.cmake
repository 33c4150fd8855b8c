# SPDX-License-Identifier: MIT
#
# What we stand on. Found, never fetched; all that is missing is named in one message, together with the command that
# installs it and the option that does without.

# multiproc_require(<package> <version or ""> <Debian package> <option that asks for it, or ""> [arguments of find_package...])
macro(multiproc_require package version debian option)
  if("${option}" STREQUAL "" OR "${${option}}")
    find_package(${package} ${version} ${ARGN} QUIET)
    if(NOT ${package}_FOUND)
      string(APPEND multiproc_missing "  ${package}")
      if(NOT "${version}" STREQUAL "")
        string(APPEND multiproc_missing " ${version} or newer")
      endif()
      if(${package}_CONSIDERED_VERSIONS)
        string(APPEND multiproc_missing " (found: ${${package}_CONSIDERED_VERSIONS})")
      endif()
      if(NOT "${option}" STREQUAL "")
        string(APPEND multiproc_missing ", without which -D ${option}=OFF goes on")
      endif()
      string(APPEND multiproc_missing "\n")
      list(APPEND multiproc_missing_debian ${debian})
    endif()
  endif()
endmacro()

multiproc_require(Boost 1.74 libboost-dev "" CONFIG)
multiproc_require(fmt 9 libfmt-dev "" CONFIG)
multiproc_require(cereal 1.3.2 libcereal-dev "" CONFIG)
multiproc_require(Threads "" libc6-dev "")
multiproc_require(CLI11 2.1 libcli11-dev MULTIPROC_BUILD_EXAMPLES CONFIG)
multiproc_require(GTest 1.12 libgtest-dev MULTIPROC_BUILD_TESTS CONFIG)
multiproc_require(benchmark 1.7 libbenchmark-dev MULTIPROC_BUILD_BENCH CONFIG)

if(multiproc_missing)
  list(JOIN multiproc_missing_debian " " multiproc_missing_debian)
  message(FATAL_ERROR "multiproc needs what is not here:\n${multiproc_missing}On Debian or Ubuntu:\n"
                      "  sudo apt-get install --no-install-recommends ${multiproc_missing_debian}\n"
                      "Elsewhere: install it, or name its place in CMAKE_PREFIX_PATH.")
endif()
