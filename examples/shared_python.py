# SPDX-License-Identifier: MIT
#
# The other half of shared_python.cpp: squares the numbers in the block whose name it is given.
import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory


def attach(name):
    """A block that is somebody else's: it stays when this program ends."""
    try:
        return SharedMemory(name, track=False)
    except TypeError:  # Python before 3.13
        block = SharedMemory(name)
        resource_tracker.unregister(block._name, "shared_memory")
        return block


block = attach(sys.argv[1])
with block.buf.cast("d") as numbers:
    print("in Python:", numbers.tolist())
    for i, number in enumerate(numbers):
        numbers[i] = number * number
block.close()
