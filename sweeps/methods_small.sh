#!/usr/bin/env bash
# All methods at equal compute on the packaged data, over seeds, and subnets trained alone; then docs/results.md's table.
# The methods as one multirun command:
#   python train.py -m method=ofa,compofa,bignas,alphanet,attentive_nas,deps,us_net,slimmable,sortednet,spos,fairnas,pa_da \
#       seed=0,1,2 budget_gmacs=200 backbone.width_mult=0.25 backbone.resolution=20
source "$(dirname "$0")/jobs.sh"
for seed in $SEEDS; do
    for method in ofa compofa bignas alphanet attentive_nas deps us_net slimmable sortednet spos fairnas pa_da; do
        job "$method-$seed" method=$method seed=$seed
    done
    for subnet in smallest middle largest; do
        job "plain-$subnet-$seed" method=plain method.subnet=$subnet seed=$seed
    done
done
finish
