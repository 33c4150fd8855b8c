// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a raw pointer points into this process's memory
// expect-regex: NotSendable<Job, const char ?\*

#include <optional>
#include <string>
#include <vector>

#include <multiproc/ipc/encode.hpp>

struct Attachment {
  int size = 0;
  const char* data = nullptr;
};

struct Job {
  std::string name{};
  std::vector<std::optional<Attachment>> attachments{};
};

multiproc::Encoded send(const Job& job) {
  return multiproc::encode(job);
}
