# SPDX-License-Identifier: MIT
#
# cmake -D ROOT=<checkout> -P check_listed.cmake: no source lies beside the lists of our CMakeLists.txt. A test that nobody
# builds passes for ever, and a header that is not in the file set is missing where the library is installed.
cmake_minimum_required(VERSION 3.25)
set(bad "")

# listed(<CMakeLists.txt> <regex of a path> <what must stand in it> <globs>...): \1 and \2 are the groups of the regex.
function(listed file regex words)
  file(READ ${ROOT}/${file}/CMakeLists.txt text)
  list(TRANSFORM ARGN PREPEND ${ROOT}/)
  file(GLOB_RECURSE paths RELATIVE ${ROOT} ${ARGN})
  foreach(path IN LISTS paths)
    if(path MATCHES "${regex}")
      string(REGEX REPLACE "${regex}" "${words}" pattern ${path})
      if(NOT text MATCHES "${pattern}")
        list(APPEND bad "${path} is not named in ${file}/CMakeLists.txt")
      endif()
    endif()
  endforeach()
  set(bad "${bad}" PARENT_SCOPE)
endfunction()

listed(src "^include/(.*)$" "[ \n]\\1[ \n)]" include/*.hpp)
listed(src "^src/(.*)$" "[ \n]\\1[ \n)]" src/*.cpp)
listed(tests "^tests/([a-z]+)/([a-z0-9_.]+)[.]test[.]cpp$" "multiproc_test[(]\\1 \\2[ )]" tests/*.test.cpp)
listed(tests "^tests/programs/([a-z0-9_]+)[.]cpp$" "multiproc_test_program[(]\\1[ )]" tests/programs/*.cpp)
listed(examples "^examples/([a-z0-9_]+)[.]cpp$" "multiproc_example_run[(]\\1 " examples/*.cpp)
listed(bench "^bench/([a-z0-9_]+)/([a-z0-9_]+)[.]cpp$" "([(]| )\\1[ /][^)]*\\2[ .)]" bench/*.cpp)
if(bad)
  list(JOIN bad "\n  " text)
  message(FATAL_ERROR "not listed:\n  ${text}")
endif()
