// SPDX-License-Identifier: MIT

#include <multiproc/sync/shared_string.hpp>

#include <algorithm>
#include <cstring>
#include <functional>

#include <multiproc/error.hpp>
#include <multiproc/sync/array.hpp>

namespace multiproc {

namespace {

constexpr detail::StoreKind kKind{
    2, {1, 1}, 16, detail::kJournalRoom, [](const detail::StoreHead& head) {
      return reinterpret_cast<const detail::Buffer*>(head.root.data())->is_plausible(head.heap.top, 1);
    }};
constexpr std::size_t kEnd = std::string_view::npos;

}  // namespace

// The buffer holds the text and the 0 behind it; nothing at all as long as nothing was ever written.
shared_string::shared_string(SharedContainerOptions options) : store_(kKind, options.max_bytes) {}

shared_string::shared_string(std::string_view text, SharedContainerOptions options) : shared_string(options) {
  if (!text.empty()) assign(text);
}

shared_string::shared_string(const detail::Place& place) : store_(kKind, place) {}

std::string_view shared_string::view() const noexcept {
  store_.settle();
  const detail::Buffer& words = buffer();
  if (words.size == 0) return "";
  return {reinterpret_cast<const char*>(store_.base() + words.data), static_cast<std::size_t>(words.size) - 1};
}

std::string shared_string::str() const {
  const detail::Operation call(store_);
  return std::string(view());
}

std::size_t shared_string::size() const {
  const detail::Operation call(store_);
  return view().size();
}

// `given` may be a view of our own text, which moves. kEnd: at the end.
void shared_string::replace(std::size_t at, std::size_t removed, std::string_view given) const {
  detail::Operation call(store_);
  const std::size_t before = view().size();
  std::string copy;
  const std::string_view own = view();
  const bool is_ours =
      std::greater_equal<>{}(given.data(), own.data()) && std::less_equal<>{}(given.data(), own.data() + own.size());
  if (is_ours) copy = given;
  const std::string_view text = is_ours ? std::string_view(copy) : given;
  if (at == kEnd) at = before;
  if (at > before) detail::throw_out_of_range("shared_string", at, before);
  removed = std::min(removed, before - at);
  const bool is_first = buffer().size == 0;
  const std::size_t end = is_first ? 1 : 0;
  std::byte* const gap = buffer().splice(call, at, removed, text.size() + end);
  if (!text.empty()) std::memcpy(gap, text.data(), text.size());
  if (is_first) gap[text.size()] = std::byte{0};
  call.commit();
}

void shared_string::assign(std::string_view text) const {
  replace(0, std::string_view::npos, text);
}

void shared_string::append(std::string_view text) const {
  replace(kEnd, 0, text);
}

void shared_string::insert(std::size_t at, std::string_view text) const {
  if (at == kEnd) detail::throw_out_of_range("shared_string", at, size());
  replace(at, 0, text);
}

void shared_string::erase(std::size_t at, std::size_t letters) const {
  if (at == kEnd) detail::throw_out_of_range("shared_string", at, size());
  replace(at, letters, {});
}

}  // namespace multiproc
