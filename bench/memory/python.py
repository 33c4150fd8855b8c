# SPDX-License-Identifier: MIT
#
# The original's shared memory: python.py named <size> <rounds> | increment <rounds> | copy <size> <rounds>
# Prints the seconds that a round took; a wrong answer fails.
import multiprocessing
import sys
import time
from multiprocessing import shared_memory


def named(size, rounds):
    began = time.perf_counter()
    for _ in range(rounds):
        block = shared_memory.SharedMemory(create=True, size=size)
        attached = shared_memory.SharedMemory(block.name)
        block.buf[0], block.buf[size - 1] = 1, 2
        if (attached.buf[0], attached.buf[size - 1]) != (1, 2):
            sys.exit("the block is wrong")
        attached.close()
        block.close()
        block.unlink()
    return (time.perf_counter() - began) / rounds


def increment(rounds):
    value = multiprocessing.Value("q", 0)
    began = time.perf_counter()
    for _ in range(rounds):
        with value.get_lock():
            value.value += 1
    took = (time.perf_counter() - began) / rounds
    if value.value != rounds:
        sys.exit("the count is wrong")
    return took


def copy(size, rounds):
    source = bytes(i * 31 % 251 for i in range(251)) * (size // 251 + 1)
    source = memoryview(source)[:size]
    target = memoryview(multiprocessing.Array("B", size, lock=False)).cast("B")
    target[:] = source
    began = time.perf_counter()
    for _ in range(rounds):
        target[:] = source
    took = (time.perf_counter() - began) / rounds
    if target != source:
        sys.exit("the copy is wrong")
    return took


print({"named": named, "increment": increment, "copy": copy}[sys.argv[1]](*map(int, sys.argv[2:])))
