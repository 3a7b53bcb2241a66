"""The scores of a run: which checkpoint they select, what is still to be scored, what is reported. Knows no files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from src.data import Scores


@dataclass
class ScoreHistory:
    """Scores by step and split, {step: {split: scores}}. `splits`: those a checkpoint is scored on, "test" and maybe "dev"."""

    headline: str
    splits: list[str]
    scores: dict[int, dict[str, Scores]] = field(default_factory=dict)

    def has(self, step: int, split: str) -> bool:
        """Whether the weights of `step` have been scored on `split`."""
        return split in self.scores.get(step, {})

    def selected(self, steps: list[int]) -> int | None:
        """The one of `steps` (ascending) that is best on dev, the earliest of equals; without a dev file the last."""
        if "dev" not in self.splits:
            return steps[-1] if steps else None
        return self._best("dev", steps)

    def best_on_test(self, steps: list[int]) -> int | None:
        """The one of `steps` that is best on test, the earliest of equals: the way the published tables choose."""
        return self._best("test", steps)

    def _best(self, split: str, steps: list[int]) -> int | None:
        scored = [step for step in steps if self.has(step, split)]
        return max(scored, key=lambda step: (self.scores[step][split][self.headline], -step), default=None)

    def missing(self, steps: list[int], every_step: bool) -> list[tuple[int, list[str]]]:
        """(step, splits) still to score: of each of `steps`, or, without `every_step`, of the selected and the last."""
        if not every_step:
            if unknown := [(step, ["dev"]) for step in steps if "dev" in self.splits and not self.has(step, "dev")]:
                return unknown  # until dev is scored nobody knows which one is selected
            steps = sorted({step for step in (self.selected(steps), *steps[-1:]) if step is not None})
        found = [(step, [split for split in self.splits if not self.has(step, split)]) for step in steps]
        return [(step, splits) for step, splits in found if splits]

    def results(self, steps: list[int]) -> dict[str, Any]:
        """`headline`, `scores`, `selected` and `best_on_test` of eval_results.json, chosen among the checkpoints at `steps`."""
        selected, best = self.selected(steps), self.best_on_test(steps)
        return {
            "headline": self.headline,
            "scores": {str(step): self.scores[step] for step in sorted(self.scores)},
            "selected": selected and self._result(selected, by="dev" if "dev" in self.splits else "last"),
            "best_on_test": best and self._result(best),
        }

    def _result(self, step: int, by: str = "") -> dict[str, Any]:
        scores = self.scores.get(step, {})
        splits = {split: scores.get(split) for split in ("dev", "test") if by or split == "test"}
        return {"step": step, "checkpoint": f"checkpoint-{step}"} | ({"by": by} if by else {}) | splits

    def lines(self) -> list[str]:
        """The test scores as `acc_2000 = 0.89`, by name and step."""
        found = [(name, step, value) for step, splits in self.scores.items() for name, value in splits.get("test", {}).items()]
        return [f"{name}_{step} = {value}" for name, step, value in sorted(found)]


def report(results: Mapping[str, Any]) -> str:
    """A short table of eval_results.json for people."""
    headline = results["headline"]
    lines = [f"{results['task']}: {headline}"]
    for view in ("selected", "best_on_test"):
        if found := results[view]:
            shown = [f"{split} {found[split][headline]:.4f}" for split in ("dev", "test") if found.get(split)]
            how = {"dev": "on dev", "last": "the last, there is no dev file", None: "the published way"}[found.get("by")]
            lines.append(f"  {view:<13} step {found['step']:<7} {'  '.join(shown) or 'not scored':<27} ({how})")
    return "\n".join(lines)
