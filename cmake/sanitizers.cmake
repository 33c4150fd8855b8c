# SPDX-License-Identifier: MIT
#
# MULTIPROC_SANITIZE: a list of "address", "undefined", "thread"; MULTIPROC_COVERAGE: gcov counters. Private to our own
# targets as well, so everything that is linked together here is built alike and nothing else is touched.
function(multiproc_sanitizers target)
  if(MULTIPROC_SANITIZE)
    list(JOIN MULTIPROC_SANITIZE "," kinds)
    set(flags -fsanitize=${kinds} -fno-omit-frame-pointer)
    if("undefined" IN_LIST MULTIPROC_SANITIZE)
      list(APPEND flags -fno-sanitize-recover=undefined) # a report is a failure, not a line in a log
    endif()
    target_compile_options(${target} PRIVATE ${flags})
    target_link_options(${target} PRIVATE ${flags})
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
      # The instrumented code confuses GCC's flow analysis: https://gcc.gnu.org/bugzilla/show_bug.cgi?id=105562
      target_compile_options(${target} PRIVATE -Wno-maybe-uninitialized)
    endif()
  endif()
  if(MULTIPROC_COVERAGE)
    # Atomic counters: threads count too. Children that end by _exit dump theirs themselves.
    target_compile_options(${target} PRIVATE --coverage -fprofile-update=atomic)
    target_link_options(${target} PRIVATE --coverage)
  endif()
endfunction()
