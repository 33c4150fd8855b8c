// SPDX-License-Identifier: MIT
//
// multiproc/os/streams.hpp: bringing out what the stdio streams of this process hold.
//
// Both functions may be called in a forked child, whatever other threads did at the fork: what they need from the
// loader is looked up when the program is loaded.
#pragma once

namespace multiproc::os {

/// Flushes every stdio stream that holds output, as fflush(nullptr) does, with three differences: a stream whose lock
/// another thread holds is left to that thread instead of waited for (it may be reading, for ever); an input stream is
/// left alone (a child that gives back what was read ahead would move the position that it shares with its parent);
/// and when nothing is held nothing is written to, which saves a fresh child its page faults.
void flush_streams() noexcept;

/// Forgets what the streams hold. For a forked child: it is the parent's, who will bring it out. Only where the parent
/// could not flush before (another thread was writing, the disk was full) is there anything to forget.
void discard_streams() noexcept;

}  // namespace multiproc::os
