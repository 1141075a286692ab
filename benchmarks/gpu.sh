#!/bin/sh
# The whole measurement of the Triton kernels on one GPU: correctness, InfoNCE, ranking.
# Needs python with torch and triton, and this repository; takes under ten minutes.
# Usage: benchmarks/gpu.sh [FILE.json]      (default: benchmarks/results/gpu.json)
set -eu
cd "$(dirname "$0")/.."
exec "${PYTHON:-python3}" -m benchmarks.gpu "${1:-benchmarks/results/gpu.json}"
