"""The fuzz campaign in full: python tests/fuzz/run.py [PART[=COUNT] …] [--seed=N].

Prints the outcomes of each part. Faults are printed as they come; the exit status is 1 if there
are any. docs/results/robustness.md has the numbers.
"""

import faulthandler
import importlib
import pathlib
import sys
import tempfile
import time

TESTS = pathlib.Path(__file__).parents[1]
PARTS = {
    "videos": 500, "data_files": 300, "command_lines": 200, "replies": 10_000, "weights": 300,
    "checkpoints": 300,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Runs the named parts, or all."""
    seed = next((int(a.removeprefix("--seed=")) for a in arguments if a.startswith("--seed=")), 0)
    wanted = [a.partition("=") for a in arguments if not a.startswith("--")]
    counts = {name: int(count or PARTS[name]) for name, _, count in wanted} or PARTS
    faults = 0
    for name, count in counts.items():
        part = importlib.import_module(f"fuzz.{name}")
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            found = part.campaign(count, seed, pathlib.Path(folder))
        shown = ", ".join(f"{number} {what}" for what, number in sorted(found.items()))
        print(f"{name}: {count} in {time.monotonic() - start:.0f} s: {shown}", flush=True)
        faults += sum(n for what, n in found.items() if what not in getattr(part, "GOOD", GOOD))
    return int(faults > 0)


GOOD = ("used", "refused")

if __name__ == "__main__":
    faulthandler.enable()
    sys.path[:0] = [str(TESTS), str(TESTS.parent)]
    sys.exit(main(sys.argv[1:]))
