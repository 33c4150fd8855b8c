# SPDX-License-Identifier: MIT
#
# cmake -D KIND=<kind> -D SOURCE=<checkout> -D BUILD=<its build folder> -D WORK=<folder> -D COMPILER=<c++>
#       -D BUILD_TYPE=<type> -D LIBDIR=<lib...> -P run.cmake
#
# install            installs the built library below WORK, then moves it: everything in it must be relocatable
# find_package       a CMake project on that
# unknown_component  the same, asking for a component that does not exist: refused, and in words
# newer_version      the same, asking for a version that can't be served: refused
# pkg_config         c++ $(pkg-config --cflags --libs multiproc)
# add_subdirectory   a CMake project with the checkout as a folder of it
set(prefix ${WORK}/moved)
set(here ${CMAKE_CURRENT_LIST_DIR})

function(run) # a command that must succeed
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

function(refused expected) # a command that must fail, saying so
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT RESULT_VARIABLE result OUTPUT_VARIABLE text ERROR_VARIABLE text)
  string(REGEX REPLACE "[ \n]+" " " text "${text}") # CMake breaks lines where it likes
  if(result EQUAL 0 OR NOT text MATCHES "${expected}")
    message(FATAL_ERROR "not refused with '${expected}': status ${result}, ${text}")
  endif()
endfunction()

function(configure result source)
  set(${result} ${CMAKE_COMMAND} -G Ninja -S ${here}/${source} -B ${WORK}/${KIND} -D CMAKE_CXX_COMPILER=${COMPILER}
                -D CMAKE_BUILD_TYPE=${BUILD_TYPE} ${ARGN} PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${WORK}/${KIND})
if(KIND STREQUAL install)
  file(REMOVE_RECURSE ${WORK}/installed ${prefix})
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
  file(RENAME ${WORK}/installed ${prefix})
  if(NOT EXISTS ${prefix}/share/doc/multiproc/LICENSE)
    message(FATAL_ERROR "the licence is not installed")
  endif()
elseif(KIND STREQUAL find_package)
  configure(command find_package -D CMAKE_PREFIX_PATH=${prefix})
  run(${command})
  run(${CMAKE_COMMAND} --build ${WORK}/${KIND})
  run(${WORK}/${KIND}/consumer)
elseif(KIND STREQUAL unknown_component)
  configure(command find_package -D CMAKE_PREFIX_PATH=${prefix} -D COMPONENTS=telepathy)
  refused("has no component 'telepathy'" ${command})
elseif(KIND STREQUAL newer_version)
  file(READ ${here}/find_package/CMakeLists.txt text)
  string(REPLACE "multiproc 0.1 " "multiproc 99.0 " text "${text}")
  file(WRITE ${WORK}/${KIND}/source/CMakeLists.txt "${text}")
  refused("compatible with requested version \"99.0\"" ${CMAKE_COMMAND} -G Ninja -S ${WORK}/${KIND}/source
          -B ${WORK}/${KIND} -D CMAKE_CXX_COMPILER=${COMPILER} -D CMAKE_PREFIX_PATH=${prefix})
elseif(KIND STREQUAL pkg_config)
  set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
  execute_process(COMMAND pkg-config --cflags --libs multiproc OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY ${WORK}/${KIND})
  run(${COMPILER} -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror ${here}/main.cpp -o
      ${WORK}/${KIND}/consumer ${flags})
  set(ENV{LD_LIBRARY_PATH} ${prefix}/${LIBDIR}) # for BUILD_SHARED_LIBS
  run(${WORK}/${KIND}/consumer)
elseif(KIND STREQUAL add_subdirectory)
  configure(command add_subdirectory -D MULTIPROC_SOURCE_DIR=${SOURCE})
  run(${command})
  run(${CMAKE_COMMAND} --build ${WORK}/${KIND})
  run(${WORK}/${KIND}/consumer)
else()
  message(FATAL_ERROR "no such kind: ${KIND}")
endif()
