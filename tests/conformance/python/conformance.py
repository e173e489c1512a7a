"""Runs Microsoft's Python SDK against a broker and says, check by check, whether it noticed.

    python conformance.py "Endpoint=sb://localhost:5672;SharedAccessKeyName=…;SharedAccessKey=…;UseDevelopmentEmulator=true;"

The broker must serve the queues named in `QUEUES`, empty. Every check prints one line, `ok` or
`FAILED` with the reason; the exit code is 1 when any failed. A check is a function in `checks/`
whose docstring is its name; it gets its queue to itself and leaves it empty.
"""

import sys
import time
import traceback

from checks import asynchronous, bodies, dead_letters, errors, locks, receiving, sending

# Name, then what it must be configured with.
QUEUES = {
    "plain": "defaults",
    "bodies": "defaults",
    "competing": "defaults",
    "asynchronous": "defaults",
    "short-lock": "lock duration 1 s",
    "two-tries": "max delivery count 2",
    "expiring": "time to live 1 s, dead-lettering on expiration",
}

MODULES = (sending, bodies, receiving, locks, dead_letters, errors, asynchronous)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 64
    connection_string = sys.argv[1]
    failures = 0
    checks = [check for module in MODULES for check in module.CHECKS]
    for check in checks:
        started = time.monotonic()
        try:
            check(connection_string)
            outcome = "ok    "
        except Exception:  # whatever the SDK or an assertion raises is this check's failure
            failures += 1
            outcome = "FAILED"
            traceback.print_exc(file=sys.stdout)
        took = time.monotonic() - started
        print(f"{outcome} {check.__module__.split('.')[-1]}: {check.__doc__} ({took:.2f} s)", flush=True)
    print(f"{len(checks) - failures} of {len(checks)} checks passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
