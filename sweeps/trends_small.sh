#!/usr/bin/env bash
# One thing changed at a time, at equal compute, over seeds: which published trends appear? docs/results.md has the table.
source "$(dirname "$0")/jobs.sh"
delayed() { # share of training before subnets join; epochs of the two phases, the first with one of warm-up; overrides
    job "deps-$1-$seed" method=deps seed=$seed "tags=[delay $1]" method.phases.0.epochs="$2" method.phases.1.epochs="$3" "${@:4}"
}
for seed in $SEEDS; do
    job "bignas-$seed" method=bignas seed=$seed
    job "bignas-labels-$seed" method=bignas seed=$seed "tags=[labels only]" \
        method.losses.random.labels=1 method.losses.random.distill=0 method.losses.min.labels=1 method.losses.min.distill=0
    job "alphanet-$seed" method=alphanet seed=$seed
    job "alphanet-kl-$seed" method=alphanet seed=$seed "tags=[KL]" callbacks=default
    delayed 0 7 8 callbacks=default "method.phases.0.roles=[max,min,random,random]"
    delayed 25 3 12
    delayed 50 7 8
    delayed 75 11 4
    delayed "50 no ramp" 7 8 callbacks.delayed_shrinking.ramp_epochs=0
done
finish
