// SPDX-License-Identifier: MIT
//
// multiproc/multiproc.hpp: every public header, in the order of the floors.
#pragma once

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/exit_status.hpp>
#include <multiproc/version.hpp>

#include <multiproc/ipc/encode.hpp>
#include <multiproc/ipc/sendable.hpp>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/print.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/start_method.hpp>
#include <multiproc/process/task.hpp>
#include <multiproc/process/this_process.hpp>
