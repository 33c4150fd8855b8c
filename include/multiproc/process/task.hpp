// SPDX-License-Identifier: MIT
//
// multiproc/process/task.hpp: a callable and its arguments, as they wait for their process and as they travel to it.
//
// A forked child finds the task in its copy of memory: anything callable will do. To a spawned child it is sent: the
// code as (module, offset), the state and the arguments as bytes, handles as descriptors. That takes a callable which
// is no more than that: a function pointer, a captureless lambda, an empty functor, a functor that is Sendable (with
// `serialize`, or an aggregate of Sendables), or copied(lambda).
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <multiproc/ipc/detail/given.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/ipc/sendable.hpp>

namespace multiproc {

/// A lambda whose captures its writer declared to be values: they travel as a copy of their bytes. See copied().
template <class F>
class Copied {
  static_assert(std::is_class_v<F>,
                "copied(): this is no lambda but an address, which means nothing in another process. A function is "
                "passed to Process as it is");
  static_assert(
      std::is_trivially_copyable_v<F>,
      "copied(): a capture is not trivially copyable (a std::string or std::vector, say). Pass it to Process as "
      "an argument instead");

 public:
  explicit Copied(F function) : function_(std::move(function)) {}

  template <class... Args>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(function_, std::forward<Args>(args)...);
  }

  std::array<std::byte, sizeof(F)> to_bytes() const {
    std::array<std::byte, sizeof(F)> bytes;
    std::memcpy(bytes.data(), std::addressof(function_), sizeof(F));
    return bytes;
  }

  // A closure has no default constructor to copy the bytes into: it is born in a union, out of them.
  static Copied from_bytes(const std::array<std::byte, sizeof(F)>& bytes) {
    union Storage {
      Storage() {}
      F function;
    } storage;
    std::memcpy(static_cast<void*>(std::addressof(storage.function)), bytes.data(), sizeof(F));
    return Copied(storage.function);
  }

 private:
  F function_;
};

/// Says of a lambda with captures that they are values, so that it may be sent: mp::Process{mp::copied([n] { ... })}.
/// Only trivially copyable captures. A reference or a pointer among them would compile and point to nowhere in the
/// child: capture by value.
template <class F>
Copied<std::decay_t<F>> copied(F&& lambda) {
  return Copied<std::decay_t<F>>(std::forward<F>(lambda));
}

namespace detail {

/// Memory for what a start needs, close together where it is small: see src/process/cell_page.hpp. For alignments up to
/// that of operator new.
void* take_cell(std::size_t size);
void give_cell(void* at) noexcept;

/// A callable with its arguments, its type forgotten.
class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  static void* operator new(std::size_t size) { return take_cell(size); }
  static void operator delete(void* at) noexcept { give_cell(at); }
  static void* operator new(std::size_t size, std::align_val_t alignment) { return ::operator new(size, alignment); }
  static void operator delete(void* at, std::align_val_t alignment) noexcept { ::operator delete(at, alignment); }

  /// Calls it, once. What it throws comes through.
  virtual void run() = 0;

  /// In a forked child, before run(): closes the Connections that it was not given. See Given. Async-signal-safe.
  virtual void leave_others() const noexcept = 0;

  /// Destroys callable and arguments: the child has its own by now, and what waits for the last copy of one to go (the
  /// end of a connection, say) must not wait for this one. Nothing else may be called afterwards.
  virtual void let_go() noexcept = 0;

  /// Writes what maker() needs. Throws NotSendable, which names the part that can't travel, and what to do.
  virtual void encode(Encoder& out) const = 0;

  using Maker = std::unique_ptr<Task> (*)(Decoder&);
  /// The function that makes this task anew from what encode() wrote, in a process of the same image.
  virtual Maker maker() const noexcept = 0;
};

/// How a callable travels.
enum class Passage { as_code, as_nothing, as_copied_bytes, as_value, not_at_all };

template <class F>
inline constexpr bool is_copied = false;
template <class F>
inline constexpr bool is_copied<Copied<F>> = true;

template <class F>
consteval Passage how_callable_travels() {
  if constexpr (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>) {
    return Passage::as_code;
  } else if constexpr (is_copied<F>) {
    return Passage::as_copied_bytes;
  } else if constexpr (std::is_empty_v<F> && std::is_default_constructible_v<F>) {
    return Passage::as_nothing;
  } else if constexpr (Sendable<F>) {
    return Passage::as_value;
  } else {
    return Passage::not_at_all;
  }
}

/// The name that a person knows the type by.
std::string type_name(const std::type_info& type);

[[noreturn]] void throw_target_cannot_travel(const std::type_info& type);
[[noreturn]] void throw_argument_cannot_travel(std::size_t position, const std::type_info& type, const char* why);

/// The travelling form of a function of this process, and back. Throws NotSendable and DecodeError.
void encode_code(Encoder& out, const void* function);
const void* decode_code(Decoder& in);

/// "text" as an argument: kept as a string, so that it outlives the caller and can travel, and given to the target as
/// the const char* that it was.
struct Literal {
  std::string text;
};

template <class T>
struct Stored {
  using type = std::decay_t<T>;
};
template <class T>
  requires std::is_array_v<std::remove_reference_t<T>> &&
           std::is_same_v<std::remove_cv_t<std::remove_extent_t<std::remove_reference_t<T>>>, char>
struct Stored<T> {
  using type = Literal;
};

template <class T, class U>
T store(U&& value) {
  if constexpr (std::is_same_v<T, Literal>) {
    return Literal{std::string(value, ::strnlen(value, std::extent_v<std::remove_reference_t<U>>))};
  } else {
    return T(std::forward<U>(value));
  }
}

inline const char* hand_over(Literal& literal) noexcept {
  return literal.text.c_str();
}
template <class T>
T&& hand_over(T& value) noexcept {
  return std::move(value);
}

template <class F, class... Args>
class BoundTask final : public Task {
  static constexpr Passage kPassage = how_callable_travels<F>();
  static constexpr bool kSendable = kPassage != Passage::not_at_all && (Sendable<Args> && ...);

 public:
  template <class... Parts>
  explicit BoundTask(std::in_place_t, Parts&&... parts) : parts_(std::in_place, std::forward<Parts>(parts)...) {}

  void run() override {
    std::apply([](F& target, Args&... args) { (void)std::invoke(std::move(target), hand_over(args)...); }, *parts_);
  }

  void leave_others() const noexcept override {
    if (!Given::is_needed()) return;
    Given given;
    if constexpr (kPassage == Passage::as_value) given.look_into(std::get<0>(*parts_));
    if constexpr (kPassage == Passage::as_copied_bytes || kPassage == Passage::not_at_all) given.note_unseen();
    std::apply([&](const F&, const Args&... args) { (look_into_argument(given, args), ...); }, *parts_);
    given.close_others();
  }

  // Nothing is written where there is nothing to destroy: after a fork that would cost the copy of a page.
  void let_go() noexcept override {
    if constexpr (!std::is_trivially_destructible_v<Parts>) parts_.reset();
  }

  void encode([[maybe_unused]] Encoder& out) const override {
    if constexpr (kSendable) {
      const F& target = std::get<0>(*parts_);
      if constexpr (kPassage == Passage::as_code) encode_code(out, reinterpret_cast<const void*>(target));
      if constexpr (kPassage == Passage::as_copied_bytes) out(target.to_bytes());
      if constexpr (kPassage == Passage::as_value) out(target);
      std::apply([&](const F&, const Args&... args) { (out(args), ...); }, *parts_);
    } else {
      if constexpr (kPassage == Passage::not_at_all) throw_target_cannot_travel(typeid(F));
      std::size_t position = 0;
      ((++position,
        Sendable<Args> ? void() : throw_argument_cannot_travel(position, typeid(Args), why_not_sendable_text<Args>())),
       ...);
    }
  }

  Maker maker() const noexcept override {
    if constexpr (kSendable) {
      return [](Decoder& in) -> std::unique_ptr<Task> {
        // Braces: the parts are read in the order in which they were written.
        return std::unique_ptr<Task>(new BoundTask(Parts{decode_target(in), in.template read<Args>()...}));
      };
    } else {
      return nullptr;
    }
  }

 private:
  using Parts = std::tuple<F, Args...>;
  explicit BoundTask(Parts&& parts) : parts_(std::move(parts)) {}

  template <class T>
  static void look_into_argument([[maybe_unused]] Given& given, [[maybe_unused]] const T& argument) noexcept {
    if constexpr (!std::is_same_v<T, Literal>) given.look_into(argument);
  }

  static F decode_target([[maybe_unused]] Decoder& in) {
    if constexpr (kPassage == Passage::as_code) {
      return reinterpret_cast<F>(const_cast<void*>(decode_code(in)));
    } else if constexpr (kPassage == Passage::as_nothing) {
      return F();
    } else if constexpr (kPassage == Passage::as_copied_bytes) {
      return F::from_bytes(in.template read<decltype(std::declval<const F&>().to_bytes())>());
    } else {
      return in.template read<F>();
    }
  }

  std::optional<Parts> parts_;
};

template <class F, class... Args>
std::unique_ptr<Task> make_task(F&& target, Args&&... args) {
  using Target = std::decay_t<F>;
  static_assert(
      std::is_invocable_v<Target, decltype(hand_over(std::declval<typename Stored<Args>::type&>()))...>,
      "Process: the target can't be called with these arguments (they arrive as rvalues, as with std::thread: "
      "a target that takes a non-const reference does not fit; results come back through a Queue, a Value or "
      "a Pipe)");
  return std::make_unique<BoundTask<Target, typename Stored<Args>::type...>>(
      std::in_place, std::forward<F>(target), store<typename Stored<Args>::type>(std::forward<Args>(args))...);
}

/// Refuses at compile time, with a sentence, what BoundTask::encode would refuse at run time.
template <class F, class... Args>
consteval void require_travels() {
  static_assert(
      how_callable_travels<std::decay_t<F>>() != Passage::not_at_all,
      "spawn: this target can't travel to another process: it refers to memory of this one. Use a function, a "
      "captureless lambda, a functor with serialize(), or copied(lambda) when all captures are values");
  (require_sendable<typename Stored<Args>::type>(), ...);
}

}  // namespace detail
}  // namespace multiproc
