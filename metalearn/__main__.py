"""``python -m metalearn`` is the command ``metalearn``."""

from metalearn.cli import main

if __name__ == "__main__":
    main()
