# SPDX-License-Identifier: MIT
#
# cmake -D ROOT=<checkout> -P check_layers.cmake: includes point down, and kernel headers stay in src/os.
#
# The folder in a file's path is its floor. A file may include its own floor and those listed before it. "." are the
# headers in the root of include/multiproc, which stand below everything; net, manager and mpi are wings above all floors.
cmake_minimum_required(VERSION 3.25)
set(floors . os shm sync ipc process pool net manager mpi)

# Headers of the kernel and of POSIX: what only src/os may know.
set(kernel_folders sys linux asm asm-generic bits arpa net netinet)
set(kernel_headers aio dirent dlfcn elf execinfo fcntl grp ifaddrs link mqueue netdb poll pthread pty pwd sched semaphore
                   signal spawn syscall syslog termios time ucontext ulimit unistd utime wait)
list(JOIN kernel_folders "|" kernel_folders)
list(JOIN kernel_headers "|" kernel_headers)

file(GLOB_RECURSE files RELATIVE ${ROOT} ${ROOT}/include/*.hpp ${ROOT}/src/*.hpp ${ROOT}/src/*.cpp)
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
  file(STRINGS ${ROOT}/${file} lines REGEX "^[ \t]*#[ \t]*include[ \t]*[<\"]")
  foreach(line IN LISTS lines)
    string(REGEX MATCH "[<\"]([^>\"]+)[>\"]" include "${line}")
    set(include "${CMAKE_MATCH_1}")
    # <multiproc/os/fd.hpp> and, in src, "os/fault.hpp" name a floor; "beside.hpp" does not.
    set(their_floor "")
    if(include MATCHES "^multiproc/([a-z_]+)/" OR (line MATCHES "\"" AND include MATCHES "/"))
      string(REGEX MATCH "^(multiproc/)?([a-z_]+)/" unused ${include})
      set(their_floor "${CMAKE_MATCH_2}")
    endif()
    if(include STREQUAL "multiproc/multiproc.hpp")
      list(APPEND bad "${file} includes the umbrella header")
    elseif(their_floor)
      list(FIND floors ${their_floor} theirs)
      if(theirs GREATER mine)
        list(APPEND bad "${file} looks up to ${their_floor}/: ${include}")
      elseif(theirs EQUAL -1)
        list(APPEND bad "${file} includes from a floor that does not exist: ${include}")
      endif()
    elseif(include MATCHES "^((${kernel_folders})/|(${kernel_headers})[.]h$)" AND NOT file MATCHES "^src/os/")
      list(APPEND bad "${file} includes a kernel header: ${include}")
    endif()
  endforeach()
endforeach()
if(bad)
  list(JOIN bad "\n  " text)
  message(FATAL_ERROR "layer check:\n  ${text}")
endif()
