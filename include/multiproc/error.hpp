// SPDX-License-Identifier: MIT
//
// multiproc/error.hpp: everything that this library throws.
//
// Outcomes return, failures throw. Empty, full and timed out are values. The kernel refusing is a SystemError (a
// std::system_error) whose text says call, object, reason and, where there is one, the remedy. All else derives
// from Error.
#pragma once

#include <stdexcept>
#include <string>
#include <system_error>

namespace multiproc {

/// The kernel refused. what() reads "call: object: reason. Remedy."; code() carries the errno.
class SystemError : public std::system_error {
 public:
  SystemError(int error, const std::string& text) : std::system_error(error, std::generic_category()), text_(text) {}
  const char* what() const noexcept override { return text_.what(); }

 private:
  std::runtime_error text_;  // a string whose copies can't throw
};

/// Base of everything that is not the kernel's refusal.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The call does not fit the state of the object: join before start, start twice, use after close, another process's
/// child.
class InvalidState : public Error {
 public:
  using Error::Error;
};

/// A value that was asked for is not to be had: an unknown start method, a feature this build does not have.
class Unsupported : public Error {
 public:
  using Error::Error;
};

/// A callable or an argument can't travel to a process with another memory image. what() names it and the remedy.
class NotSendable : public Error {
 public:
  using Error::Error;
};

/// Bytes that are no encoding of the type that was asked for: cut short, absurd lengths, another type.
class DecodeError : public Error {
 public:
  using Error::Error;
};

/// A child was born and ended, or gave up, before its target could begin.
class LaunchError : public Error {
 public:
  using Error::Error;
};

/// main() does not call main_guard(), without which no child can be started by spawn. what() shows the line to add.
class MainGuardMissing : public LaunchError {
 public:
  using LaunchError::LaunchError;
};

/// A bound on time passed in a call that has no other way to say so.
class TimeoutError : public Error {
 public:
  using Error::Error;
};

}  // namespace multiproc
