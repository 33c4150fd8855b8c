# SPDX-License-Identifier: MIT
#
# The original's Pipe: python.py 0|1 <rounds>, a string of 64 characters there and back. 0: each process has a CPU of
# its own; 1: both are on one. Prints the seconds that a round trip took.
import multiprocessing
import os
import sys
import time


def answer(end, rounds):
    for _ in range(rounds):
        end.send(end.recv() + "!")


def main(together, rounds):
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    worker = context.Process(target=answer, args=(theirs, rounds + 1))
    worker.start()
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(worker.pid, {usable[0 if together else 1 % len(usable)]})
    os.sched_setaffinity(0, {usable[0]})
    text = "x" * 64
    ours.send(text)
    ours.recv()
    began = time.perf_counter()
    for _ in range(rounds):
        ours.send(text)
        if ours.recv() != text + "!":
            sys.exit("a message was not what was sent")
    took = time.perf_counter() - began
    worker.join()
    return took / rounds


print(main(int(sys.argv[1]), int(sys.argv[2])))
