"""A small service that strace watches: ``python -m tests.support.log_traced URL HEARD REQUESTS SIZE``.

It puts one request after the other, and notes each one in a file when it was acknowledged.
"""

import os
import sys

from evergreen.tasks.io.prediction_log.records import Served
from evergreen.tasks.io.prediction_log.writer import LogWriter

MODEL = "fraud"


def main(url, heard, requests, size):
    writer = LogWriter(url)
    notes = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in range(int(requests)):
        row = Served(
            prediction_id=f"p{number:04}",
            position=float(number),
            version=1,
            variant="champion",
            score=0.5,
            features={"x": "a" * int(size)},
        )
        writer.put(MODEL, [row], keyed=True).result(60)
        os.write(notes, f"p{number:04}\n".encode())
    writer.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
