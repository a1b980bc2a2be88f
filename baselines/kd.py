"""Knowledge distillation: a teacher that sees complete samples, a student that sees what is left.

Both are the core of the incomplete-data methods.  First the teacher learns from complete samples.
Then it is frozen, and the student, which starts as its copy, sees a random non-empty subset B of
what a sample has; zeros stand after the encoder for the rest.  On complete samples it also learns
from the teacher, which sees all of them:

    L = 10 (ŷ − y)² + α L_div                                       the recipe's own loss
      + w_score · 10 (ŷ_s − ŷ_t)²                                   score
      + w_grades · τ² KL(g_t^τ ‖ g_s^τ),  g_k^τ = σ(s_k/τ) / Σ_j σ(s_j/τ)    grades, τ = 2
      + w_memory · mean (M_s − M_t)² / var(M_t)                     memory, per channel

with s_k the logits of the grade queries and M the fused sequence that the head reads.  var(M_t) is
a running variance over what the teacher has said, so that w_memory means the same everywhere.

Source: the idea is that of Hinton, Vinyals, Dean, *Distilling the Knowledge in a Neural Network*,
arXiv:1503.02531, and of FitNets (Romero et al., ICLR 2015) for the memory; the regression form is
ours.  No code was read.  The teacher hands over its last weights: a method sees no validation part.

Refuses: a teacher on anything but complete samples.  Where none are complete, it learns nothing,
has nothing to say, and the student is modality dropout with what is left of the budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.baselines.early_fusion import EarlyFusionNet
from aqabench.data.batch import Batch
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.staged import StagedMethod
from aqabench.nn.fusion import WIDTH, steps_to_read
from aqabench.nn.grade_head import Grades
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import on_steps

LEAST_SHARE = 0.1
"""Weight of a new batch in the teacher's running variance, once ten have been seen."""
EPS = 1e-5


class Pair(nn.Module):
    """Teacher and student, and how far each channel of the teacher's memory varies."""

    variance: Tensor
    batches: Tensor

    def __init__(self, widths: Mapping[str, int], layers: int, heads: int, dropout: float) -> None:
        """Build both untrained; sizes as in the core."""
        super().__init__()
        self.teacher = EarlyFusionNet(widths, layers, heads, dropout, "enc")
        self.student = EarlyFusionNet(widths, layers, heads, dropout, "enc")
        self.register_buffer("variance", torch.ones(WIDTH))  # (256,)
        self.register_buffer("batches", torch.tensor(0))
        self.register_buffer("taught", torch.tensor(False))

    def observe(self, memory: Tensor) -> None:
        """Move the running variance towards that of rows (N, 256) of the teacher's memory."""
        if len(memory) < 2:
            return
        self.batches += 1
        share = (1 / self.batches).clamp_min(LEAST_SHARE)  # the first batch replaces the ones
        self.variance.lerp_(memory.float().var(0, correction=0), share)


class KD(StagedMethod):
    """A complete teacher, an incomplete student."""

    card = MethodCard(
        name="kd",
        title="Knowledge distillation, complete to incomplete",
        kind="baseline",
        summary=(
            "A network trained on complete samples teaches another of the same shape, which sees "
            "random subsets of them: its score, its grades and what it reads them from."
        ),
        missing=(
            "Zeros after the encoder, at test as in the student's training, which shows a random "
            "non-empty subset of what a sample has. The teacher learns and teaches on complete "
            "samples only; incomplete ones train the student by their scores."
        ),
        paper=(
            "G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network, 2015, "
            "arXiv:1503.02531"
        ),
        differs=(
            "The idea only: scores and grade distributions instead of classes, the fused sequence "
            "beside them. The teacher is taken as it ends its share of the budget, not at its best "
            "epoch, because a method sees no validation part."
        ),
        citation="""@misc{hinton2015distilling,
  author = {Hinton, Geoffrey and Vinyals, Oriol and Dean, Jeff},
  title  = {Distilling the Knowledge in a Neural Network},
  note   = {arXiv:1503.02531},
  year   = {2015}
}""",
        settings={
            "first_stage": 0.4,
            "from_teacher": True,
            "score": 1.0,
            "grades": 0.5,
            "memory": 1.0,
            "temperature": 2.0,
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "score": ("choice", 0.0, 0.3, 1.0),
            "grades": ("choice", 0.0, 0.5),
            "memory": ("choice", 0.0, 0.3, 1.0),
        },
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return teacher and student, untrained.

        Raises:
            UsageError: a temperature that is not positive.
        """
        temperature = self._number("temperature")
        if temperature <= 0:
            raise UsageError(
                "The 'temperature' setting of kd must be positive. "
                f"Got {temperature:g} instead. Give one: --set temperature=2"
            )
        return Pair(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            self._number("dropout"),
        )

    def begin(self, stage: int) -> None:
        """Train the teacher alone, then the student alone."""
        pair = self._pair
        pair.teacher.requires_grad_(stage == 0)
        pair.student.requires_grad_(stage == 1)
        if stage == 1 and self.settings["from_teacher"]:
            pair.student.load_state_dict(pair.teacher.state_dict())

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the loss on complete samples (teacher), or on subsets, with the teacher's part."""
        assert batch.score is not None
        net, complete = self._pair, batch.available.all(1)  # (B,)
        task, alpha = self._number("task_weight"), self._number("alpha")
        if self.stage == 0:
            if not bool(complete.any()):
                return {}
            _, grades = self._read(net.teacher, batch, batch.available, complete)
            net.get_buffer("taught").fill_(True)
            return grade_loss(grades, batch.score[complete], task, alpha)
        shown = draw_shown(batch.available, generator)
        everyone = torch.ones_like(complete)
        memory, grades = self._read(net.student, batch, shown, everyone)
        terms = grade_loss(grades, batch.score, task, alpha)
        if bool(complete.any()) and bool(net.get_buffer("taught")):
            known = Grades(*(part[complete] for part in grades))
            terms |= self._lesson(batch, complete, memory[complete], known)
        return terms

    def _lesson(
        self, batch: Batch, complete: Tensor, memory: Tensor, grades: Grades
    ) -> dict[str, Tensor]:
        """Return what the student says otherwise than the teacher, of n complete samples.

        Args:
            batch: B samples.
            complete: (B,) bool, n of them.
            memory: (n, T, 256) of the student.
            grades: of the student.
        """
        net, real = self._pair, batch.valid[complete]  # (n, T)
        net.teacher.eval()
        with torch.no_grad():
            truth, answer = self._read(net.teacher, batch, batch.available, complete)
            net.observe(truth[real])
        temperature = self._number("temperature")
        share, wanted = (
            self._shares(head, said.queries, temperature)
            for head, said in ((net.student, grades), (net.teacher, answer))
        )  # (n, K) logarithms
        gap = (memory[real] - truth[real]).square() / (net.variance + EPS)  # (N, 256)
        divergence = functional.kl_div(share, wanted, reduction="batchmean", log_target=True)
        return {
            "score": self._number("score")
            * self._number("task_weight")
            * functional.mse_loss(grades.score, answer.score),
            "grades": self._number("grades") * temperature**2 * divergence,
            "memory": self._number("memory") * gap.mean(),
        }

    def _read(
        self, net: EarlyFusionNet, batch: Batch, shown: Tensor, rows: Tensor
    ) -> tuple[Tensor, Grades]:
        """Return memory (n, T, 256) and grades of the samples ``rows`` (B,), given ``shown``."""
        keep = steps_to_read(batch.valid[rows])
        streams = {}
        for column, (m, features) in enumerate(batch.features.items()):
            symbol = self.task.symbols[m]
            streams[symbol] = net.encode_rows(symbol, features[rows], shown[rows, column], keep)
        joined = torch.cat([streams[m] for m in net.in_proj], -1)  # (n, T, M × 256)
        memory = on_steps(net.fusion, joined, keep)  # (n, T, 256)
        return memory, cast(Grades, net.head(memory, keep))

    @staticmethod
    def _shares(net: EarlyFusionNet, queries: Tensor, temperature: float) -> Tensor:
        """Return log g^τ (n, K) of decoded grade queries (n, K, 256)."""
        head = net.head.regressor
        logits = (queries * head.weight).sum(-1) + head.bias  # (n, K), s_k
        votes = functional.logsigmoid(logits / temperature)
        return votes - votes.logsumexp(-1, keepdim=True)

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the projections of the network that is trained."""
        net = self._pair.student if self.stage == 1 else self._pair.teacher
        return {m: net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project and encode one stream."""
        symbol = self.task.symbols[modality]
        return self._pair.student.encode(symbol, features, steps_to_read(valid))

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Put zeros where a stream is missing, fuse and grade."""
        blank = self._pair.variance.new_zeros(*valid.shape, WIDTH)
        streams = {}
        for column, m in enumerate(self.task.modalities):
            rows = available[:, column, None, None]
            x = torch.where(rows, encoded[m], 0.0) if m in encoded else blank
            streams[self.task.symbols[m]] = x
        return self._pair.student.grade(streams, steps_to_read(valid)).score

    def parameters(self) -> int:
        """Return the number of the student's parameters: the teacher is gone at test."""
        return sum(p.numel() for p in self._pair.student.parameters())

    def _number(self, name: str) -> float:
        return cast(float, self.settings[name])

    @property
    def _pair(self) -> Pair:
        return cast(Pair, self.net)
