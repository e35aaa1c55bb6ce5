"""`python -m benchmarks [--quick] [NAME …]`: measures, prints tables, writes `results/*.json`. A figure never fails the command, a crash does."""

from __future__ import annotations

import argparse
import importlib
import os

from benchmarks import SUBJECTS, figures, installation


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks", description="Measures the product, each figure beside its peer."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(SUBJECTS)}; all without a name")
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything once, figures of no value")
    options = parser.parse_args()
    if unknown := set(options.names) - set(SUBJECTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known are {', '.join(SUBJECTS)}")
    print(f"Load of the machine before the run: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
    with installation.opened() as opened:
        for name in options.names or SUBJECTS:
            module = importlib.import_module(f"benchmarks.{name}")
            found = module.run(opened, is_quick=options.quick)
            figures.show(name, found)
            figures.save(name, found, is_quick=options.quick)


if __name__ == "__main__":
    main()
