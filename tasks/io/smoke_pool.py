"""Processes for smoke tests, each forked from one that has imported what loads models and nothing else.

``python -m evergreen.tasks.io.smoke_pool FD`` reads a request a line, ``[folder, environment, path, place]``, forks a
process that answers it (`evergreen.tasks.io.smoke_child`), and writes that process's exit code to the pipe FD. A
fork costs
milliseconds where a new interpreter imports for seconds, and the tested model still meets nothing of whoever asks.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from select import select
from typing import IO, NoReturn

from evergreen.tasks.io.settings import python_path

_STDERR = "stderr.txt"
_PRELOADED = (
    "skops.io",  # first: it looks for each of its types in all modules that are there
    "evergreen.tasks.io.smoke_child",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "sklearn.ensemble",
    "sklearn.linear_model",
)
_FOR_DATABASES = (
    "alembic.command",
    "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
)
"""What MLflow imports when it opens a store in a database, a second's work."""
_NO_DATABASES = ("http:", "https:", "file:", "databricks", "uc:")


class SmokePool:
    """The process that forks, as its parent sees it; started at first use, again after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._replies: IO[str] | None = None

    def warm(self) -> None:
        """Start the process, so that it imports while its parent does something else."""
        with self._lock:
            self._running()

    def run(
        self, folder: Path, *, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str] | None:
        """Run one smoke test in a separate process; return its exit code and what it wrote to stderr.

        Parameters
        ----------
        folder : Path
            Holds ``request.json``; the answer is put there.
        environment : mapping of str to str
            The process's environment variables.
        timeout_s : float
            Seconds after which it is ended, and None returned.
        """
        with self._lock:
            process, replies = self._running()
            request = json.dumps([str(folder), dict(environment), sys.path, str(Path.cwd())])
            try:
                print(request, file=process.stdin, flush=True)
                if not select([replies], [], [], timeout_s)[0]:
                    self.close()
                    return None
                code = replies.readline().strip()
            except BrokenPipeError:
                return self._gone(process)
            except BaseException:  # whoever was interrupted leaves no answer behind for the next one
                self.close()
                raise
            if not code:
                return self._gone(process)
        output = folder / _STDERR
        return int(code), output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""

    def close(self) -> None:
        """End the process and the test it may be running."""
        process, replies, self._process, self._replies = self._process, self._replies, None, None
        if process is None or replies is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        replies.close()

    def _gone(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        code = process.wait()
        self.close()
        return code, "the process that loads models ended"

    def _running(self) -> tuple[subprocess.Popen[str], IO[str]]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None or self._replies is None:
            reading, writing = os.pipe()
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(writing)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writing],
                text=True,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": python_path()},
            )
            os.close(writing)
            self._replies = os.fdopen(reading, encoding="ascii")
        return self._process, self._replies


SMOKE_POOL = SmokePool()
"""The one of this process."""
atexit.register(SMOKE_POOL.close)


def main(replies: int) -> None:
    """Fork for each request until there are no more requests."""
    for name in _PRELOADED:
        import_module(name)
    for line in sys.stdin:
        folder, environment, path, place = json.loads(line)
        if not environment.get("MLFLOW_TRACKING_URI", "").startswith(_NO_DATABASES):
            # where another MLflow keeps them elsewhere, the fork imports what it needs itself
            with suppress(ModuleNotFoundError):
                for name in _FOR_DATABASES:
                    import_module(name)
        child = os.fork()
        if child == 0:
            os.environ.clear()
            os.environ.update(environment)
            sys.path[:] = path
            os.chdir(place)
            _answer(Path(folder))
        _, status = os.waitpid(child, 0)
        os.write(replies, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _answer(folder: Path) -> NoReturn:
    """Answer one request in the forked process, and end it: nothing of the process it was forked from runs again."""
    from evergreen.tasks.io.smoke_child import main as answer

    output = os.open(folder / _STDERR, os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(output, sys.stderr.fileno())
    code = 1
    try:
        answer(folder)
        code = 0
    except SystemExit as ended:
        print(ended, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
