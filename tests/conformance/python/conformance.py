"""Runs Microsoft's Python SDK against a broker and says, check by check, whether it noticed.

    python conformance.py "Endpoint=sb://localhost:5672;SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true;"

The broker must serve the queues named in `QUEUES`, empty. Every check prints one line, `ok` or
`FAILED` with the reason; the exit code is 1 when any failed. A check is a function in `checks/`
whose docstring is its name; it gets its queue to itself and leaves it empty. Modules have queues of
their own and run side by side. With `--only "module: title"`, as a check's line names it, it runs alone.
"""

import argparse
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
    forwarding,
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
    "short-lock": "lock duration 4 s",
    "two-tries": "max delivery count 2",
    "asynchronous-sessions": "sessions",
    "plain": "defaults",
    "disabled": "status Disabled",
    "forwarding": "forwards to forwarded",
    "forwarded": "defaults",
    "burying": "forwards dead letters to buried",
    "buried": "defaults",
    "sessions": "sessions",
    "short-sessions": "sessions, lock duration 4 s",
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
    forwarding,
    asynchronous,
)


def name_of(module):
    return module.__name__.split(".")[-1]


def title_of(module, check):
    return f"{name_of(module)}: {check.__doc__}"


def run(module, checks, connection_string) -> int:
    """Runs checks of one module one after the other and says how many failed."""
    failures = 0
    for check in checks:
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
        print(f"{outcome} {title_of(module, check)} ({took:.2f} s){reason}", flush=True)
    return failures


def run_apart(module, connection_string) -> int:
    """Runs a module in an interpreter of its own: threads of one would wait for each other."""
    command = [sys.executable, __file__, connection_string, "--module", name_of(module)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, end="", flush=True)
    return done.returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("connection_string")
    parser.add_argument("--module", help=argparse.SUPPRESS, choices=[name_of(module) for module in MODULES])
    parser.add_argument("--only", metavar="CHECK")
    arguments = parser.parse_args()
    if arguments.module:
        [module] = [module for module in MODULES if name_of(module) == arguments.module]
        return run(module, module.CHECKS, arguments.connection_string)
    if arguments.only:
        wanted = [(m, c) for m in MODULES for c in m.CHECKS if title_of(m, c) == arguments.only]
        if not wanted:
            print(f"there is no check {arguments.only}")
            return 64
        [(module, check)] = wanted
        return run(module, [check], arguments.connection_string)
    with ThreadPoolExecutor(len(MODULES)) as threads:
        failures = sum(threads.map(lambda module: run_apart(module, arguments.connection_string), MODULES))
    total = sum(len(module.CHECKS) for module in MODULES)
    print(f"{total - failures} of {total} checks passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
