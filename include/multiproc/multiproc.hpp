// SPDX-License-Identifier: MIT
//
// multiproc/multiproc.hpp: every public header, in the order of the floors.
#pragma once

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/exit_status.hpp>
#include <multiproc/version.hpp>

#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/shared_const.hpp>
#include <multiproc/shm/shared_memory.hpp>

#include <multiproc/sync/array.hpp>
#include <multiproc/sync/barrier.hpp>
#include <multiproc/sync/bounded_semaphore.hpp>
#include <multiproc/sync/condition.hpp>
#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/semaphore.hpp>
#include <multiproc/sync/shared_map.hpp>
#include <multiproc/sync/shared_string.hpp>
#include <multiproc/sync/shared_vector.hpp>
#include <multiproc/sync/value.hpp>

#include <multiproc/ipc/connection.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/ipc/pipe.hpp>
#include <multiproc/ipc/sendable.hpp>
#include <multiproc/ipc/wait.hpp>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/print.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/start_method.hpp>
#include <multiproc/process/task.hpp>
#include <multiproc/process/this_process.hpp>
