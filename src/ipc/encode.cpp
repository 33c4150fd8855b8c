// SPDX-License-Identifier: MIT

#include <multiproc/ipc/encode.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>

namespace multiproc {

namespace detail {

struct ArchiveState {
  std::vector<std::pair<std::type_index, std::uint32_t>> versions;  // of classes met so far
  std::vector<std::pair<const void*, std::type_index>> visited;     // virtual bases
  std::vector<std::function<void()>> deferred;

  bool first_visit(const void* object, std::type_index type) {
    const std::pair<const void*, std::type_index> visit(object, type);
    if (std::find(visited.begin(), visited.end(), visit) != visited.end()) return false;
    visited.push_back(visit);
    return true;
  }

  const std::uint32_t* version_of(std::type_index type) const {
    const auto known = std::find_if(versions.begin(), versions.end(), [&](const auto& v) { return v.first == type; });
    return known == versions.end() ? nullptr : &known->second;
  }

  void run_deferred() {
    // A deferred value may defer others.
    for (std::size_t i = 0; i < deferred.size(); ++i) std::exchange(deferred[i], nullptr)();
    deferred.clear();
  }
};

void DeleteArchiveState::operator()(ArchiveState* state) const noexcept {
  delete state;
}

namespace {

std::string begin_text(std::string_view what) {
  return std::string("decode: ").append(what);
}

}  // namespace

void throw_too_short(std::string_view what, std::size_t needed, std::size_t left) {
  throw DecodeError(begin_text(what) + ": " + std::to_string(needed) + " bytes needed, " + std::to_string(left) +
                    " left");
}

void throw_too_long(std::string_view what, std::uint64_t count, std::size_t least_each, std::size_t left) {
  throw DecodeError(begin_text(what) + ": a length of " + std::to_string(count) + ", each at least " +
                    std::to_string(least_each) + " bytes, but only " + std::to_string(left) + " bytes are left");
}

void throw_bad_value(std::string_view what, std::string_view wrong, std::uint64_t got) {
  throw DecodeError(begin_text(what) + ": " + std::to_string(got) + " is " + std::string(wrong));
}

void throw_refused(std::string_view what, const char* why) {
  throw DecodeError(begin_text(what) + ": its own code refused the bytes: " + why);
}

void throw_too_deep(bool decoding) {
  const std::string text = ": values nested deeper than " + std::to_string(max_depth) + " levels";
  if (decoding) throw DecodeError("decode" + text);
  throw Error("encode" + text + "; send them flat, as a vector with indices");
}

}  // namespace detail

void Encoder::grow(std::size_t more) {
  const std::size_t used = size();
  const std::size_t room = static_cast<std::size_t>(end_ - begin_);
  std::size_t wanted = std::max<std::size_t>(64, room * 2);
  if (more > static_cast<std::size_t>(PTRDIFF_MAX) - used) throw std::bad_alloc();
  wanted = std::max(wanted, used + more);
  auto* memory = static_cast<std::byte*>(std::realloc(own_, wanted));
  if (memory == nullptr) throw std::bad_alloc();
  if (own_ == nullptr && used != 0) std::memcpy(memory, begin_, used);
  own_ = begin_ = memory;
  cursor_ = memory + used;
  end_ = memory + wanted;
}

void Encoder::attach(os::Fd fd) {
  const auto index = static_cast<std::uint32_t>(fds_.size());
  fds_.push_back(std::move(fd));
  write(&index, sizeof index);
}

void Encoder::own_room() {
  const std::size_t used = size();
  auto* copy = static_cast<std::byte*>(std::malloc(used));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, begin_, used);
  own_ = begin_ = copy;
  cursor_ = end_ = copy + used;
}

detail::ArchiveState& Encoder::state() {
  if (!state_) state_.reset(new detail::ArchiveState);
  return *state_;
}

bool Encoder::first_version_of(std::type_index type) {
  if (state().version_of(type) != nullptr) return false;
  state().versions.emplace_back(type, 0);
  return true;
}

bool Encoder::first_visit(const void* object, std::type_index type) {
  return state().first_visit(object, type);
}
void Encoder::defer(std::function<void()> job) {
  state().deferred.push_back(std::move(job));
}
void Encoder::serializeDeferments() {
  state().run_deferred();
}

os::Fd Decoder::take_fd() {
  std::uint32_t index = 0;
  std::memcpy(&index, take(sizeof index, "a descriptor"), sizeof index);
  if (index >= fds_.size()) {
    throw DecodeError("decode: descriptor " + std::to_string(index) + " is missing: " + std::to_string(fds_.size()) +
                      " came with the message");
  }
  if (!fds_[index]) throw DecodeError("decode: descriptor " + std::to_string(index) + " is claimed twice");
  return std::move(fds_[index]);
}

void Decoder::finish_slowly() const {
  if (left() != 0) throw DecodeError("decode: " + std::to_string(left()) + " bytes left over after the value");
  const auto spare = std::count_if(fds_.begin(), fds_.end(), [](const os::Fd& fd) { return static_cast<bool>(fd); });
  if (spare != 0) throw DecodeError("decode: " + std::to_string(spare) + " descriptors left over after the value");
}

detail::ArchiveState& Decoder::state() {
  if (!state_) state_.reset(new detail::ArchiveState);
  return *state_;
}

std::uint32_t Decoder::load_class_version(std::type_index type) {
  if (const std::uint32_t* known = state().version_of(type)) return *known;
  std::uint32_t version = 0;
  std::memcpy(&version, take(sizeof version, "a cereal class version"), sizeof version);
  state().versions.emplace_back(type, version);
  return version;
}

bool Decoder::first_visit(const void* object, std::type_index type) {
  return state().first_visit(object, type);
}
void Decoder::defer(std::function<void()> job) {
  state().deferred.push_back(std::move(job));
}
void Decoder::serializeDeferments() {
  state().run_deferred();
}

}  // namespace multiproc
