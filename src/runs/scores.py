"""The scores of a run: which checkpoint they select, which are missing, how they are reported. Reads and writes no files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from src.data.task import Scores

# What selected a checkpoint, for people: "by" in eval_results.json.
SELECTED_BY = {"dev": "on dev", "last": "the last, there is no dev file", None: "the published way"}


@dataclass
class ScoreHistory:
    """Scores by step and split, {step: {split: scores}}. `splits`: those to score checkpoints on, "test" and maybe "dev"."""

    headline: str
    splits: list[str]
    scores: dict[int, dict[str, Scores]] = field(default_factory=dict)
    cautions: dict[int, dict[str, list[str]]] = field(default_factory=dict)  # reasons to doubt a score, in the same form

    def has(self, step: int, split: str) -> bool:
        """Return whether the weights of `step` have been scored on `split`."""
        return split in self.scores.get(step, {})

    def add(self, step: int, split: str, scores: Scores, cautions: list[str]) -> None:
        """Add the scores of the weights of `step` on `split`, and the reasons to doubt them."""
        self.scores.setdefault(step, {})[split] = scores
        if cautions:
            self.cautions.setdefault(step, {})[split] = cautions

    def state_dict(self) -> dict[str, Any]:
        """Return scores and cautions as a JSON object."""
        return {name: {str(step): by_step[step] for step in sorted(by_step)} for name, by_step in self._tables().items()}

    def load_state_dict(self, state: Mapping[str, Any], last_step: float = math.inf) -> None:
        """Replace scores and cautions by those of a state_dict, up to `last_step`.

        Raises ValueError, AttributeError or the like if it is damaged.
        """
        for name, by_step in self._tables().items():
            by_step.clear()
            by_step |= {int(step): dict(splits) for step, splits in state.get(name, {}).items() if int(step) <= last_step}

    def _tables(self) -> dict[str, dict[int, Any]]:
        return {"scores": self.scores, "cautions": self.cautions}

    def selected(self, steps: list[int]) -> int | None:
        """Return the one of `steps` (ascending) that is best on dev, the earliest on ties; the last if there is no dev file."""
        if "dev" not in self.splits:
            return steps[-1] if steps else None
        return self._best("dev", steps)

    def best_on_test(self, steps: list[int]) -> int | None:
        """Return the one of `steps` that is best on test, the earliest on ties. Published tables are made this way."""
        return self._best("test", steps)

    def best_on_dev(self) -> int | None:
        """Return the step, saved or not, that is best on dev, the earliest on ties; None if none has been scored."""
        return self._best("dev", sorted(self.scores))

    def scorings_since_best(self) -> int:
        """Return how many steps have been scored on dev after the best one."""
        best = self.best_on_dev()
        return sum(step > best and self.has(step, "dev") for step in self.scores) if best is not None else 0

    def _best(self, split: str, steps: list[int]) -> int | None:
        scored = [step for step in steps if self.has(step, split)]
        return max(scored, key=lambda step: (self.scores[step][split][self.headline], -step), default=None)

    def missing(self, steps: list[int], every_step: bool) -> list[tuple[int, list[str]]]:
        """Return (step, splits) still to score, for each of `steps` or, without `every_step`, for the selected and the last."""
        if not every_step:
            if unscored := [(step, ["dev"]) for step in steps if "dev" in self.splits and not self.has(step, "dev")]:
                return unscored  # the selected one is unknown until all are scored on dev
            steps = sorted({step for step in (self.selected(steps), *steps[-1:]) if step is not None})
        missing = [(step, [split for split in self.splits if not self.has(step, split)]) for step in steps]
        return [(step, splits) for step, splits in missing if splits]

    def kept(self, steps: list[int], limit: int, every_step: bool) -> set[int]:
        """Return the checkpoints among `steps` to keep: the last, `selected`, `best_on_test`, then the newest up to `limit`.

        With `every_step`, checkpoints that are still to be scored are kept, too.
        """
        needed = {self.selected(steps), self.best_on_test(steps), *steps[-1:]}
        kept = {step for step in needed if step is not None}
        if every_step:
            kept |= {step for step, _ in self.missing(steps, every_step)}
        for step in reversed(steps):
            if len(kept) < limit:
                kept.add(step)
        return kept

    def results(self, steps: list[int]) -> dict[str, Any]:
        """Return headline, scores, selected and best_on_test of eval_results.json, chosen among the checkpoints at `steps`."""
        selected, best = self.selected(steps), self.best_on_test(steps)
        return {
            "headline": self.headline,
            **self.state_dict(),
            "selected": selected and self._result(selected, by="dev" if "dev" in self.splits else "last"),
            "best_on_test": best and self._result(best),
        }

    def _result(self, step: int, by: str = "") -> dict[str, Any]:
        scores = self.scores.get(step, {})
        splits = {split: scores.get(split) for split in ("dev", "test") if by or split == "test"}
        return {"step": step, "checkpoint": f"checkpoint-{step}"} | ({"by": by} if by else {}) | splits

    def lines(self) -> list[str]:
        """Return the lines of eval_results.txt: test scores as `acc_2000 = 0.89`, sorted by name and step."""
        scores = [(name, step, value) for step, splits in self.scores.items() for name, value in splits.get("test", {}).items()]
        return [f"{name}_{step} = {value}" for name, step, value in sorted(scores)]


def report(results: Mapping[str, Any]) -> str:
    """Return a short table of eval_results.json for people."""
    headline = results["headline"]
    lines = [f"{results['task']}: {headline}"]
    cautions = dict(results.get("cautions", {}))
    for view in ("selected", "best_on_test"):
        if choice := results[view]:
            scores = [f"{split} {choice[split][headline]:.4f}" for split in ("dev", "test") if choice.get(split)]
            shown = "  ".join(scores) or "not scored"
            lines.append(f"  {view:<13} step {choice['step']:<7} {shown:<27} ({SELECTED_BY[choice.get('by')]})")
            doubts = cautions.pop(str(choice["step"]), {})  # once, if both are the same checkpoint
            lines += [f"  {'':<13} caution, {split}: {'; '.join(reasons)}" for split, reasons in doubts.items()]
    return "\n".join(lines)
