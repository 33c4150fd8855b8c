# SPDX-License-Identifier: MIT
#
# print(..., flush=True) into a pipe that a child reads, counts and compares. Prints the seconds that a line took.
import os
import sys
import time

LINE = b"worker 123 has done step 123456 ok\n"


def read_to_the_end(source):
    text = bytearray()
    while chunk := os.read(source, 65536):
        text += chunk
    return bytes(text)


def main(lines):
    source, target = os.pipe()
    reader = os.fork()
    if reader == 0:
        os.close(target)
        os._exit(0 if read_to_the_end(source) == LINE * lines else 1)
    os.close(source)
    out = os.fdopen(target, "w")
    worker, step = 123, 123456
    began = time.perf_counter()
    for _ in range(lines):
        print(f"worker {worker} has done step {step} ok", file=out, flush=True)
    took = time.perf_counter() - began
    out.close()
    if os.waitpid(reader, 0)[1] != 0:
        sys.exit("the reader saw something else")
    print(took / lines)


main(int(sys.argv[1]))
