#!/usr/bin/env bash
# One pretrained language model at 100, 80, 65 and 50 % of its parameters: AmoebaLLM, each of its parts left out,
# shapes without training and alone, Flextron, whittle's sandwich; and at 2, 3 and 4 bits. The same tokens for all.
# Then a table and a picture.
# bash sweeps/language_small.sh MODEL_DIR: of SmolLM2-135M about two hours on two cores; the same command goes on.
set -euo pipefail
checkpoint=$(realpath "${1:?the folder of a Llama checkpoint}")
cd "$(dirname "$0")/.."
text=outputs/text out=outputs/family tokens=256 steps="${STEPS:-48}"
[ -e "$text/python.txt" ] || python sweeps/language_text.py "$text"
model=(backbone.model_dir="$checkpoint" data.train="$text/train" data.test="$text/shakespeare.txt" data.batch_size=1
    data.sequence_length="$tokens" data.eval_batch_size=4 data.val_size=16 optim.accumulate=1 evaluation.panel=0)
family=(experiment=amoeba_smollm2 "${model[@]}" data.images_per_epoch="$steps" method.phases.shapes.epochs=1
    optim.lr=1e-3 method.selection.batches=1 'method.width=[0.5,0.625,0.75,0.875,1.0]'
    'evaluation.named={largest:largest,middle:{depth:23,width:0.75},smallest:smallest}'
    '+evaluation.named.large={depth:25,width:0.875}')

measure() { # NAME: on the Python source; a run itself ends with Hamlet
    [ -e "$out/$1/python.csv" ] || python evaluate.py run="$out/$1" panel=0 calibrate=false \
        +data.test="$text/python.txt" out=python.csv
}
job() { # NAME OVERRIDES...
    if [ ! -e "$out/$1/checkpoints/last.ckpt" ]; then
        python train.py paths.run_dir="$out/$1" "${@:2}"
    elif ! grep -q ,test, "$out/$1/subnets.csv" 2> /dev/null; then
        python train.py resume="$out/$1"
    fi
    measure "$1"
}
untrained=(method.phases.shapes.lr_scale=0 data.images_per_epoch=1)

job untrained "${family[@]}" "${untrained[@]}"
job amoeba "${family[@]}"
job one_lora "${family[@]}" method.lora.experts=1 method.lora.top_k=1
job no_balance "${family[@]}" method.losses.random.balance=null method.losses.min.balance=null
job block_influence "${family[@]}" method.selection.depth=block_influence
job magnitude "${family[@]}" method.selection.width=l1 method.compensate=false

# Layers alone and channels alone, without training: 80, 65 and 50 % of the parameters are 22, 17 and 11 layers of 30.
layers='evaluation.named={largest:largest,large:{depth:22},middle:{depth:17},smallest:{depth:11}}'
job layers_only "${family[@]}" "${untrained[@]}" method.selection.depth=block_influence method.selection.min_depth=11 \
    'method.width=[1.0]' method.phases.shapes.roles='[max]' "~evaluation.named" "+$layers"
channels='evaluation.named={largest:largest,large:{width:0.75},middle:{width:0.55},smallest:{width:0.37}}'
for score in flap l1; do
    job "channels_only_$score" "${family[@]}" "${untrained[@]}" method.selection.depth=block_influence \
        method.selection.min_depth=30 'method.width=[0.37,0.55,0.75,1.0]' method.selection.width="$score" \
        method.compensate="$([ $score = flap ] && echo true || echo false)" method.phases.shapes.roles='[max]' "~evaluation.named" \
        "+$channels"
done

for shape in 'large {depth:25,width:0.875}' 'middle {depth:23,width:0.75}' 'smallest smallest'; do
    read -r name subnet <<< "$shape"
    job "alone_$name" method=finetune run="$out/untrained" subnet="$subnet" data.images_per_epoch="$steps" \
        data.batch_size=1 optim=adamw optim.clip_norm=0.3 optim.weight_decay=0 scheduler=constant \
        method.label_smoothing=0 method.phases.finetune.epochs=1 optim.lr=1e-4
done

# Weights see the same tokens, in two of three phases; while the router learns, three times as many, they are frozen.
job flextron experiment=flextron_llama "${model[@]}" 'backbone.ffn=[384,576,768,1152,1536]' \
    'backbone.heads=[3,6,9]' 'sampler.budgets=[0.5,0.65,0.8,1.0]' data.images_per_epoch=$((steps / 2)) \
    method.phases.{elastic,joint}.epochs=1 method.phases.router.epochs=6 method.phases.{elastic,joint}.lr_scale=5
job llm_qfa experiment=llm_qfa_smollm2 "${model[@]}" data.images_per_epoch="$steps" method.phases.bits.epochs=1 \
    sampler.period="$steps" method.batches=1
if python -c 'import lm_eval' 2> /dev/null && [ ! -e "$out/amoeba/lm_eval.csv" ]; then
    python -m wsn lm-eval "run=$out/amoeba" "tasks=[next_shakespeare,next_python]" "include=$text/tasks"
fi
if python -c 'import whittle, litgpt' 2> /dev/null; then
    [ -e "$out/whittle/python.csv" ] || python benchmarks/whittle_sandwich.py "$out/amoeba" "$text"
fi
python sweeps/language_table.py "$out"
