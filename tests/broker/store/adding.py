"""A process that adds batches to a store until it is killed, and says each that it got an answer for."""

import sys
import time

from fieldpost.broker.store.records import StoreLimits
from fieldpost.broker.store.store import Store
from tests.broker.store.stores import batch, ids, new

MESSAGES = 50

if __name__ == "__main__":
    limits = StoreLimits(reserve_octets=0)
    store = Store.open(sys.argv[1], limits=limits, new_id=ids(), now=time.time)
    number = store.last_batch("run-1")
    while True:
        number += 1
        store.add([batch(number, *(new(value=[number, part]) for part in range(MESSAGES)))])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
