// SPDX-License-Identifier: MIT

#include <multiproc/os/result.hpp>

#include <string>
#include <system_error>

#include <multiproc/error.hpp>

namespace multiproc::os {

void throw_failure(Failure failure, std::string_view object, std::string_view remedy) {
  std::string text = failure.call;
  if (!object.empty()) text.append(": ").append(object);
  text.append(": ").append(std::generic_category().message(failure.error));
  if (!remedy.empty()) text.append(". ").append(remedy);
  throw SystemError(failure.error, text);
}

}  // namespace multiproc::os
