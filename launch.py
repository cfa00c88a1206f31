"""The front door: python launch.py COMMAND ..."""

import sys

from cnn_archs.cli import main

if __name__ == "__main__":
    sys.exit(main())
