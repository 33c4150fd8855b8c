# SPDX-License-Identifier: MIT
#
# cmake/compile_fail.cmake: does a source fail to compile, and does the compiler say why in the words it should?
#
#   cmake -D COMPILER=g++ -D FLAGS="-std=c++20" -D SOURCE=x.cpp -D INCLUDES="dir;dir" -P cmake/compile_fail.cmake
#
# The source begins, after its licence line, with one or more lines "// expect: TEXT". Each TEXT must stand in the
# compiler's output as it is, or match as a regular expression when the line reads "// expect-regex: ...".
# "// expect: compiles" is the control: the source must compile, so that a broken include path can't pass for the
# refusal that is looked for.

foreach(needed COMPILER SOURCE)
  if(NOT DEFINED ${needed})
    message(FATAL_ERROR "compile_fail: -D ${needed}=... is missing")
  endif()
endforeach()

separate_arguments(flags UNIX_COMMAND "${FLAGS}")
foreach(directory IN LISTS INCLUDES)
  list(APPEND flags "-I${directory}")
endforeach()

# No list handling of the file's own text: expectations may contain semicolons and brackets.
file(READ "${SOURCE}" text)
string(REGEX REPLACE "^// SPDX[^\n]*\n" "" text "${text}")
set(expected_count 0)
while(text MATCHES "^// expect(-regex)?: ([^\n]*)\n")
  set(kind_${expected_count} "${CMAKE_MATCH_1}")
  set(expected_${expected_count} "${CMAKE_MATCH_2}")
  math(EXPR expected_count "${expected_count} + 1")
  string(FIND "${text}" "\n" end)
  math(EXPR end "${end} + 1")
  string(SUBSTRING "${text}" ${end} -1 text)
endwhile()
if(expected_count EQUAL 0)
  message(FATAL_ERROR "${SOURCE} does not begin with a line \"// expect: ...\"")
endif()

# One language and one line per message, whatever the caller's environment.
execute_process(
  COMMAND "${CMAKE_COMMAND}" -E env LC_ALL=C "${COMPILER}" ${flags} -fsyntax-only -fmessage-length=0 "${SOURCE}"
  RESULT_VARIABLE result
  OUTPUT_VARIABLE output
  ERROR_VARIABLE output)

if(expected_0 STREQUAL "compiles")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${SOURCE} must compile, but does not:\n${output}")
  endif()
  return()
endif()

if(result EQUAL 0)
  message(FATAL_ERROR "${SOURCE} compiles, but must not")
endif()
math(EXPR last "${expected_count} - 1")
foreach(i RANGE ${last})
  if(kind_${i} STREQUAL "-regex")
    string(REGEX MATCH "${expected_${i}}" found "${output}")
    string(LENGTH "${found}" at)
    math(EXPR at "${at} - 1")
  else()
    string(FIND "${output}" "${expected_${i}}" at)
  endif()
  if(at LESS 0)
    message(FATAL_ERROR "${SOURCE} fails to compile, but without the words\n  ${expected_${i}}\nThe compiler said:\n${output}")
  endif()
endforeach()
