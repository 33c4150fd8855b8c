// SPDX-License-Identifier: MIT
//
// In an event loop: Boost.Asio waits for the messages of a child and for its end, beside whatever else it waits for.
#include <multiproc/multiproc.hpp>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>

#include <functional>
#include <string>
#include <utility>

namespace mp = multiproc;
namespace asio = boost::asio;
using Descriptor = asio::posix::stream_descriptor;

void tell(const mp::Connection& parent) {
  for (const char* word : {"one", "two", "three"}) parent.send(std::string(word));
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  auto [ours, theirs] = mp::Pipe();
  mp::Process child{tell, std::move(theirs)};
  child.start();

  asio::io_context loop;
  Descriptor messages(loop, ours.fileno());  // readable: recv() has something to say
  Descriptor end(loop, child.sentinel());    // readable: the process has ended

  const std::function<void()> next = [&, &ours = ours] {
    messages.async_wait(Descriptor::wait_read, [&](const boost::system::error_code& error) {
      if (error) return;
      try {
        while (const auto word = ours.recv<std::string>(mp::Deadline::now())) mp::println("{}", *word);
        next();
      } catch (const mp::EndOfStream&) {
        mp::println("the other end is gone");
      }
    });
  };
  next();
  end.async_wait(Descriptor::wait_read, [&](const boost::system::error_code&) {
    child.join();
    mp::println("{}: {}", child.name(), child.exit_status()->describe());
  });
  loop.run();

  messages.release();  // they belong to the Connection and to the Process
  end.release();
}
