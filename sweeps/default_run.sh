#!/usr/bin/env bash
# The default run over three seeds, and its smallest, middle and largest subnet trained alone for as many optimizer
# steps, each at three learning rates; then both on the same test images. About three core-hours; the same command goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=(-m ledger=docs/data/default_run seed=0,1,2)
python train.py "${jobs[@]}" sweep=default_run method=ofa
python train.py "${jobs[@]}" sweep=default_run_alone method=plain method.subnet=smallest,largest,middle optim.lr=0.05,0.1,0.2
python benchmarks/default_run.py outputs/sweeps
