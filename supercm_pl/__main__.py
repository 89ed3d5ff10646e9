"""Run ``supercm`` as ``python -m supercm_pl``."""

from supercm_pl.cli.main import main

if __name__ == "__main__":
    main()
