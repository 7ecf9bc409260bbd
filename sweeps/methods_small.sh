#!/usr/bin/env bash
# All methods and six subnets trained alone, at equal compute on the packaged data, over three seeds; then the report.
# The same command goes on after a crash; about an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=(-m sweep=methods launcher=joblib seed=0,1,2 budget_gmacs="${BUDGET:-120}" data=fashion_mnist_small backbone.width_mult=0.25 backbone.resolution=20)
# Subnets that are also trained alone. Not of the methods whose spaces do not have them: compofa couples depth and expand.
named=(+evaluation.named.shallow='{depth:2}' +evaluation.named.narrow='{expand:3}' +evaluation.named.small_kernels='{kernel:3}')
python train.py "${jobs[@]}" "${named[@]}" evaluation.panel=9 \
    method=ofa,bignas,alphanet,attentive_nas,deps,us_net,sortednet,spos,fairnas,pa_da
python train.py "${jobs[@]}" evaluation.panel=12 method=compofa
python train.py "${jobs[@]}" method=slimmable
python train.py "${jobs[@]}" method=plain method.subnet='smallest,middle,largest,{depth:2},{expand:3},{kernel:3}'
python compare.py runs=outputs/sweeps/methods
