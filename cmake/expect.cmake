# SPDX-License-Identifier: MIT
#
# cmake -D STATUS=<exit code> -D SAYS=<regex;...> -P expect.cmake -- <command>...: runs it with nothing on standard input and
# compares its exit code and, with each regex, what it writes to stdout and stderr.
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(DEFINED command)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(command "")
  endif()
endforeach()
execute_process(COMMAND ${command} INPUT_FILE /dev/null RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
message("${text}")
if(NOT status STREQUAL STATUS)
  message(FATAL_ERROR "status ${status} instead of ${STATUS}")
endif()
foreach(regex IN LISTS SAYS)
  if(NOT text MATCHES "${regex}")
    message(FATAL_ERROR "no '${regex}' in what it says")
  endif()
endforeach()
