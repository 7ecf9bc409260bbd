# Sourced by the sweep scripts: `job NAME OVERRIDES...` notes a run, `finish` runs what is missing and compares.
#   OUT     folder of the runs, by default outputs/sweeps/<name of the script>
#   JOBS    runs at a time; with OMP_NUM_THREADS=1 as many as there are cores
#   BUDGET  GMACs of each run, forward and backward
#   SEEDS   e.g. "0 1 2"
#   SMALL   overrides of every run
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT=${OUT:-outputs/sweeps/$(basename "$0" .sh)}
export BUDGET=${BUDGET:-200}
SEEDS=${SEEDS:-"0 1 2"}
SMALL=${SMALL:-"backbone.width_mult=0.25 backbone.resolution=20"}
mkdir -p "$OUT"
list=$OUT/jobs.txt
: > "$list"

job() {
    printf '%q ' "$@" $SMALL >> "$list"
    printf '\n' >> "$list"
}

run_job() {
    local name=$1 folder=$OUT/$1
    shift
    if [ -f "$folder/subnets.csv" ] && grep -q ",test," "$folder/subnets.csv"; then return; fi
    rm -rf "$folder"
    echo "$name"
    python train.py "$@" budget_gmacs="$BUDGET" paths.run_dir="$folder" trainer.enable_progress_bar=false \
        > "$folder.log" 2>&1 || echo "failed: $name, see $folder.log"
}

finish() {
    export -f run_job
    tr '\n' '\0' < "$list" | xargs -0 -P "${JOBS:-1}" -I{} bash -c 'run_job {}'
    python compare.py "$OUT"
}
