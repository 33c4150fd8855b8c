# SPDX-License-Identifier: MIT
#
# cmake -D ROOT=<repo> -P check_readme.cmake: the demo in the README is examples/square_cube.cpp, to the letter.
file(READ ${ROOT}/README.md readme)
file(READ ${ROOT}/examples/square_cube.cpp example)
string(FIND "${readme}" "```cpp\n${example}```" at)
if(at EQUAL -1)
  message(FATAL_ERROR "README.md shows another program than examples/square_cube.cpp: copy the file into it")
endif()
