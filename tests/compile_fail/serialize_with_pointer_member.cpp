// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a raw pointer points into this process's memory
//
// What a serialize function says can't be seen through a concept; it is refused when its body is compiled.

#include <multiproc/ipc/encode.hpp>

class Node {
 public:
  template <class Archive>
  void serialize(Archive& archive) {
    archive(value_, next_);
  }

 private:
  int value_ = 0;
  Node* next_ = nullptr;
};

multiproc::Encoded send(const Node& node) {
  return multiproc::encode(node);
}
