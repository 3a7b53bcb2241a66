#!/usr/bin/env bash
# Checks and measures this project on a GPU, within ten minutes, on a machine that has torch and transformers:
#
#     benchmarks/gpu.sh OUT [DATA_DIR]
#
# Correctness first (tests/test_gpu.py), then speed of training and prediction for KoELECTRA's Small and Base shapes, a profile, and how
# many runs at once give the most. Logs and figures are written to the folder OUT. DATA_DIR has one folder per task as data/ does
# (default: the sample, whose rows are short); VOCAB is the vocabulary (default: the sample's). A part that does not fit into
# the time is cut off and named. PYTHON chooses the interpreter, LIMIT the seconds for everything.
set -uo pipefail
[ $# -ge 1 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1" && OUT=$(cd "$1" && pwd) || exit 2
DATA=$(cd "${2:-$(dirname "$0")/../data/sample}" && pwd) || exit 2
VOCAB=${VOCAB:+$(realpath "$VOCAB")}
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
END=$((SECONDS + ${LIMIT:-580}))
failed=0

# The packages besides torch and transformers, and pytest, in the versions of the requirements where there is an index.
missing() { "$PYTHON" -c '
import importlib.util, re
names = {"scikit-learn": "sklearn", "attrdict3": "attrdict", "protobuf": "google.protobuf"}
for line in [*open("requirements.txt"), *(line for line in open("requirements-dev.txt") if line.startswith("pytest=="))]:
    if (package := re.match(r"([\w-]+)==", line)) and not importlib.util.find_spec(names.get(package[1], package[1]).split(".")[0]):
        print(line.split("#")[0].strip())'; }
if [ -n "$(missing)" ]; then missing | xargs "$PYTHON" -m pip install --quiet ${WHEELS:+--no-index --find-links "$WHEELS"}; fi
if [ -n "$(missing)" ]; then echo "missing packages: $(missing | xargs). Put wheels into a folder and set WHEELS to it." >&2; exit 1; fi

part() {  # part NAME SECONDS COMMAND...: run it, at most so long, and log it
    local name=$1 left=$((END - SECONDS)) seconds=$2 started=$SECONDS; shift 2
    [ "$seconds" -lt "$left" ] || seconds=$left
    if [ "$seconds" -lt 5 ]; then echo "$name: not run, the time is up"; failed=1; return; fi
    timeout --kill-after=10 "$seconds" "$@" > "$OUT/$name.log" 2>&1
    local code=$?
    case $code in
        0) echo "$name: done in $((SECONDS - started)) s" ;;
        124 | 137) echo "$name: cut off after $seconds s"; failed=1 ;;
        *) echo "$name: failed with exit code $code; see $OUT/$name.log"; failed=1 ;;
    esac
}

SMALL=$OUT/models/small BASE=$OUT/models/base
for shape in small base; do "$PYTHON" benchmarks/models.py $shape "$OUT/models/$shape" ${VOCAB:+--vocab "$VOCAB"} || exit 1; done
OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(nproc)} part checks 150 "$PYTHON" -m pytest -m "" -v tests/test_gpu.py

train() {  # train NAME SECONDS MODEL CASES BATCH
    part "train-$1" "$2" "$PYTHON" benchmarks/train_speed.py --model_name_or_path "$3" --model "$1" --data_dir "$DATA" --cases "$4" \
        --train_batch_size "$5" --steps "${STEPS:-30}" --out "$OUT/train-$1.json"
}
train small-32 90 "$SMALL" hate-speech,nsmc,korquad 32
train base-32 90 "$BASE" hate-speech,korquad 32
train small-128 45 "$SMALL" nsmc 128
train base-128 45 "$BASE" nsmc 128
for shape in small base; do
    part "predict-$shape" 45 "$PYTHON" benchmarks/predict_speed.py --model_name_or_path "$OUT/models/$shape" --model "$shape" \
        --data_dir "$DATA" --rows "${ROWS:-20000}" --blocks 4 --out "$OUT/predict-$shape.json"
done
part profile-training 30 "$PYTHON" benchmarks/profile_training.py --model_name_or_path "$BASE" --case hate-speech --data_dir "$DATA"
part profile-scoring 30 "$PYTHON" benchmarks/profile_training.py --model_name_or_path "$BASE" --case nsmc --data_dir "$DATA" --scoring
for devices in ${DEVICES:-0 0,0 0,0,0,0}; do  # the same four runs, so many at once
    part "grid-$devices" 60 "$PYTHON" run_benchmark.py run --models "$SMALL" --tasks nsmc --seeds 1,2,3,4 --devices "$devices" \
        --from_scratch --data_dir "$DATA" --ckpt_dir "$OUT/grid-$devices" --max_steps 100 --do_eval false
    rm -rf "$OUT/grid-$devices"
done
rm -rf "$OUT/models"
exit $failed
