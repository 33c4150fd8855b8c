// SPDX-License-Identifier: MIT
//
// multiproc/version.hpp: the version of the library, and the one place that states it (CMake reads these lines).
#pragma once

#define MULTIPROC_VERSION_MAJOR 0
#define MULTIPROC_VERSION_MINOR 1
#define MULTIPROC_VERSION_PATCH 0
