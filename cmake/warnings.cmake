# SPDX-License-Identifier: MIT
#
# The warnings our own code is held to. They are private to our own targets: a user's target never inherits them.
function(multiproc_warnings target)
  target_compile_options(
    ${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow
                      $<$<BOOL:${MULTIPROC_WARNINGS_AS_ERRORS}>:-Werror>)
endfunction()
