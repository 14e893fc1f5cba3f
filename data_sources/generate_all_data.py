"""Write every source's data at once: `python data_sources/generate_all_data.py [--out DIR] [--seed N] [--messy]`.

The same as `beam-grid generate --out DIR` without names. Exit 0 written, 2 usage or a folder that cannot be written.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def sources() -> list[str]:
    """Sources that can be generated: folders of data_sources with a generate.py."""
    return sorted(path.parent.name for path in HERE.glob("*/generate.py"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="generate_all_data.py", description="Write every source's sample data.")
    parser.add_argument(
        "--out", type=Path, default=Path("data_sources_out"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: %(default)s")
    parser.add_argument("--messy", action="store_true", help="with copies, disorder and broken records")
    given = parser.parse_args(arguments)
    for name in sources():
        source = importlib.import_module(f"data_sources.{name}.generate")
        try:
            counts = source.generate(given.out, seed=given.seed, messy=given.messy)
        except (ValueError, OSError) as cause:
            print(f"{parser.prog}: {name}: {cause}", file=sys.stderr)
            return 2
        print(f"{name}: {counts['read']:,} records in {given.out}", flush=True)
    return 0


if __name__ == "__main__":
    # Run as a script, Python looks for modules beside it first; there, kafka.py is not the library kafka.
    sys.path[0] = str(HERE.parent)
    sys.exit(main())
