// SPDX-License-Identifier: MIT
//
// src/process/cell_page.hpp: the small objects of a start, side by side in one page.
//
// After a fork the first write to each page of the parent copies it. malloc spreads the objects of one start over three
// or four pages, of which its own tables are two; here it is one. What does not fit in comes from operator new.
#pragma once

#include <cstddef>

#include <multiproc/process/task.hpp>  // take_cell(), give_cell()

namespace multiproc::detail {

template <class T>
struct CellAllocator {
  using value_type = T;

  CellAllocator() noexcept = default;
  template <class U>
  CellAllocator(const CellAllocator<U>&) noexcept {}

  T* allocate(std::size_t count) { return static_cast<T*>(take_cell(count * sizeof(T))); }
  void deallocate(T* at, std::size_t) noexcept { give_cell(at); }

  template <class U>
  bool operator==(const CellAllocator<U>&) const noexcept {
    return true;
  }
};

}  // namespace multiproc::detail
