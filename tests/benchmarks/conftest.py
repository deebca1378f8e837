"""Modules of benchmarks/, of its scale/ and of protocols/ are imported by their names, as their scripts do."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("benchmarks", "benchmarks/scale", "protocols")]
