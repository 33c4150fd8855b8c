// SPDX-License-Identifier: MIT

#include "ipc/carrier.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/os/message.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/os/socket.hpp>

#include "ipc/refusals.hpp"

namespace multiproc::detail {

os::Fd load_carrier(std::span<const os::Fd> fds) {
  const std::string object = "a message with " + std::to_string(fds.size()) + " descriptors";
  auto ends = os::make_packet_pair().or_throw(object, "Close some descriptors, or raise the limit (ulimit -n).");
  constexpr std::byte kMark{'F'};
  const std::span<const std::byte> part(&kMark, 1);
  while (!fds.empty()) {
    const auto some = fds.first(std::min(fds.size(), os::kMaxFdsPerMessage));
    std::array<int, os::kMaxFdsPerMessage> numbers;
    std::transform(some.begin(), some.end(), numbers.begin(), [](const os::Fd& fd) { return fd.get(); });
    const auto sent =
        os::send_message(ends[0].get(), {&part, 1}, std::span(numbers).first(some.size()), Deadline::now());
    if (!sent) {
      os::Failure failure = sent.failure();
      if (failure.error == ETIMEDOUT) failure.error = ETOOMANYREFS;
      os::throw_failure(failure, object, "Send them in several messages.");
    }
    fds = fds.subspan(some.size());
  }
  return std::move(ends[1]);
}

std::vector<os::Fd> unload_carrier(const os::Fd& carrier, std::size_t count) {
  std::vector<os::Fd> fds;
  std::byte mark{};
  const std::span<std::byte> part(&mark, 1);
  while (fds.size() < count) {
    const auto got = os::receive_message(carrier.get(), {&part, 1}, fds, Deadline::now());
    if (!got) {
      if (got.error() == EMFILE) refuse_fds();
      os::throw_failure(got.failure(), "the descriptors of a message");
    }
    if (got.value().fds_cut) refuse_fds();
    if (got.value().size == 0) throw DecodeError("a message was received with fewer descriptors than it says");
  }
  return fds;
}

}  // namespace multiproc::detail
