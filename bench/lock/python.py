# SPDX-License-Identifier: MIT
#
# The original's Lock: python.py alone|contended <rounds>. Prints the seconds that a round took; a wrong count fails.
import multiprocessing
import os
import sys
import time


def raise_counter(lock, counter, start, rounds):
    start.wait()
    for _ in range(rounds):
        lock.acquire()
        counter.value += 1
        lock.release()


def contended(rounds):
    context = multiprocessing.get_context("fork")
    lock, counter, start = context.Lock(), context.RawValue("q", 0), context.Event()
    workers = [context.Process(target=raise_counter, args=(lock, counter, start, rounds)) for _ in range(2)]
    usable = sorted(os.sched_getaffinity(0))
    for index, worker in enumerate(workers):
        worker.start()
        os.sched_setaffinity(worker.pid, {usable[index % len(usable)]})
    began = time.perf_counter()
    start.set()
    for worker in workers:
        worker.join()
    took = time.perf_counter() - began
    if counter.value != 2 * rounds:
        sys.exit("the count is wrong")
    return took / (2 * rounds)


def alone(rounds):
    lock = multiprocessing.get_context("fork").Lock()
    began = time.perf_counter()
    for _ in range(rounds):
        lock.acquire()
        lock.release()
    return (time.perf_counter() - began) / rounds


print({"alone": alone, "contended": contended}[sys.argv[1]](int(sys.argv[2])))
