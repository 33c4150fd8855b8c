// SPDX-License-Identifier: MIT
//
// multiproc/sync/shared_map.hpp: a std::map that threads and processes change together.
//
// A handle like shared_vector, with the same lock at every call and the same promises. K and V are Shareable, or
// std::string, which goes in as std::string_view and comes out as std::string. Sorted by <.
//
// References and iterators are good while the lock is held. An entry stays where it is until it is erased. A handle is
// as const as a pointer is: the entries can be changed through a const one.
//
// Visibility  What was done to the map before a call of another thread or process is visible to that call.
// Death       A process that is killed in a call has done it or has not; what it had begun is undone by the next one
//             that has the lock. No memory is lost. Writes through references are not undone.
// Fork        A child that is forked within with() or for_each() does not own the lock: it waits for it as others do,
//             and what it does on its way out changes nothing.
// Limits      max_bytes, 1 GiB unless told otherwise and at least 64 KiB: address space, of which memory is taken as it
//             is needed. One descriptor a map. A held lock must not lose its last handle. One with() may change as much
//             of what was there before as fits into 1 MiB: some 10000 insertions into a map of many entries, any
//             number into an empty one. What with() gives back can be used again once it has ended; what was free
//             before, at once. Memory that another process has written over is found where it can be, by DecodeError or
//             InvalidState, but the links between the entries are believed.
// Cost        The lock, and some hundred nanoseconds; all but the walks are logarithmic in the number of entries (with
//             a probability that comes to certainty: the tree is a treap).
// Stands on   sync/rlock.hpp, shm/heap.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/sync/detail/store.hpp>
#include <multiproc/sync/detail/stored.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/shared_vector.hpp>

namespace multiproc {

template <class K, class V>
class shared_map;

namespace detail {

/// What map[key] is where values are texts: reads and writes the value, under the lock each time.
template <class K>
class TextEntry {
 public:
  TextEntry(const shared_map<K, std::string>& map, K key) : map_(map), key_(std::move(key)) {}
  const TextEntry& operator=(std::string_view text) const {
    map_.insert_or_assign(key_, text);
    return *this;
  }
  const TextEntry& operator+=(std::string_view text) const {
    map_.with(key_, [&](std::string& value) { value += text; });
    return *this;
  }
  /// A copy; an empty one where there was none, and then there is one.
  std::string str() const {
    return map_.with(key_, [](std::string& value) { return value; });
  }
  operator std::string() const { return str(); }
  friend bool operator==(const TextEntry& entry, std::string_view text) { return entry.str() == text; }

 private:
  shared_map<K, std::string> map_;
  K key_;
};

}  // namespace detail

/// Example:
///
///     shared_map<std::string, int> count;
///     Process worker{[](shared_map<std::string, int> mine) { mine.with("seen", [](int& n) { ++n; }); }, count};
template <class K, class V>
class shared_map {  // NOLINT(readability-identifier-naming): as std's
  static_assert(detail::is_storable<K> && detail::is_storable<V>,
                "multiproc: shared_map<K, V>: K and V have to be Shareable (trivially copyable, no pointer anywhere "
                "inside), or std::string");
  static_assert(
      requires(const K& a, const K& b) { static_cast<bool>(a < b); },
      "multiproc: shared_map<K, V>: K needs an operator<, which sorts the entries");

  using Key = detail::InStore<K>;
  using Mapped = detail::InStore<V>;
  using KeyGiven = typename Key::Given;
  using MappedGiven = typename Mapped::Given;

  // A treap: ordered by key along the tree, by priority from the root down; and a list in the order of the keys.
  struct Node {
    std::uint64_t left, right;
    std::uint64_t previous, next;
    std::uint64_t priority;
    Key key;
    Mapped mapped;
  };
  struct Root {
    std::uint64_t top, first, last, size, seed;
  };

 public:
  using key_type = K;
  using mapped_type = V;
  using size_type = std::size_t;
  using KeyView = decltype(std::declval<const Key&>().view(nullptr));

  /// Gives pairs of references: `for (auto [key, value] : map)`. Texts are string_views.
  class iterator {
   public:
    using value_type = std::pair<KeyView, typename Mapped::Seen>;
    using reference = value_type;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;  // to algorithms that know no proxies

    struct Arrow {
      value_type entry;
      value_type* operator->() noexcept { return &entry; }
    };

    iterator() = default;
    value_type operator*() const {
      Node* const node = reinterpret_cast<Node*>(base_ + at_);
      return {node->key.view(base_), node->mapped.see(base_)};
    }
    Arrow operator->() const { return {**this}; }
    iterator& operator++() {
      at_ = reinterpret_cast<Node*>(base_ + at_)->next;
      return *this;
    }
    iterator operator++(int) {
      iterator before = *this;
      ++*this;
      return before;
    }
    friend bool operator==(const iterator& a, const iterator& b) noexcept { return a.at_ == b.at_; }

   private:
    friend class shared_map;
    iterator(std::byte* base, std::uint64_t at) noexcept : base_(base), at_(at) {}
    std::byte* base_ = nullptr;
    std::uint64_t at_ = 0;
  };

  using const_iterator = iterator;

  /// An empty one. SystemError: no memory, no descriptor.
  explicit shared_map(SharedContainerOptions options = {}) : store_(kKind, options.max_bytes) {}
  shared_map(std::initializer_list<std::pair<const K, V>> entries, SharedContainerOptions options = {})
      : shared_map(options) {
    for (const auto& [key, value] : entries) insert(key, value);
  }

  shared_map(const shared_map&) = default;
  shared_map& operator=(const shared_map&) = default;

  std::size_t size() const {
    const detail::Operation call(store_);
    return static_cast<std::size_t>(root().size);
  }
  bool empty() const { return size() == 0; }
  bool contains(KeyGiven key) const {
    const detail::Operation call(store_);
    return look_for(key).hit != 0;
  }
  std::size_t count(KeyGiven key) const { return contains(key) ? 1 : 0; }

  /// A copy of the value, if there is one.
  std::optional<V> find(KeyGiven key) const {
    const detail::Operation call(store_);
    const Spot spot = look_for(key);
    if (spot.hit == 0) return std::nullopt;
    return V(value_of(spot.hit));
  }
  std::optional<V> get(KeyGiven key) const { return find(key); }
  /// The same, const so that nobody writes into the copy: insert_or_assign(), with() and operator[] write.
  /// std::out_of_range: there is none.
  const V at(KeyGiven key) const {  // NOLINT(readability-const-return-type): see there
    std::optional<V> found = find(key);
    if (!found) throw std::out_of_range("shared_map: there is no key" + detail::named(key));
    return *std::move(found);
  }

  /// False: there is one already, and it stays as it is.
  bool insert(KeyGiven key, MappedGiven value) const {
    return detail::change(store_, [&](detail::Operation& call) {
      const Spot spot = look_for(key);
      if (spot.hit == 0) add(call, spot, key, value);
      return spot.hit == 0;
    });
  }
  bool insert(const std::pair<const K, V>& entry) const { return insert(entry.first, entry.second); }
  template <class... Args>
  bool try_emplace(KeyGiven key, Args&&... args) const {
    return insert(key, V(std::forward<Args>(args)...));
  }
  template <class... Args>
  bool emplace(KeyGiven key, Args&&... args) const {
    return insert(key, V(std::forward<Args>(args)...));
  }
  /// True: it was not there before.
  bool insert_or_assign(KeyGiven key, MappedGiven value) const {
    return detail::change(store_, [&](detail::Operation& call) {
      const Spot spot = look_for(key);
      if (spot.hit == 0)
        add(call, spot, key, value);
      else
        node(spot.hit)->mapped.replace(call, value);
      return spot.hit == 0;
    });
  }
  /// How many there were: 0 or 1.
  std::size_t erase(KeyGiven key) const {
    return detail::change(store_, [&](detail::Operation& call) -> std::size_t {
      const Spot spot = look_for(key);
      if (spot.hit == 0) return 0;
      take_out(call, spot.hit);
      return 1;
    });
  }
  void clear() const {
    detail::change(store_, [&](detail::Operation& call) {
      if (call.is_nested()) {
        while (root().first != 0) take_out(call, root().first);
        return;
      }
      call.heap().keep(&root(), sizeof(Root));
      root() = {0, 0, 0, 0, root().seed};
      call.heap().give_all();
    });
  }

  /// F(V&) of the value of `key`, V{} where there was none, under the lock; a copy of what F returns. When F throws,
  /// the map is as before. InvalidState: F erases that entry.
  template <class F>
  auto with(KeyGiven key, F&& update) const {
    const shared_map self = *this;  // F may let *this name another one
    return detail::change(self.store_, [&](detail::Operation& call) {
      const Spot spot = self.look_for(key);
      std::uint64_t at = spot.hit;
      if constexpr (std::is_same_v<V, std::string>) {
        if (at == 0) at = self.add(call, spot, key, {});
        call.lend(at);
        std::string text(self.value_of(at));
        if constexpr (std::is_void_v<std::invoke_result_t<F, std::string&>>) {
          std::forward<F>(update)(text);
          self.node(at)->mapped.replace(call, text);
        } else {
          auto result = std::forward<F>(update)(text);
          self.node(at)->mapped.replace(call, text);
          return result;
        }
      } else {
        if (at == 0) at = self.add_default(call, spot, key);
        V& value = self.node(at)->mapped.value;
        call.heap().keep(&value, sizeof value);
        call.lend(at);
        return std::forward<F>(update)(value);
      }
    });
  }
  /// F(shared_map&) under the lock; a copy of what F returns. All calls in it happen together, or, when F throws or the
  /// process is killed, none of them; what is written through a reference from operator[] is not undone, that by
  /// with(key, F) is. InvalidState: more than can be undone (see Limits); do less at a time.
  template <class F>
    requires std::is_invocable_v<F, shared_map&>
  auto with(F&& changes) const {
    shared_map self = *this;
    return detail::change_by_caller(store_, [&](detail::Operation&) { return std::forward<F>(changes)(self); });
  }
  RLock& get_lock() const noexcept { return store_.lock(); }

  /// F(key, value) for each under the lock, in order. One change, as with(F) is: what F does to the map happens when
  /// the last call of it has returned, or, when one throws, not at all. F comes to what it inserts behind the entry
  /// that it has, and no more to what it erases there. A text that it has been given is good until it assigns another
  /// one to that entry. InvalidState: F erases the entry that it has.
  template <class F>
  void for_each(F&& act) const {
    const shared_map self = *this;  // F may let *this name another one
    detail::change(self.store_, [&](detail::Operation& call) {
      for (std::uint64_t at = self.root().first; at != 0; at = self.node(at)->next) {
        call.lend(at);
        auto&& key = self.key_of(at);
        auto&& value = self.value_of(at);
        act(key, std::as_const(value));
      }
    });
  }
  std::map<K, V> to_map() const {
    std::map<K, V> copy;
    const detail::Operation call(store_);
    for (auto [key, value] : *this) copy.emplace_hint(copy.end(), K(key), V(value));
    return copy;
  }

  /// The value of `key`, V{} where there was none. Under get_lock(), for as long as the reference is used.
  V& operator[](KeyGiven key) const
    requires(!std::is_same_v<V, std::string>)
  {
    std::uint64_t found = 0;
    detail::change(store_, [&](detail::Operation& call) {
      const Spot spot = look_for(key);
      found = spot.hit != 0 ? spot.hit : add_default(call, spot, key);
    });
    return node(found)->mapped.value;
  }
  /// Of texts, to be assigned and read: each time under the lock.
  detail::TextEntry<K> operator[](KeyGiven key) const
    requires std::is_same_v<V, std::string>
  {
    return {*this, K(key)};
  }
  // Under get_lock(), for as long as the iterators are used.
  iterator begin() const noexcept {
    store_.settle();
    return {store_.base(), root().first};
  }
  iterator end() const noexcept { return {store_.base(), 0}; }

  /// Do both name the same map?
  friend bool operator==(const shared_map& a, const shared_map& b) noexcept {
    return &a.store_.head() == &b.store_.head();
  }

 private:
  friend struct Travel<shared_map>;
  static_assert(alignof(Node) <= 4096, "multiproc: shared_map<K, V>: K or V is aligned to more than a page");
  static constexpr detail::StoreKind kKind{
      3 + 16 * (std::is_same_v<K, std::string> ? 1 : 0) + 32 * (std::is_same_v<V, std::string> ? 1 : 0),
      {sizeof(Key), sizeof(Mapped)},
      std::max<std::size_t>(alignof(Node), 16),
      detail::kJournalRoom + 4 * detail::Journal::taken_by(sizeof(Node)),
      [](const detail::StoreHead& head) {
        Root root;
        std::memcpy(&root, head.root.data(), sizeof root);
        const std::uint64_t last = head.heap.top - std::min<std::uint64_t>(head.heap.top, sizeof(Node));
        return root.top <= last && root.first <= last && root.last <= last && root.size <= last / sizeof(Node);
      }};

  struct Spot {
    std::uint64_t hit = 0;       // the node with this key
    std::uint64_t previous = 0;  // otherwise the one before
    std::uint64_t next = 0;      // and the one behind it
  };

  explicit shared_map(const detail::Place& place) : store_(kKind, place) {}

  Root& root() const noexcept { return *reinterpret_cast<Root*>(store_.head().root.data()); }
  Node* node(std::uint64_t at) const noexcept { return reinterpret_cast<Node*>(store_.base() + at); }
  KeyView key_of(std::uint64_t at) const noexcept { return std::as_const(node(at)->key).view(store_.base()); }

  decltype(auto) value_of(std::uint64_t at) const noexcept {
    return std::as_const(node(at)->mapped).view(store_.base());
  }

  Spot look_for(KeyGiven key) const {
    Spot spot;
    for (std::uint64_t at = root().top; at != 0;) {
      if (key < key_of(at)) {
        spot.next = at;
        at = node(at)->left;
      } else if (key_of(at) < key) {
        spot.previous = at;
        at = node(at)->right;
      } else {
        spot.hit = at;
        break;
      }
    }
    return spot;
  }

  static void set(const detail::Operation& call, std::uint64_t& word, std::uint64_t value) {
    if (word != value) call.set(word, value);
  }

  std::uint64_t add(const detail::Operation& call, const Spot& spot, KeyGiven key, MappedGiven value) const {
    const std::uint64_t at = call.heap().take(sizeof(Node));
    Node* const fresh = node(at);
    fresh->key.put(call, key);
    fresh->mapped.put(call, value);
    fresh->left = fresh->right = 0;
    fresh->previous = spot.previous;
    fresh->next = spot.next;
    call.heap().keep(&root(), sizeof(Root));
    // xorshift64*: as good as any for a treap.
    std::uint64_t seed = root().seed == 0 ? 0x9e3779b97f4a7c15 : root().seed;
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    root().seed = seed;
    fresh->priority = seed * 0x2545f4914f6cdd1d;

    std::uint64_t* link = &root().top;
    while (*link != 0 && node(*link)->priority >= fresh->priority) {
      Node* const here = node(*link);
      link = key < key_of(*link) ? &here->left : &here->right;
    }
    // What was there is split into the smaller and the larger ones.
    std::uint64_t* smaller = &fresh->left;
    std::uint64_t* larger = &fresh->right;
    for (std::uint64_t rest = *link; rest != 0;) {
      if (key < key_of(rest)) {
        set(call, *larger, rest);
        larger = &node(rest)->left;
        rest = *larger;
      } else {
        set(call, *smaller, rest);
        smaller = &node(rest)->right;
        rest = *smaller;
      }
    }
    set(call, *smaller, 0);
    set(call, *larger, 0);
    set(call, *link, at);

    set(call, spot.previous != 0 ? node(spot.previous)->next : root().first, at);
    set(call, spot.next != 0 ? node(spot.next)->previous : root().last, at);
    ++root().size;
    return at;
  }

  // V{} may be too large for the stack.
  std::uint64_t add_default(const detail::Operation& call, const Spot& spot, KeyGiven key) const {
    if constexpr (sizeof(V) > 4096)
      return add(call, spot, key, *std::unique_ptr<V>(new V{}));
    else
      return add(call, spot, key, V{});
  }

  void take_out(const detail::Operation& call, std::uint64_t at) const {
    if (call.is_lent(at)) {
      throw InvalidState("shared_map: an entry is erased by the function that with(key, F) or for_each(F) lends it to");
    }
    Node* const gone = node(at);
    const KeyView key = key_of(at);
    call.heap().keep(&root(), sizeof(Root));
    std::uint64_t* link = &root().top;
    while (*link != at) link = key < key_of(*link) ? &node(*link)->left : &node(*link)->right;
    std::uint64_t left = gone->left;
    std::uint64_t right = gone->right;
    while (left != 0 && right != 0) {
      if (node(left)->priority >= node(right)->priority) {
        set(call, *link, left);
        link = &node(left)->right;
        left = *link;
      } else {
        set(call, *link, right);
        link = &node(right)->left;
        right = *link;
      }
    }
    set(call, *link, left != 0 ? left : right);

    set(call, gone->previous != 0 ? node(gone->previous)->next : root().first, gone->next);
    set(call, gone->next != 0 ? node(gone->next)->previous : root().last, gone->previous);
    --root().size;
    gone->key.drop(call);
    gone->mapped.drop(call);
    call.heap().give(at, sizeof(Node));
  }

  detail::Store store_;
};

template <class K, class V>
struct Travel<shared_map<K, V>> {
  template <class Encoder>
  static void encode(Encoder& to, const shared_map<K, V>& map) {
    detail::send_place(to, map.store_.place());
  }
  template <class Decoder>
  static shared_map<K, V> decode(Decoder& from) {
    return shared_map<K, V>(detail::receive_place(from));
  }
};

}  // namespace multiproc
