# SPDX-License-Identifier: MIT
#
# cmake -D KIND=<kind> -D SOURCE=<checkout> -D BUILD=<its build folder> -D WORK=<folder> -D COMPILER=<c++>
#       -D BUILD_TYPE=<type> -D LIBDIR=<lib...> -D GENERATOR=<generator> -D MAKE_PROGRAM=<ninja> -D SHARED=<on or off>
#       -D VERSION=<major.minor> -P run.cmake
#
# install            installs the built library below WORK, then moves it: everything in it must be relocatable
# find_package       a CMake project on that: a program, and a shared library with a program
# unknown_component  the same, asking for a component that does not exist: refused, and in words
# newer_version      the same, asking for a version that can't be served: refused
# pkg_config         c++ $(pkg-config --cflags --libs multiproc)
# add_subdirectory   a CMake project with the checkout as a folder of it
# missing_packages   the checkout on a system that has but an old fmt: refused, and all that is missing is named
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
  set(${result} ${CMAKE_COMMAND} -G ${GENERATOR} -S ${source} -B ${WORK}/${KIND} -D CMAKE_CXX_COMPILER=${COMPILER}
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
  configure(command ${here}/find_package -D CMAKE_PREFIX_PATH=${prefix} -D VERSION=${VERSION})
  run(${command})
  run(${CMAKE_COMMAND} --build ${WORK}/${KIND})
  run(${WORK}/${KIND}/consumer)
  run(${WORK}/${KIND}/consumer_of_library)
elseif(KIND STREQUAL unknown_component)
  configure(command ${here}/find_package -D CMAKE_PREFIX_PATH=${prefix} -D VERSION=${VERSION} -D COMPONENTS=telepathy)
  refused("has no component 'telepathy'" ${command})
elseif(KIND STREQUAL newer_version)
  configure(command ${here}/find_package -D CMAKE_PREFIX_PATH=${prefix} -D VERSION=99.0)
  refused("compatible with requested version \"99.0\"" ${command})
elseif(KIND STREQUAL pkg_config)
  set(ENV{PKG_CONFIG_PATH} ${prefix}/${LIBDIR}/pkgconfig)
  execute_process(COMMAND pkg-config --cflags --libs multiproc OUTPUT_VARIABLE flags COMMAND_ERROR_IS_FATAL ANY)
  separate_arguments(flags UNIX_COMMAND "${flags}")
  file(MAKE_DIRECTORY ${WORK}/${KIND})
  run(${COMPILER} -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror ${here}/main.cpp ${here}/work.cpp
      -o ${WORK}/${KIND}/consumer ${flags})
  set(ENV{LD_LIBRARY_PATH} ${prefix}/${LIBDIR}) # for BUILD_SHARED_LIBS
  run(${WORK}/${KIND}/consumer)
elseif(KIND STREQUAL add_subdirectory)
  configure(command ${here}/add_subdirectory -D MULTIPROC_SOURCE_DIR=${SOURCE} -D BUILD_SHARED_LIBS=${SHARED})
  run(${command})
  run(${CMAKE_COMMAND} --build ${WORK}/${KIND})
  run(${WORK}/${KIND}/consumer)
elseif(KIND STREQUAL missing_packages)
  set(old_fmt ${WORK}/${KIND}_prefix/lib/cmake/fmt)
  file(WRITE ${old_fmt}/fmtConfig.cmake "")
  file(WRITE ${old_fmt}/fmtConfigVersion.cmake "set(PACKAGE_VERSION 8.1)\nset(PACKAGE_VERSION_COMPATIBLE FALSE)\n")
  configure(command ${SOURCE} -D CMAKE_MAKE_PROGRAM=${MAKE_PROGRAM} -D CMAKE_PREFIX_PATH=${WORK}/${KIND}_prefix
            -D CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF -D CMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF
            -D CMAKE_FIND_USE_CMAKE_ENVIRONMENT_PATH=OFF -D MULTIPROC_BUILD_TESTS=OFF)
  set(for_each_missing " Boost 1.74 or newer fmt 9 or newer .found: 8.1. cereal 1.3.2 or newer"
                       " CLI11 2.1 or newer, without which -D MULTIPROC_BUILD_EXAMPLES=OFF goes on"
                       " benchmark 1.7 or newer, without which -D MULTIPROC_BUILD_BENCH=OFF goes on"
                       " On Debian or Ubuntu: sudo apt-get install --no-install-recommends"
                       " libboost-dev libfmt-dev libcereal-dev libcli11-dev libbenchmark-dev ")
  list(JOIN for_each_missing "" all_in_one)
  refused("${all_in_one}" ${command})
else()
  message(FATAL_ERROR "no such kind: ${KIND}")
endif()
