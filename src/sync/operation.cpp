// SPDX-License-Identifier: MIT

#include <multiproc/sync/detail/operation.hpp>

#include <multiproc/os/at_fork.hpp>

namespace multiproc::detail {

constinit thread_local const OperationUnderWay* innermost_operation = nullptr;

namespace {

[[maybe_unused]] const bool is_registered = os::at_fork(nullptr, nullptr, [] { innermost_operation = nullptr; }).ok();

}  // namespace

}  // namespace multiproc::detail
