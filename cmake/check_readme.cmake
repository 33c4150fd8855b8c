# SPDX-License-Identifier: MIT
#
# cmake -D ROOT=<repo> -P check_readme.cmake: the programs in the README are those of examples/, to the letter. All but
# square_cube.cpp stand there without the comment at their head.
file(READ ${ROOT}/README.md readme)
foreach(name hello square_cube sharing talking)
  file(READ ${ROOT}/examples/${name}.cpp example)
  if(NOT name STREQUAL square_cube)
    string(REGEX REPLACE "^(//[^\n]*\n)+\n" "" example "${example}")
  endif()
  string(FIND "${readme}" "<!-- examples/${name}.cpp -->\n```cpp\n${example}```" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "README.md shows another program than examples/${name}.cpp: copy the file into it")
  endif()
endforeach()
