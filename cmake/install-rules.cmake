# SPDX-License-Identifier: MIT
#
# cmake --install: library, headers, the CMake package, a pkg-config file and the licence. All of it can be moved to
# another place afterwards.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/multiproc)

install(
  TARGETS multiproc
  EXPORT multiprocTargets
  RUNTIME COMPONENT multiproc_Runtime
  LIBRARY COMPONENT multiproc_Runtime NAMELINK_COMPONENT multiproc_Development
  ARCHIVE COMPONENT multiproc_Development
  FILE_SET HEADERS COMPONENT multiproc_Development)
install(EXPORT multiprocTargets NAMESPACE multiproc:: DESTINATION ${package_dir} COMPONENT multiproc_Development)

configure_package_config_file(cmake/multiproc-config.cmake.in ${PROJECT_BINARY_DIR}/multiprocConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion) # before 1.0 a minor release may break
else()
  set(compatibility SameMajorVersion)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/multiprocConfigVersion.cmake COMPATIBILITY ${compatibility})
install(FILES ${PROJECT_BINARY_DIR}/multiprocConfig.cmake ${PROJECT_BINARY_DIR}/multiprocConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT multiproc_Development)

# pkg-config: the prefix is found from the place of the file itself, unless the user asked for absolute folders.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  set(pc_prefix ${CMAKE_INSTALL_PREFIX})
else()
  file(RELATIVE_PATH up /${pc_dir} /)
  string(REGEX REPLACE "/$" "" up ${up})
  set(pc_prefix "\${pcfiledir}/${up}")
endif()
foreach(dir INCLUDEDIR LIBDIR)
  if(IS_ABSOLUTE ${CMAKE_INSTALL_${dir}})
    set(pc_${dir} ${CMAKE_INSTALL_${dir}})
  else()
    set(pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
configure_file(cmake/multiproc.pc.in ${PROJECT_BINARY_DIR}/multiproc.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/multiproc.pc DESTINATION ${pc_dir} COMPONENT multiproc_Development)

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT multiproc_Development)
