# SPDX-License-Identifier: MIT
#
# The primes below a number, by the original's Pool or, with no processes, without: python.py <processes> <limit> <primes>
# Prints the seconds it took; a wrong count fails, and nothing is printed.
import multiprocessing
import sys
import time


BLOCK = 1000


def count_share(limit, mine, workers):
    found = 1 if mine == 0 and limit > 2 else 0
    for first in range(BLOCK * mine, limit, BLOCK * workers):
        for n in range(max(first + 1, 3), min(first + BLOCK, limit), 2):
            d = 3
            while d * d <= n and n % d:
                d += 2
            found += d * d > n
    return found


def main():
    processes, limit, primes = (int(word) for word in sys.argv[1:])
    began = time.perf_counter()
    if processes:
        with multiprocessing.get_context("fork").Pool(processes) as pool:
            shares = [(limit, mine, processes) for mine in range(processes)]
            found = sum(pool.starmap(count_share, shares, chunksize=1))
    else:
        found = count_share(limit, 0, 1)
    took = time.perf_counter() - began
    if found != primes:
        sys.exit("counted %d primes below %d, there are %d" % (found, limit, primes))
    print("%.6f" % took)


if __name__ == "__main__":
    main()
