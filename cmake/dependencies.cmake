# SPDX-License-Identifier: MIT
#
# What the library stands on. Found, never fetched; whatever is missing is named in one message, together with the
# command that installs it. multiproc_require() serves the tests, benchmarks and examples in the same way.

# multiproc_require(<for whom> <package> <Debian package> [arguments of find_package...]): finds it or notes it as missing.
macro(multiproc_require whom package debian)
  find_package(${package} ${ARGN} QUIET)
  if(NOT ${package}_FOUND)
    list(APPEND multiproc_missing "${package} (for ${whom})")
    list(APPEND multiproc_missing_debian ${debian})
  endif()
endmacro()

# Ends the configuration when something is missing.
macro(multiproc_require_done)
  if(multiproc_missing)
    list(JOIN multiproc_missing ", " multiproc_missing)
    list(REMOVE_DUPLICATES multiproc_missing_debian)
    list(JOIN multiproc_missing_debian " " multiproc_missing_debian)
    message(FATAL_ERROR "multiproc needs ${multiproc_missing}. On Debian or Ubuntu:\n"
                        "  sudo apt-get install --no-install-recommends ${multiproc_missing_debian}\n"
                        "Elsewhere: install it, or name its place in CMAKE_PREFIX_PATH.")
  endif()
endmacro()

multiproc_require("the library" Boost libboost-dev 1.74 CONFIG)
multiproc_require("the library" fmt libfmt-dev 9 CONFIG)
multiproc_require("the library" cereal libcereal-dev 1.3.2 CONFIG)
multiproc_require("the library" Threads libc6-dev)
multiproc_require_done()
