"""A run directory: everything one training left behind, and all it takes to go on.

runs/photos/
├── config.json        the model and every setting, in full, as they ran
├── environment.json   versions, machine, command
├── log.jsonl          one object per logged step: {"step": 100, "loss": 1.91, ...}
├── checkpoints/       step-00000500.safetensors: the newest two, and best.safetensors
├── model.safetensors  the trained weights, when the training is done
└── report.html
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from patchword.errors import WeightsError
from patchword.files import write_text
from patchword.weights.files import read_with_notes, write

CLOCK = ("seconds", "images_per_second", "waiting")  # fields of the log that time decides


class Run:
    """Where one training keeps its log and its checkpoints."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.log_file = path / "log.jsonl"
        self.best_file = self.checkpoints / "best.safetensors"

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one object to the log."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def rows(self) -> list[dict[str, Any]]:
        """Read the log; a last line that was cut off is left out."""
        rows: list[dict[str, Any]] = []
        if self.log_file.exists():
            for line in self.log_file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    rows.append(json.loads(line))
        return rows

    def save(self, step: int, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Write a checkpoint; a crash leaves all of it or none. Older ones than two go."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write(self.checkpoints / f"step-{step:08d}.safetensors", tensors, {**notes, "step": step})
        for old in self._saved()[:-2]:
            old.unlink(missing_ok=True)

    def save_best(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Keep the weights with the best score on the validation pictures so far."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        write(self.best_file, tensors, notes)

    def restore(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest checkpoint that is whole, and cut the log back to its step.

        Returns:
            its tensors and notes, `step` among them; None where there is none.

        Raises:
            WeightsError: there are checkpoints and none of them can be read.
        """
        damaged: list[str] = []
        for path in reversed(self._saved()):
            try:
                tensors, notes = read_with_notes(path)
            except WeightsError as error:
                damaged.append(str(error))
                continue
            self._cut_log(int(notes["step"]))
            return tensors, notes
        if damaged:
            raise WeightsError(f"no checkpoint of {self.path} can be read: {'; '.join(damaged)}")
        self._cut_log(0)
        return None

    def _saved(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*.safetensors"))

    def _cut_log(self, step: int) -> None:
        rows = [row for row in self.rows() if row["step"] <= step]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if self.log_file.exists() and self.log_file.read_text(encoding="utf-8") != text:
            write_text(self.log_file, text)
