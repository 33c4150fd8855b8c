// SPDX-License-Identifier: MIT

#include <multiproc/ipc/detail/channel.hpp>

#include <atomic>

#include <multiproc/ipc/connection.hpp>
#include <multiproc/ipc/detail/given.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/self.hpp>

namespace multiproc::detail {

namespace {

constinit os::ForkMutex mutex;
[[maybe_unused]] const bool is_enlisted = mutex.enlist();
constinit Channel* first = nullptr;

}  // namespace

std::array<EndName, 2> EndName::make_pair() noexcept {
  static constinit std::atomic<std::uint32_t> made{0};
  const std::uint64_t process = static_cast<std::uint32_t>(os::self_pid());
  const std::uint64_t connection = process << 32 | (made.fetch_add(1, std::memory_order_relaxed) + 1);
  return {EndName{connection, false}, EndName{connection, true}};
}

Channel::Channel(os::Fd socket, EndName name, bool receives, bool sends)
    : socket_(std::move(socket)), name_(name), receives_(receives), sends_(sends) {
  const os::ForkLock lock(mutex);
  next_ = first;
  if (first != nullptr) first->previous_ = this;
  first = this;
}

Channel::~Channel() {
  const os::ForkLock lock(mutex);
  (previous_ != nullptr ? previous_->next_ : first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
}

bool Given::is_needed() noexcept {
  return first != nullptr;
}

void Given::note(const Connection& connection) noexcept {
  if (connection.channel_) connection.channel_->is_given_ = true;
}

// The child has one thread, and found the list whole.
void Given::close_others() const noexcept {
  for (Channel* channel = first; channel != nullptr; channel = channel->next_) {
    if (channel->is_given_) continue;
    bool is_closed = is_complete_;
    for (const Channel* other = first; other != nullptr && !is_closed; other = other->next_) {
      is_closed = other->is_given_ && other->name_.is_opposite(channel->name_);
    }
    if (is_closed) channel->socket_.reset();
  }
  for (Channel* channel = first; channel != nullptr; channel = channel->next_) channel->is_given_ = false;
}

}  // namespace multiproc::detail
