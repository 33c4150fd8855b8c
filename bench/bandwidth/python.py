# SPDX-License-Identifier: MIT
#
# The original's Pipe, one way: python.py bytes|objects <bytes> <messages>. Prints the seconds that a message took.
import multiprocessing
import os
import sys
import time


def receive_bytes(end, size, count):
    for _ in range(count):
        if len(end.recv_bytes()) != size:
            sys.exit("a message was not what was sent")


def receive_objects(end, _, count):
    for number in range(count):
        got = end.recv()
        if got != (number, "a name of some length", [1.0, 2.0, 3.0, 4.0]):
            sys.exit("a message was not what was sent")


def main(kind, size, count):
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(False)
    target = receive_bytes if kind == "bytes" else receive_objects
    worker = context.Process(target=target, args=(receiving, size, count))
    worker.start()
    usable = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(worker.pid, {usable[1 % len(usable)]})
    os.sched_setaffinity(0, {usable[0]})
    message = b"x" * size
    began = time.perf_counter()
    for number in range(count):
        if kind == "bytes":
            sending.send_bytes(message)
        else:
            sending.send((number, "a name of some length", [1.0, 2.0, 3.0, 4.0]))
    worker.join()
    took = time.perf_counter() - began
    if worker.exitcode != 0:
        sys.exit("the receiver failed")
    return took / count


print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
