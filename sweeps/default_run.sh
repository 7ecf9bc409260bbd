#!/usr/bin/env bash
# The default run over three seeds, and its smallest, middle and largest subnet trained alone for as many optimizer
# steps, each at three learning rates; then both on the same test images. About three core-hours; the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
common=(-m ledger=docs/data/default_run)
python train.py "${common[@]}" sweep=default_run method=ofa seed=0,1,2
for size in smallest middle largest; do
    alone=("${common[@]}" sweep="default_run_$size" method=plain method.subnet="$size")
    python train.py "${alone[@]}" optim.lr=0.05,0.1,0.2 seed=0
    python train.py "${alone[@]}" optim.lr="${RATE:-0.1}" seed=1,2 # the best of the three
done
python benchmarks/default_run.py outputs/sweeps
