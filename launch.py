"""The front door: python launch.py COMMAND ..."""

from cnn_archs.__main__ import run

if __name__ == "__main__":
    run()
