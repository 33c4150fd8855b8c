# SPDX-License-Identifier: MIT
#
# cmake -D ROOT=<checkout> -P check_layers.cmake: includes point down, and kernel headers stay in src/os.
#
# The folder in a file's path is its floor. A file may include its own floor and those listed before it. "." are the
# headers in the root of include/multiproc, which stand below everything; net, manager and mpi are wings above all floors.
# Names are those from include/ and src/; a path that climbs ("../") would hide which floor it leads to.
cmake_minimum_required(VERSION 3.25)
set(floors . os shm sync ipc process pool net manager mpi)

# Headers of the kernel, of POSIX and of C end in .h: only src/os may know them. Others' that do, too, and may be used:
set(harmless_headers cxxabi[.]h stdio_ext[.]h ext/.*[.]h fmt/.*[.]h)
list(JOIN harmless_headers "|" harmless_headers)

file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/include/* ${ROOT}/src/*)
list(FILTER files EXCLUDE REGEX "CMakeLists[.]txt$")
if(NOT files)
  message(FATAL_ERROR "layer check: no sources under ${ROOT}")
endif()
set(bad "")
foreach(file IN LISTS files)
  string(REGEX REPLACE "^(include/multiproc|src)/" "" inner ${file})
  if(file STREQUAL "include/multiproc/multiproc.hpp")
    continue() # the umbrella sees everything
  endif()
  set(floor .)
  if(inner MATCHES "^([a-z_]+)/")
    set(floor ${CMAKE_MATCH_1})
  endif()
  list(FIND floors ${floor} mine)
  if(mine EQUAL -1)
    list(APPEND bad "${file} stands on a floor that does not exist: ${floor}/")
    continue()
  endif()
  file(READ ${ROOT}/${file} text)
  string(REGEX REPLACE "[][;\\]" " " text "\n${text}") # what would mean something in a list
  string(REGEX REPLACE "/[*]([^*\n]|[*]+[^*/\n])*[*]+/" " " text "${text}") # comments within a line
  string(REGEX MATCHALL "\n[ \t]*(#|%:)[ \t]*(include|include_next|import)[^a-z_\n][^\n]*" lines "${text}")
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "(include|include_next|import)[ \t]*([<\"])[ \t]*([^>\"]+)[>\"]")
      string(STRIP "${line}" line)
      list(APPEND bad "${file} includes what can't be seen: ${line}")
      continue()
    endif()
    set(quoted FALSE)
    if(CMAKE_MATCH_2 STREQUAL "\"")
      set(quoted TRUE)
    endif()
    string(STRIP "${CMAKE_MATCH_3}" include)
    # <multiproc/os/fd.hpp> and, in src, "os/fault.hpp" or <os/fault.hpp> name a floor; "beside.hpp" does not.
    string(REGEX REPLACE "^multiproc/" "" name ${include})
    set(their_floor "")
    if(NOT include MATCHES "[.]h$" AND name MATCHES "^([a-z_]+)/") # in this order: the last match is kept
      set(their_floor ${CMAKE_MATCH_1})
    endif()
    list(FIND floors "${their_floor}" theirs)
    if(theirs EQUAL -1 AND include STREQUAL name AND NOT quoted)
      set(their_floor "") # <boost/...>: another library's
    endif()
    if(include MATCHES "(^|/)[.][.]?/")
      list(APPEND bad "${file} includes by a path with dots: ${include}")
    elseif(include STREQUAL "multiproc/multiproc.hpp")
      list(APPEND bad "${file} includes the umbrella header")
    elseif(their_floor)
      if(theirs GREATER mine)
        list(APPEND bad "${file} looks up to ${their_floor}/: ${include}")
      elseif(theirs EQUAL -1)
        list(APPEND bad "${file} includes from a floor that does not exist: ${include}")
      endif()
    elseif(include MATCHES "[.]h$" AND NOT include MATCHES "^(${harmless_headers})$" AND NOT file MATCHES "^src/os/")
      list(APPEND bad "${file} includes a kernel header: ${include}")
    endif()
  endforeach()
endforeach()
if(bad)
  list(JOIN bad "\n  " text)
  message(FATAL_ERROR "layer check:\n  ${text}")
endif()
