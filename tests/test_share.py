"""A checkpoint of a real run: its model card works as written, and share.py uploads it to a small hub."""

import json
import re

import pytest
from huggingface_hub import ModelCard

from tests.commands import run_forked, run_script
from tests.hub import TOKEN, read_environment_again, serve

PAIR = '{"text": "비가 온다", "%s": "비가 내린다"}'
# task -> an input of the pipeline, the same for predict.py, the keys of the pipeline's result, and one of predict.py's
EXAMPLES = {
    "nsmc": ('"좋은 영화"', '{"text": "좋은 영화"}', {"label", "score"}, "probabilities"),
    "korsts": (PAIR % "text_pair", PAIR % "pair", {"label", "score"}, "score"),
    "naver-ner": ('"경주 영화제"', '{"words": ["경주", "영화제"]}', {"entity_group", "score", "word", "start", "end"}, "tags"),
}


@pytest.mark.parametrize("task", EXAMPLES)
def test_the_commands_of_a_card_work(trained, task):
    text_call, line, keys, result = EXAMPLES[task]
    folder = trained(task)
    card = ModelCard.load(folder / "README.md")
    results = json.loads((folder.parent / "eval_results.json").read_text())
    scores = [value for splits in results["scores"].values() for values in splits.values() for value in values.values()]
    assert card.data.eval_results and all(entry.metric_value in scores for entry in card.data.eval_results)

    command = re.search(r"```bash\n(.*)\n```", card.text)[1]
    words = re.sub(r"^echo '.*' \| python3 predict.py", "", command).replace("FOLDER", str(folder)).split()
    assert result in json.loads(run_script("predict.py", *words, stdin=f"{line}\n").stdout)

    code = re.search(r"```python\n(.*)```", card.text, re.DOTALL)[1].replace("FOLDER", str(folder))
    code = re.sub(r"print\(predict\(.*\)\)", f"print(predict({text_call}))", code)
    script = folder.parent / "example.py"
    script.write_text(code)
    done = run_script(str(script))
    assert done.returncode == 0, done.stderr
    answer = eval(done.stdout, {"np": __import__("numpy")})  # a list, or a dict for one pair
    answers = answer if isinstance(answer, list) else [answer]
    assert all(set(each) == keys for each in answers) and (answers or task == "naver-ner")


def test_share(trained, tmp_path):
    folder = trained("naver-ner")
    (folder / "labels.csv").write_text("text,label\n")
    arguments = ["share.py", "--checkpoint", str(folder), "--to", "me/ner"]
    with serve(tmp_path / "hub") as hub:
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0"}
        env |= {"HF_HUB_DISABLE_XET": "1"}

        def share(*flags, **changes):
            return run_forked(*arguments, *flags, env=env | changes, before=read_environment_again)

        listed = share("--dry_run")
        assert (listed.returncode, hub.requests) == (0, [])
        sizes = dict(reversed(line.split()) for line in listed.stdout.splitlines()[:-1])
        assert sizes["model.safetensors"] == f"{(folder / 'model.safetensors').stat().st_size:,}"
        assert "labels.csv" not in sizes and "labels.csv" in listed.stderr
        assert "no redistribution" in listed.stderr and "not known to allow" in listed.stderr

        done = share("--private")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, f"{hub.url}/me/ner"), done.stderr
        assert hub.private == {"me/ner"} and TOKEN not in done.stdout + done.stderr
        assert "not known to allow" in done.stderr
        uploaded = hub.folder / "me" / "ner"
        assert {path.name for path in uploaded.iterdir()} == set(sizes)
        assert str(tmp_path) not in "".join(path.read_text(errors="replace") for path in uploaded.glob("*.json"))
        # What was uploaded is a checkpoint.
        line = '{"words": ["경주", "영화제가"]}\n'
        predicted = [run_script("predict.py", "--checkpoint", str(path), stdin=line).stdout for path in (folder, uploaded)]
        assert predicted[0] == predicted[1] != ""

        denied = share(HF_TOKEN="")
        assert denied.returncode == 2 and "HF_TOKEN" in denied.stderr
        lost = share(HF_ENDPOINT="http://127.0.0.1:9")
        assert lost.returncode == 1 and "me/ner: the upload failed" in lost.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "data/sample/tiny-electra", "--to", "me/x"], "data/sample/tiny-electra is not a checkpoint"),
        (["--checkpoint", "no/such/folder", "--to", "me/x"], "no/such/folder is not a checkpoint"),
        (["--checkpoint", "data/sample/tiny-electra"], "--to"),
        (["--check", "no/such/folder", "--to", "me/x"], "required: --checkpoint"),  # flags are not abbreviated
    ],
)
def test_wrong_arguments(arguments, message):
    done = run_script("share.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr
