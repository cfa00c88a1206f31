"""The benchmark of the training step trains the same network on both sides, and says how long."""

import importlib.util
import sys

import pytest
from benchmarks.running import ROOT, run
