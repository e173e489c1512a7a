"""Runs Microsoft's Python SDK against a broker and says, check by check, whether it noticed.

    python conformance.py "Endpoint=sb://localhost:5672;SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true;"

The broker must serve the queues named in `QUEUES`, empty. Every check prints one line, `ok` or
`FAILED` with the reason; the exit code is 1 when any failed. A check is a function in `checks/`
whose docstring is its name; it gets its queue to itself and leaves it empty. Modules have queues of
their own and run side by side; a second argument names one to run alone.
"""

import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

from checks import (
    asynchronous,
    bodies,
    dead_letters,
    deferring,
    duplicates,
    errors,
    locks,
    peeking,
    receiving,
    scheduling,
    sending,
    sessions,
)

# Name, then what it must be configured with.
QUEUES = {
    "sending": "defaults",
    "bodies": "defaults",
    "receiving": "defaults",
    "dead-letters": "defaults",
    "errors": "defaults",
    "competing": "defaults",
    "asynchronous": "defaults",
    "scheduling": "defaults",
    "peeking": "defaults",
    "deferring": "defaults",
    "detecting": "duplicate detection within 5 s",
    "short-lock": "lock duration 2 s",
    "two-tries": "max delivery count 2",
    "plain": "defaults",
    "sessions": "sessions",
    "short-sessions": "sessions, lock duration 2 s",
    "expiring": "time to live 1 s, dead-lettering on expiration",
}

MODULES = (
    sending,
    receiving,
    bodies,
    locks,
    dead_letters,
    errors,
    scheduling,
    peeking,
    deferring,
    duplicates,
    sessions,
    asynchronous,
)


def name_of(module):
    return module.__name__.split(".")[-1]


def run(module, connection_string) -> int:
    """Runs the checks of one module one after the other and says how many failed."""
    failures = 0
    for check in module.CHECKS:
        started = time.monotonic()
        reason = ""
        try:
            check(connection_string)
            outcome = "ok    "
        except Exception:  # whatever the SDK or an assertion raises is this check's failure
            failures += 1
            outcome = "FAILED"
            reason = "\n" + traceback.format_exc()
        took = time.monotonic() - started
        print(f"{outcome} {name_of(module)}: {check.__doc__} ({took:.2f} s){reason}", flush=True)
    return failures


def run_apart(module, connection_string) -> int:
    """Runs a module in an interpreter of its own: threads of one would wait for each other."""
    command = [sys.executable, __file__, connection_string, name_of(module)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, end="", flush=True)
    return done.returncode


def main() -> int:
    if len(sys.argv) == 3:
        [module] = [module for module in MODULES if name_of(module) == sys.argv[2]]
        return run(module, sys.argv[1])
    if len(sys.argv) != 2:
        print(__doc__)
        return 64
    with ThreadPoolExecutor(len(MODULES)) as threads:
        failures = sum(threads.map(lambda module: run_apart(module, sys.argv[1]), MODULES))
    total = sum(len(module.CHECKS) for module in MODULES)
    print(f"{total - failures} of {total} checks passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
