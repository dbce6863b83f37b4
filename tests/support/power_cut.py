"""What a power cut would leave of files, told from a trace of system calls: only what was synced."""

import re

CALLS = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
_CALL = re.compile(
    r"^\d+ +(\w+)\((?:\d+<(TCP:\[[^]]*\]|[^>]*)>(?:\(deleted\))?|\"([^\"]*)\")(.*)\) += (-?\d+)$"
)
_WRITTEN = re.compile(r'^, "([^"]*)", \d+(?:, (\d+))?$')


def traced(command, trace, paths=()):
    """Return the command that runs another under strace, with whole buffers in hexadecimal."""
    chosen = [part for path in paths for part in ("-P", str(path))]
    return [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-xx",
        "-s",
        "1000000",
        "-e",
        f"trace={CALLS}",
        *chosen,
        "-o",
        str(trace),
        *command,
    ]


def _text(hexadecimal):
    if hexadecimal.startswith("TCP:"):
        return hexadecimal
    return bytes.fromhex(hexadecimal.replace("\\x", "")).decode()


def read_calls(trace):
    """Yield (call, path, data, offset or length) of each system call that succeeded, in the order of their ends.

    What is sent to a socket is told where it begins: from then on somebody may have read it.
    """
    begun = {}
    for line in trace.read_text(encoding="utf-8").splitlines():
        thread, _, rest = line.partition(" ")
        if rest.endswith(" <unfinished ...>"):
            begun[thread] = rest.removesuffix(" <unfinished ...>").strip()
            if "<TCP:" not in rest:
                continue
            rest = f"{begun[thread]}) = 0"
        elif "resumed>" in rest:
            rest = begun.pop(thread) + rest.partition("resumed>")[2]
            if "<TCP:" in rest:
                continue
        found = _CALL.match(f"{thread} {re.sub(r' +=', ' =', rest.strip())}")
        if found is None or int(found[5]) < 0:
            continue
        call, path, tail = found[1], _text(found[2] or found[3]), found[4]
        if call in ("pwrite64", "write"):
            data, offset = _WRITTEN.match(tail).groups()
            yield call, path, bytes.fromhex(data.replace("\\x", "")), None if offset is None else int(offset)
        else:
            yield call, path, b"", int(tail.rpartition(",")[2] or 0)


class Disk:
    """Files as programs see them, and as they are on the disk: what was written after the last sync is not there.

    Parameters
    ----------
    files : dict of str to bytes
        What is there, and synced, at the beginning.
    """

    def __init__(self, files):
        self.seen = {path: bytearray(data) for path, data in files.items()}
        self.synced = dict(files)
        self.unsynced = dict.fromkeys(files, 0)

    def apply(self, call, path, data, number):
        """Follow one call; those on other files are left out by whoever calls."""
        if call == "pwrite64":
            file = self.seen.setdefault(path, bytearray())
            file.extend(b"\0" * (number - len(file)))
            file[number : number + len(data)] = data
            self.unsynced[path] = self.unsynced.get(path, 0) + 1
        elif call == "ftruncate":
            file = self.seen.setdefault(path, bytearray())
            del file[number:]
            file.extend(b"\0" * (number - len(file)))
        elif call == "unlink":
            for files in (self.seen, self.synced, self.unsynced):
                files.pop(path, None)
        elif path in self.seen:
            self.synced[path], self.unsynced[path] = bytes(self.seen[path]), 0
