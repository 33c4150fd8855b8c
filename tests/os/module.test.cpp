// SPDX-License-Identifier: MIT

#include <multiproc/os/module.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/in_child.hpp"

namespace {

using multiproc::os::CodeAddress;
using multiproc::os::locate_code;
using multiproc::os::resolve_code;

using Function = int (*)(int);

[[gnu::noinline]] int plus_one(int x) {
  return x + 1;
}
template <int n>
[[gnu::noinline]] int plus(int x) {
  return x + n;
}
const Function thunk = [](int x) { return x * 3; };
int some_data = 1;

const void* address_of(Function function) {
  return reinterpret_cast<const void*>(function);
}

std::string to_hex(const std::string& bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += digits[static_cast<unsigned char>(byte) >> 4];
    text += digits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

std::string from_hex(const std::string& text) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// --- the same code in another process --------------------------------------------------------------------------------

// Resolves `code` in a fresh run of this program and calls it with 7; what that printed.
std::string call_elsewhere(const CodeAddress& code) {
  const auto result =
      support::run_program("/proc/self/exe", {"--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_Elsewhere.*"},
                           {.env = {{"MULTIPROC_TEST_ID", to_hex(code.build_id)},
                                    {"MULTIPROC_TEST_PATH", code.path},
                                    {"MULTIPROC_TEST_OFFSET", std::to_string(code.offset)}}});
  const auto at = result.out.find("elsewhere: ");
  if (at == std::string::npos) return result.out + result.err;
  return result.out.substr(at + 11, result.out.find('\n', at) - at - 11);
}

TEST(DISABLED_Elsewhere, ResolvesAndCalls) {
  const CodeAddress code{from_hex(std::getenv("MULTIPROC_TEST_ID")), std::getenv("MULTIPROC_TEST_PATH"),
                         std::strtoull(std::getenv("MULTIPROC_TEST_OFFSET"), nullptr, 10)};
  const auto resolved = resolve_code(code);
  if (resolved.address == nullptr) {
    std::printf("elsewhere: %s\n", resolved.problem.c_str());
  } else {
    std::printf("elsewhere: %d\n", reinterpret_cast<Function>(const_cast<void*>(resolved.address))(7));
  }
}

TEST(ModuleTest, FunctionsOfTheProgramAreTheSameHereAndElsewhere) {
  const struct {
    Function function;
    const char* result;
  } cases[] = {{plus_one, "8"}, {plus<10>, "17"}, {plus<20>, "27"}, {thunk, "21"}};
  for (const auto& [function, result] : cases) {
    const auto code = locate_code(address_of(function));
    ASSERT_TRUE(code.has_value());

    EXPECT_EQ(code->path, "") << "it is the executable";
    EXPECT_FALSE(code->build_id.empty());
    EXPECT_EQ(resolve_code(*code).address, address_of(function));
    EXPECT_EQ(resolve_code(*code).problem, "");
    EXPECT_EQ(call_elsewhere(*code), result);
  }
  EXPECT_NE(locate_code(address_of(plus<10>))->offset, locate_code(address_of(plus<20>))->offset);
}

TEST(ModuleTest, AFunctionOfTheCLibraryIsTheSameHereAndElsewhere) {
  const void* const function = ::dlsym(RTLD_DEFAULT, "isalpha");
  ASSERT_NE(function, nullptr);

  const auto code = locate_code(function);

  ASSERT_TRUE(code.has_value());
  EXPECT_NE(code->path.find("libc"), std::string::npos) << code->path;
  EXPECT_EQ(resolve_code(*code).address, function);
  EXPECT_EQ(call_elsewhere(*code), "0") << "7 is no letter";
}

TEST(ModuleTest, WhatIsNoCodeOfAModuleCantTravel) {
  int on_stack = 0;
  const auto on_heap = std::make_unique<int>(0);
  void* const made_at_run_time = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  for (const void* address :
       {static_cast<const void*>(nullptr), static_cast<const void*>(&on_stack), static_cast<const void*>(on_heap.get()),
        static_cast<const void*>(&some_data), static_cast<const void*>(made_at_run_time),
        reinterpret_cast<const void*>(1), reinterpret_cast<const void*>(UINTPTR_MAX),
        reinterpret_cast<const void*>(std::uintptr_t{1} << 63)}) {
    EXPECT_FALSE(locate_code(address).has_value()) << address;
  }
  ::munmap(made_at_run_time, 4096);
}

TEST(ModuleTest, AnotherBuildIsRefusedWithASentence) {
  const CodeAddress good = *locate_code(address_of(plus_one));
  std::string flipped = good.build_id;
  flipped[0] = static_cast<char>(flipped[0] ^ 1);

  for (const std::string& id : {std::string{}, std::string{"x"}, flipped, good.build_id + "x", good.build_id.substr(1),
                                std::string(1 << 20, 'x')}) {
    const auto resolved = resolve_code({id, "", good.offset});
    EXPECT_EQ(resolved.address, nullptr);
    EXPECT_NE(resolved.problem.find("build ids differ"), std::string::npos) << resolved.problem;
  }
}

TEST(ModuleTest, AnOffsetOutsideTheCodeIsRefused) {
  const CodeAddress good = *locate_code(address_of(plus_one));
  const auto data = reinterpret_cast<std::uintptr_t>(&some_data) -
                    (reinterpret_cast<std::uintptr_t>(address_of(plus_one)) - good.offset);

  for (const std::uint64_t offset : {std::uint64_t{0}, static_cast<std::uint64_t>(data), std::uint64_t{1} << 40,
                                     UINT64_MAX, UINT64_MAX - 4096, 0 - good.offset}) {
    const auto resolved = resolve_code({good.build_id, "", offset});
    EXPECT_EQ(resolved.address, nullptr) << offset;
    EXPECT_NE(resolved.problem, "");
  }
}

TEST(ModuleTest, ALibraryThatIsNotThereIsRefusedWithTheLoadersReason) {
  for (const char* path : {"/nowhere/at/all.so", "/etc/passwd", "/", "no such library"}) {
    const auto resolved = resolve_code({"an id", path, 64});

    EXPECT_EQ(resolved.address, nullptr);
    EXPECT_NE(resolved.problem.find("can't be loaded: "), std::string::npos) << resolved.problem;
  }
}

// --- libraries that come and go --------------------------------------------------------------------------------------

// A copy of a small library of glibc that no program is linked with, in a file of its own.
class LibraryTest : public testing::Test {
 protected:
  static constexpr const char* kFunction = "__ctype_get_mb_cur_max";  // takes nothing, returns 1

  void SetUp() override {
    void* const library = ::dlopen("libBrokenLocale.so.1", RTLD_NOW);
    ASSERT_NE(library, nullptr) << ::dlerror();
    Dl_info info{};
    ASSERT_NE(::dladdr(::dlsym(library, kFunction), &info), 0);
    std::ifstream in{info.dli_fname, std::ios::binary};
    image_.assign(std::istreambuf_iterator<char>{in}, {});
    ::dlclose(library);
    ASSERT_GT(image_.size(), sizeof(ElfW(Ehdr)));
    path_ = std::filesystem::path{testing::TempDir()} /
            ("os_module_test." + std::to_string(::getpid()) + "." + std::to_string(++serial_) + ".so");
    store(image_);
  }
  void TearDown() override {
    std::error_code gone;
    std::filesystem::remove(path_, gone);
  }

  // Replaces the file as an upgrade does: a new file under the old name.
  void store(const std::string& image) {
    std::error_code gone;
    std::filesystem::remove(path_, gone);
    std::ofstream{path_, std::ios::binary} << image;
  }

  // Loads the library, asks where `kFunction` is, and unloads it.
  CodeAddress locate_in_library() {
    void* const library = ::dlopen(path_.c_str(), RTLD_NOW);
    EXPECT_NE(library, nullptr) << ::dlerror();
    const auto code = locate_code(::dlsym(library, kFunction));
    EXPECT_TRUE(code.has_value());
    ::dlclose(library);
    EXPECT_FALSE(is_loaded());
    return code.value_or(CodeAddress{});
  }
  bool is_loaded() const {
    void* const library = ::dlopen(path_.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (library != nullptr) ::dlclose(library);
    return library != nullptr;
  }

  // The image without its build id: the note is given a type that nobody knows.
  std::string without_build_id() const {
    constexpr std::array<char, 16> note{4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0, 'G', 'N', 'U', 0};
    std::string image = image_;
    const auto at = std::search(image.begin(), image.end(), note.begin(), note.end());
    EXPECT_NE(at, image.end()) << "the library has no build id";
    if (at != image.end()) *(at + 8) = 99;
    return image;
  }

  // The image with one bit changed at an offset from its load address.
  std::string with_other_code(std::string image, std::uint64_t offset) const {
    ElfW(Ehdr) header;
    std::memcpy(&header, image.data(), sizeof header);
    for (int i = 0; i < header.e_phnum; ++i) {
      ElfW(Phdr) part;
      std::memcpy(&part, image.data() + header.e_phoff + static_cast<std::size_t>(i) * sizeof part, sizeof part);
      if (part.p_type != PT_LOAD || offset < part.p_vaddr || offset - part.p_vaddr >= part.p_filesz) continue;
      image[part.p_offset + (offset - part.p_vaddr)] ^= 1;
      return image;
    }
    ADD_FAILURE() << "no such place in the image";
    return image;
  }

  std::string image_;
  std::filesystem::path path_;

 private:
  static inline int serial_ = 0;
};

TEST_F(LibraryTest, IsNamedByItsPathAndLoadedAgainWhereItIsNot) {
  const CodeAddress code = locate_in_library();
  EXPECT_EQ(code.path, path_.string());

  const auto result = support::in_child([&] {  // for it stays loaded
    const auto resolved = resolve_code(code);
    EXPECT_NE(resolved.address, nullptr) << resolved.problem;
    EXPECT_TRUE(is_loaded());
    void* const library = ::dlopen(path_.c_str(), RTLD_NOW);
    EXPECT_EQ(resolved.address, ::dlsym(library, kFunction));
    ::dlclose(library);
    EXPECT_EQ(resolve_code(code).address, resolved.address);
  });

  EXPECT_EQ(result.status, 0) << result.out;
  EXPECT_EQ(call_elsewhere(code), "1");
}

TEST_F(LibraryTest, LoadedByARelativePathItTravelsByAnAbsoluteOne) {
  const auto result = support::in_child(
      [this] {
        void* const library = ::dlopen(("./" + path_.filename().string()).c_str(), RTLD_NOW);
        ASSERT_NE(library, nullptr) << ::dlerror();
        const auto code = locate_code(::dlsym(library, kFunction));
        ASSERT_TRUE(code.has_value());

        EXPECT_EQ(code->path, std::filesystem::canonical(path_).string());
        EXPECT_EQ(resolve_code(*code).address, ::dlsym(library, kFunction));
        EXPECT_EQ(call_elsewhere(*code), "1");
      },
      {.cwd = path_.parent_path().string()});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_F(LibraryTest, ReplacedByAnotherBuildItIsRefusedAndNotLeftLoaded) {
  const CodeAddress code = locate_in_library();
  std::string other = image_;
  const std::size_t id = other.find(code.build_id);
  ASSERT_NE(id, std::string::npos);
  other[id] ^= 1;
  store(other);

  const auto resolved = resolve_code(code);

  EXPECT_EQ(resolved.address, nullptr);
  EXPECT_NE(resolved.problem.find(path_.string()), std::string::npos) << resolved.problem;
  EXPECT_NE(resolved.problem.find("build ids differ"), std::string::npos) << resolved.problem;
  EXPECT_FALSE(is_loaded());
}

TEST_F(LibraryTest, GoneItIsRefused) {
  const CodeAddress code = locate_in_library();
  std::filesystem::remove(path_);

  EXPECT_NE(resolve_code(code).problem.find("can't be loaded"), std::string::npos);
}

TEST_F(LibraryTest, WithoutABuildIdItsCodeIsItsIdentity) {
  const std::string with_id = locate_in_library().build_id;
  store(without_build_id());

  const CodeAddress code = locate_in_library();

  EXPECT_TRUE(code.build_id.starts_with("code:")) << to_hex(code.build_id);
  EXPECT_EQ(code.build_id, locate_in_library().build_id) << "wherever it is loaded";
  EXPECT_EQ(call_elsewhere(code), "1");
  // One bit of one instruction makes it another library, and so does a build id.
  store(with_other_code(without_build_id(), code.offset));
  EXPECT_NE(call_elsewhere(code).find("build ids differ"), std::string::npos);
  store(image_);
  EXPECT_NE(call_elsewhere(code).find("build ids differ"), std::string::npos);
  EXPECT_NE(code.build_id, with_id);
}

}  // namespace
