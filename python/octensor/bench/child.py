"""A runtime in a process of its own, stopped whenever it is not its turn.

Idle threads of one runtime may go on spinning for a fifth of a second, others' libraries clash in one process, and
memory can only be told apart by process. So each peer lives in a child: the parent asks it through a pipe, lets it
run (SIGCONT) until it has answered, and stops it (SIGSTOP), threads and all.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from . import side


class Child:
    """A `side.Side` elsewhere: the same methods.

    Parameters
    ----------
    name : str
        The peer.
    threads : int
    isa : str

    Raises
    ------
    ImportError
        Where the peer's package is missing.
    RuntimeError
        Where the process dies, now or later.
    """

    def __init__(self, name: str, threads: int, isa: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = name
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()
        atexit.register(self.close)  # before multiprocessing asks a stopped process to end itself, in vain
        try:
            self.version: str = self._ask("start", name, threads, isa)
        except BaseException:
            self.close()
            raise

    def build(self, *arguments: Any) -> list[dict[str, Any]]:
        """As `Side.build`."""
        found: list[dict[str, Any]] = self._ask("build", *arguments)
        return found

    def turn(self, name: str) -> float:
        """As `Side.turn`."""
        return float(self._ask("turn", name))

    def footprint(self, *arguments: Any) -> dict[str, float]:
        """As `Side.footprint`."""
        found: dict[str, float] = self._ask("footprint", *arguments)
        return found

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _ask(self, *question: Any) -> Any:
        try:
            self._signal("SIGCONT")
            self._pipe.send(question)
            answer = self._pipe.recv()
            self._signal("SIGSTOP")
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            raise RuntimeError(f"{self.name}: its process ended with {_named(code)} at {question[0]!r}") from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _signal(self, name: str) -> None:
        number = getattr(signal, name, None)  # Windows has neither
        if number is not None and self._process.pid is not None:
            os.kill(self._process.pid, number)


def serve(pipe: Connection, parent: int) -> None:
    """Answer questions until the parent is gone: what the child's process runs."""
    _die_with(parent)
    here: side.Side | None = None
    while True:
        try:
            method, *arguments = pipe.recv()
        except EOFError:
            return
        answer: Any
        try:
            if method == "start":
                here = side.Side(*arguments)
                answer = here.version
            else:
                answer = getattr(here, method)(*arguments)
        except ImportError as error:
            answer = ImportError(str(error))
        except Exception as error:
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        pipe.send(answer)


def _die_with(parent: int) -> None:
    """Tell the kernel (Linux) that this process ends with its parent: a stopped one would outlive it."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit()


def _named(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
