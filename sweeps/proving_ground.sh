#!/usr/bin/env bash
# The proving ground of CNNs: about 50 subnets trained alone to convergence, then all methods at equal compute over three
# seeds, then all at equal epochs, then the report. About 20 core-hours; the same command goes on after a stop, on any
# machine: what docs/data/proving_ground has is not run again.
# bash sweeps/proving_ground.sh [ground_truth | seed 0 | seed 1 | seed 2 | epochs | report]: only that part
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" MKL_NUM_THREADS="${MKL_NUM_THREADS:-1}"
folder=docs/data/proving_ground/cnn
common=(-m experiment=proving_ground/cnn trainer.enable_progress_bar=false)

# Every subnet with seed 0, every third also with seed 1.
ground_truth() {
    [ -e "$folder/chosen.csv" ] || python -m wsn.search.ground_truth choose "$folder" experiment=proving_ground/cnn
    local ids every_third
    ids=$(tail -n +2 "$folder/chosen.csv" | cut -d, -f1)
    every_third=$(awk 'NR % 3 == 1' <<< "$ids")
    alone 1 "$every_third"
    alone 0 "$every_third"
    alone 0 "$ids"
    python -m wsn.search.ground_truth package cnn "$folder"
}
alone() { # SEED IDS
    local subnets
    subnets=$(sed "s|.*|$folder/chosen.csv:&|" <<< "$2" | paste -sd, -)
    python train.py "${common[@]}" sweep=ground_truth ledger="$folder" method=plain budget_gmacs=null \
        evaluation.last_epochs=0 seed="$1" method.subnet="$subnets"
}
sizes() { # ids of the smallest, middle and largest subnet: with the same command as in the ground truth, trained once
    python -c "
from wsn.space import SearchSpace
space = SearchSpace.from_json(open('$folder/space.json').read())
print(space.min().id, space.middle().id, space.max().id, sep='\n')"
}

methods=ofa,bignas,sandwich,alphanet,sortednet,deps,attentive_nas,spos,fairnas,pa_da,us_net
seed() { # SEED
    local jobs=("${common[@]}" sweep=proving_ground ledger="$folder" seed="$1")
    python train.py "${jobs[@]}" method="$methods" evaluation.table="$folder/chosen.csv"
    python train.py "${jobs[@]}" method=compofa,slimmable evaluation.panel=9
    alone "$1" "$(sizes)"
}
epochs() { # as many images for each, whatever that costs
    local jobs=("${common[@]}" sweep=equal_epochs ledger="$folder/equal_epochs" budget_gmacs=null seed=0,1,2)
    python train.py "${jobs[@]}" method=ofa evaluation.table="$folder/chosen.csv"
    python train.py "${jobs[@]}" method=bignas,sandwich,spos method.phases.all.epochs=29 evaluation.table="$folder/chosen.csv"
}
report() {
    python compare.py runs="$folder"
}
if [ $# -gt 0 ]; then "$@"; else
    ground_truth
    for s in 0 1 2; do seed "$s"; done
    epochs
    report
fi
