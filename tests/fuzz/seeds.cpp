// SPDX-License-Identifier: MIT
//
// fuzz_seeds <folder>: what the fuzz targets begin with, a folder for each: messages as they should be.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <sys/socket.h>

#include <multiproc/ipc/encode.hpp>
#include <multiproc/ipc/pipe.hpp>

#include "fuzz/types.hpp"

namespace {

namespace fs = std::filesystem;

void write(const fs::path& folder, std::uint8_t first, std::span<const std::byte> bytes) {
  static int number = 0;
  fs::create_directories(folder);
  std::ofstream file(folder / std::to_string(++number), std::ios::binary);
  file.put(static_cast<char>(first));
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

// Takes the packet of what was just sent out of the kernel's queue.
std::vector<std::byte> packet(const multiproc::Connection& in) {
  std::vector<std::byte> bytes(100'000);
  const ssize_t size = ::recv(in.fileno(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("fuzz_seeds <folder>\n", stderr);
    return 2;
  }
  const fs::path folder = argv[1];

  for (std::size_t i = 0; i < fuzz::count_of(fuzz::All{}); ++i) {
    fuzz::with_type(fuzz::All{}, i, [&]<class T>() {
      write(folder / "decode", static_cast<std::uint8_t>(i), multiproc::encode(T{}).bytes);
    });
  }
  const fuzz::Job job{"a name", {{1, 2}, {3, 4}}, {{"one", 1}, {"none", {}}}, true};
  write(folder / "decode", 21, multiproc::encode(job).bytes);
  write(folder / "decode", 5, multiproc::encode(std::vector<std::string>{"a", "", "ccc"}).bytes);
  write(folder / "decode", 23, multiproc::encode(fuzz::Account("me", 3.5)).bytes);

  auto [in, out] = multiproc::Pipe(false);
  out.send(5);
  write(folder / "packet", 0, packet(in));
  out.send(std::string("some text"));
  write(folder / "packet", 1, packet(in));
  out.send(job);
  write(folder / "packet", 2, packet(in));
  out.send_bytes("bytes");
  for (std::uint8_t way = 3; way < 7; ++way) {
    out.send_bytes("bytes");
    write(folder / "packet", way, packet(in));
  }
  out.send_bytes(std::vector<std::byte>(40'000));  // in a block: its descriptor stays behind
  write(folder / "packet", 3, packet(in));
  out.send(in);
  write(folder / "packet", 7, packet(in));
}
