"""`python -m beam_grid` is `beam-grid`."""

from beam_grid.cli import main

if __name__ == "__main__":
    main()
