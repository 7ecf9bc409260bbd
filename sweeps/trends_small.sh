#!/usr/bin/env bash
# One thing changed at a time, at equal compute, over seeds: which published trends appear? docs/results.md has the table.
set -euo pipefail
cd "$(dirname "$0")/.."
small=(launcher=joblib seed=0,1,2 budget_gmacs="${BUDGET:-120}" data=fashion_mnist_small backbone.width_mult=0.25 backbone.resolution=20)

variant() { # name of its folder, overrides
    python train.py -m "sweep=trends/$1" "${small[@]}" "${@:2}"
}

delayed() { # share of training before subnets join; epochs of the two phases, the first with one of warm-up; overrides
    variant "deps-${1// /-}" method=deps "tags=[delay $1]" method.phases.largest_alone.epochs="$2" method.phases.shrinking.epochs="$3" "${@:4}"
}

variant bignas method=bignas
variant bignas-labels method=bignas "tags=[labels only]" \
    method.losses.random.labels=1 method.losses.random.distill=0 method.losses.min.labels=1 method.losses.min.distill=0
variant alphanet method=alphanet
variant alphanet-kl method=alphanet "tags=[KL]" method.callbacks.alpha_divergence=null
delayed 0 7 8 method.callbacks.delayed_shrinking=null "method.phases.largest_alone.roles=[max,min,random,random]"
delayed 25 3 12
delayed 50 7 8
delayed 75 11 4
delayed "50 no ramp" 7 8 method.callbacks.delayed_shrinking.ramp_epochs=0
python compare.py runs=outputs/sweeps/trends
