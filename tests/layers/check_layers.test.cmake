# SPDX-License-Identifier: MIT
#
# cmake -D CHECK=<check_layers.cmake> -D WORK=<folder> -P ...: the layer check names what is wrong, and only that.
function(write file)
  string(JOIN "\n" text ${ARGN})
  file(WRITE ${WORK}/${file} "${text}\n")
endfunction()

function(check_answers expected_result)
  execute_process(COMMAND ${CMAKE_COMMAND} -D ROOT=${WORK} -P ${CHECK} RESULT_VARIABLE result ERROR_VARIABLE text)
  if(NOT result EQUAL expected_result)
    message(FATAL_ERROR "the check answered ${result}, not ${expected_result}: ${text}")
  endif()
  foreach(line IN LISTS ARGN)
    string(FIND "${text}" "${line}\n" at)
    if(at EQUAL -1)
      message(FATAL_ERROR "the check does not say \"${line}\", but: ${text}")
    endif()
  endforeach()
  string(REGEX MATCHALL "\n +(include|src)/[^\n]+" said "${text}")
  list(LENGTH said said)
  list(LENGTH ARGN wanted)
  if(NOT said EQUAL wanted)
    message(FATAL_ERROR "the check says ${said} things instead of ${wanted}: ${text}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
write(include/multiproc/error.hpp "#include <stdexcept>")
write(include/multiproc/os/fd.hpp "#include <csignal>" "#include <multiproc/error.hpp>")
write(include/multiproc/multiproc.hpp "#include <multiproc/os/fd.hpp>")
write(src/os/fd.cpp "#include <unistd.h>" "#include <sys/stat.h>" "#include \"os/fault.hpp\"")
write(src/process/process.cpp "#include <multiproc/os/fd.hpp>" "#include \"os/fault.hpp\"" "#include \"beside.hpp\""
      "#include <os/fault.hpp>" "#include <boost/config.hpp>" "#include <fmt/core.h>" "#include <cxxabi.h>"
      "// #include <unistd.h>" "/* #include <unistd.h> */")
check_answers(0)

write(include/multiproc/error.hpp "#include <multiproc/os/fd.hpp>")
write(include/multiproc/os/fd.hpp "#include <sys/types.h>" "#  include <multiproc/process/process.hpp>")
write(src/ipc/pipe.cpp "#include <unistd.h>  // just once; really" "#include \"process/wire.hpp\"")
write(src/process/process.cpp "#include <dlfcn.h>" "#include <multiproc/multiproc.hpp>")
write(src/ghost/boo.cpp "#include <vector>")
check_answers(
  1
  "include/multiproc/error.hpp looks up to os/: multiproc/os/fd.hpp"
  "include/multiproc/os/fd.hpp includes a kernel header: sys/types.h"
  "include/multiproc/os/fd.hpp looks up to process/: multiproc/process/process.hpp"
  "src/ipc/pipe.cpp includes a kernel header: unistd.h"
  "src/ipc/pipe.cpp looks up to process/: process/wire.hpp"
  "src/process/process.cpp includes a kernel header: dlfcn.h"
  "src/process/process.cpp includes the umbrella header"
  "src/ghost/boo.cpp stands on a floor that does not exist: ghost/")

# The same in other clothes.
file(REMOVE_RECURSE ${WORK})
write(src/os/fd.cpp "#include \"../process/start.hpp\"" "#include <process/start.hpp>" "#include \"./fault.hpp\"")
write(src/ipc/pipe.cpp
      "#include /**/ <unistd.h> /* and */ // more" "/* first */ #include <getopt.h>" "#include/**/<sys/uio.h>"
      "#include <glob.h>" "#\tinclude\t< regex.h >" "%:include <mntent.h>"
      "#include_next <err.h>" "#include <utmp.h>" "#include \"signal.h\"" "#include <stdio.h>" "#include <net/if.h>"
      "#include </usr/include/poll.h>" "#include HEADER")
file(APPEND ${WORK}/src/ipc/pipe.cpp "#include <vector> // [\n#include <ftw.h>\n") # a bracket that a list would not end at
write(include/multiproc/ipc/pipe.ipp "#include <asm/unistd.h>")
write(include/multiproc/ipc/pipe.h "#include <multiproc/pool/pool.hpp>" "#include <multiproc/ghost/boo.hpp>"
      "#include \"ghost/boo.hpp\"")
check_answers(
  1
  "src/os/fd.cpp includes by a path with dots: ../process/start.hpp"
  "src/os/fd.cpp looks up to process/: process/start.hpp"
  "src/os/fd.cpp includes by a path with dots: ./fault.hpp"
  "src/ipc/pipe.cpp includes a kernel header: unistd.h"
  "src/ipc/pipe.cpp includes a kernel header: getopt.h"
  "src/ipc/pipe.cpp includes a kernel header: sys/uio.h"
  "src/ipc/pipe.cpp includes a kernel header: glob.h"
  "src/ipc/pipe.cpp includes a kernel header: regex.h"
  "src/ipc/pipe.cpp includes a kernel header: mntent.h"
  "src/ipc/pipe.cpp includes a kernel header: err.h"
  "src/ipc/pipe.cpp includes a kernel header: utmp.h"
  "src/ipc/pipe.cpp includes a kernel header: signal.h"
  "src/ipc/pipe.cpp includes a kernel header: stdio.h"
  "src/ipc/pipe.cpp includes a kernel header: net/if.h"
  "src/ipc/pipe.cpp includes a kernel header: /usr/include/poll.h"
  "src/ipc/pipe.cpp includes a kernel header: ftw.h"
  "src/ipc/pipe.cpp includes what can't be seen: #include HEADER"
  "include/multiproc/ipc/pipe.ipp includes a kernel header: asm/unistd.h"
  "include/multiproc/ipc/pipe.h looks up to pool/: multiproc/pool/pool.hpp"
  "include/multiproc/ipc/pipe.h includes from a floor that does not exist: multiproc/ghost/boo.hpp"
  "include/multiproc/ipc/pipe.h includes from a floor that does not exist: ghost/boo.hpp")

file(REMOVE_RECURSE ${WORK})
file(MAKE_DIRECTORY ${WORK})
check_answers(1)
