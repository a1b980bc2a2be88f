"""MoMKE: one expert per stream, trained alone; then every stream reads all experts.

Paper: Xu, Jiang, Liang, *Leveraging Knowledge of Modality Experts for Incomplete Multimodal
Learning*, ACM MM 2024.  Official repository: ``wxxv/MoMKE``, read as described in the
specification; licence not recorded.  Written from its equations, no line is taken from it.

    x_m = drop(P_m X_m)
    expert:  y = softmax(q kᵀ / √d_h) v,  y ← y + W2 gelu(W1 y),  x ← x + y,  four layers       (1)
    stage 1: ŷ_m = H_m(expert_m(x_m)) for every stream that is shown, loss = mean over m        (2)
    stage 2: o_m = Σ_e softmax(R_m(x_m))_e expert_e(x_m) where m is shown, else 0               (3)
             score = grades(C([o_1; …; o_M]))                                                   (4)

There is no output projection in the attention.  R_m is a two-layer router, a distribution over
the M experts at each step.

The adaptation to the score is ours: projections, fusion C and grade heads are those of the
incomplete-data methods, and H_m is a grade head with a decoder of one layer, dropped after stage 1.
No AQA paper says how it ported MoMKE, so published AQA numbers are of unknown ports.

What differs from the release: one network for all subsets (``condition`` trains the released kind,
one for a single subset, named by its streams: ``v+a``); the experts enter stage 2 as stage 1 left
them, which is what the released code does although its paper loads the best ones; ``pre_norm``
normalises what each attention reads, because nothing else bounds the stack (the released form is
``pre_norm=false``); routers start uniform; grade heads instead of linear ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.data.batch import Batch
from aqabench.errors import UsageError
from aqabench.method.base import Task
from aqabench.method.card import MethodCard
from aqabench.method.staged import StagedMethod
from aqabench.nn.dropout import dropout
from aqabench.nn.fusion import WIDTH, steps_to_read
from aqabench.nn.grade_head import GradeHead, Grades
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.projection import Projection, on_steps, stream_projection
from aqabench.nn.streams import PerStream

HIDDEN = 768


class ExpertLayer(nn.Module):
    """Equation 1: attention without an output projection, a residual MLP, a residual around."""

    def __init__(self, heads: int, pre_norm: bool) -> None:
        """Build for 256 channels; ``pre_norm`` adds no parameters."""
        super().__init__()
        self.heads = heads
        self.pre_norm = pre_norm
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.inner, self.outer = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Map (R, T, 256) to the same; ``keep`` (R, T) marks steps that may be read."""
        read = functional.layer_norm(x, (WIDTH,)) if self.pre_norm else x
        q, k, v = (
            part(read).view(*x.shape[:2], self.heads, -1).transpose(1, 2)  # (R, h, T, 256 / h)
            for part in (self.query, self.key, self.value)
        )
        mask = None if keep is None else keep[:, None, None]  # (R, 1, 1, T)
        y = functional.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        out: Tensor = x + y + self.outer(functional.gelu(self.inner(y)))
        return out


class Expert(nn.Module):
    """A stack of expert layers."""

    def __init__(self, layers: int, heads: int, pre_norm: bool) -> None:
        """Build the stack."""
        super().__init__()
        self.layers = nn.ModuleList(ExpertLayer(heads, pre_norm) for _ in range(layers))

    def forward(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """Map (R, T, 256) to the same."""
        for layer in self.layers:
            x = layer(x, keep)
        return x


class Router(nn.Module):
    """How much each expert counts at each step."""

    def __init__(self, experts: int) -> None:
        """Build it; a last layer of zeros makes all experts count alike at the start."""
        super().__init__()
        self.inner, self.outer = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, experts)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (R, T, experts), each step a distribution, from (R, T, 256)."""
        return torch.softmax(self.outer(functional.gelu(self.inner(x))), -1)


class MoMKENet(nn.Module):
    """Projections, experts, routers, fusion and grade head; and the heads of stage 1."""

    def __init__(
        self, widths: Mapping[str, int], layers: int, depth: int, heads: int, p: float, norm: bool
    ) -> None:
        """Build the untrained network.

        Args:
            widths: symbol of a stream -> D, in the order of every mask.
            layers: of the grade head's decoder.
            depth: layers of an expert; published 4.
            heads: of every attention; published 2.
            p: dropout after the projections and in the grade heads; published 0.5.
            norm: normalise what the experts' attention reads?
        """
        super().__init__()
        self.p = p
        self.in_proj = PerStream({m: stream_projection(d, WIDTH) for m, d in widths.items()})
        self.experts = PerStream({m: Expert(depth, heads, norm) for m in widths})
        self.routers = PerStream({m: Router(len(widths)) for m in widths})
        self.fusion = Projection(len(widths) * WIDTH, 2 * WIDTH, WIDTH)
        self.head = GradeHead(4, layers, WIDTH, heads, HIDDEN, p)
        self.own_heads = PerStream({m: GradeHead(4, 1, WIDTH, heads, HIDDEN, p) for m in widths})

    def project(self, modality: str, features: Tensor, keep: Tensor | None) -> Tensor:
        """Return x_m (R, T, 256) of samples that have the stream."""
        return dropout(on_steps(self.in_proj[modality], features, keep), self.p, self.training)

    def grade_alone(self, modality: str, x: Tensor, keep: Tensor | None) -> Grades:
        """Equation 2: what a stream's own expert says of x_m (R, T, 256)."""
        return cast(Grades, self.own_heads[modality](self.experts[modality](x, keep), keep))

    def mix(self, streams: Mapping[str, Tensor], keeps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Equation 3: return o_m (R_m, T, 256) of samples that show the stream.

        Args:
            streams: symbol -> x_m (R_m, T, 256).
            keeps: symbol -> (R_m, T) bool.
        """
        rows = torch.cat(list(streams.values()))  # (R, T, 256): an expert sees all streams at once
        keep = steps_to_read(torch.cat(list(keeps.values())))
        counts = [len(x) for x in streams.values()]
        share = torch.cat([self.routers[m](x) for m, x in streams.items()])  # (R, T, M)
        mixed = torch.zeros_like(rows)
        for k, expert in enumerate(self.experts.values()):
            mixed = mixed + share[..., k, None] * expert(rows, keep)
        return dict(zip(streams, torch.split(mixed, counts), strict=True))

    def grade(self, streams: Mapping[str, Tensor], keep: Tensor | None) -> Grades:
        """Equation 4, on streams (B, T, 256) that are zeros where a sample does not show them."""
        joined = torch.cat([streams[m] for m in self.in_proj], -1)  # (B, T, M × 256)
        return cast(Grades, self.head(on_steps(self.fusion, joined, keep), keep))


class MoMKE(StagedMethod):
    """MoMKE as one network for all subsets."""

    card = MethodCard(
        name="momke",
        title="MoMKE (ACM MM 2024), adapted",
        kind="method",
        summary=(
            "Trains one expert per stream alone, then lets a router per stream mix what all "
            "experts make of it, so that an expert can stand in for a missing stream's view."
        ),
        missing=(
            "Zeros after the experts, in training as at test. Both stages learn from what a sample "
            "has; the second shows a random non-empty subset of it (condition=v+a: always these, "
            "as released, one network for each subset). Nothing hidden is reconstructed."
        ),
        paper=(
            "Xu, Jiang, Liang: Leveraging Knowledge of Modality Experts for Incomplete Multimodal "
            "Learning, ACM MM 2024"
        ),
        code="wxxv/MoMKE",
        licence="not recorded when it was read",
        differs=(
            "For a score: projections, fusion and grade heads of the incomplete-data methods, "
            "their recipe and dropout, all in one training budget. One network for all subsets. "
            "What attention reads is normalised (pre_norm). Routers start uniform. Stage 2 takes "
            "the experts as stage 1 left them, as the released code does, and trains all at one "
            "rate."
        ),
        citation="""@inproceedings{xu2024momke,
  author    = {Xu, Wenxin and Jiang, Hexin and Liang, Xuefeng},
  title     = {Leveraging Knowledge of Modality Experts for Incomplete Multimodal Learning},
  booktitle = {ACM International Conference on Multimedia},
  year      = {2024}
}""",
        claims=("MoMKE",),
        settings={
            "first_stage": 0.5,
            "condition": "",
            "pre_norm": True,
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "expert_layers": 4,
            "heads": 2,
            "dropout": 0.3,
            "alpha": 1.0,
            "task_weight": 10.0,
        },
        published={"fisv": {"alpha": 0.5}, "fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "first_stage": ("linear", 0.2, 0.6),
            "pre_norm": ("choice", True, False),
        },
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1, "expert_layers": 1, "lr": 1e-3},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network.

        Raises:
            UsageError: ``condition`` names a stream that the task does not have.
        """
        self._condition()
        return MoMKENet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["expert_layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            cast(bool, self.settings["pre_norm"]),
        )

    def begin(self, stage: int) -> None:
        """Train experts with heads of their own, then everything but these."""
        net = self._net
        net.requires_grad_(stage == 1)
        for part in (net.in_proj, net.experts):
            part.requires_grad_(True)
        net.own_heads.requires_grad_(stage == 0)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return each stream's own loss, then that of the mixture on random subsets."""
        assert batch.score is not None
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        if self.stage == 0:
            return self._apart(batch, batch.score, task, alpha)
        shown = batch.available & self._condition().to(batch.available)
        if self.settings["condition"]:
            some = torch.nonzero(shown.any(1))[:, 0]
            if not len(some):
                return {}
            batch, shown = batch.take(some.tolist()), shown[some]
        else:
            shown = draw_shown(shown, generator)
        assert batch.score is not None
        rows = {m: shown[:, column] for column, m in enumerate(batch.features)}
        there = {m: x for m, x in rows.items() if bool(x.any())}
        keeps = {self.task.symbols[m]: batch.valid[x] for m, x in there.items()}
        projected = {
            self.task.symbols[m]: self._net.project(
                self.task.symbols[m], batch.features[m][x], steps_to_read(batch.valid[x])
            )
            for m, x in there.items()
        }
        mixed = self._net.mix(projected, keeps)
        streams = {}
        for m, x in rows.items():
            symbol = self.task.symbols[m]
            blank = self._net.head.prototype.weight.new_zeros(*batch.valid.shape, WIDTH)
            streams[symbol] = (
                blank.to(mixed[symbol].dtype).index_put((x,), mixed[symbol])
                if symbol in mixed
                else blank
            )
        grades = self._net.grade(streams, steps_to_read(batch.valid))
        return grade_loss(grades, batch.score, task, alpha)

    def _apart(self, batch: Batch, score: Tensor, task: float, alpha: float) -> dict[str, Tensor]:
        """Equation 2: each expert's loss on the samples that have its stream, over M."""
        terms: dict[str, Tensor] = {}
        count = len(batch.features)
        for column, (m, features) in enumerate(batch.features.items()):
            rows, symbol = batch.available[:, column], self.task.symbols[m]
            if not bool(rows.any()):
                continue
            keep = steps_to_read(batch.valid[rows])
            x = self._net.project(symbol, features[rows], keep)
            grades = self._net.grade_alone(symbol, x, keep)
            for name, term in grade_loss(grades, score[rows], task, alpha).items():
                terms[f"{name} {symbol}"] = term / count
        return terms

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        return {m: self._net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project one stream and let all experts read it."""
        symbol = self.task.symbols[modality]
        x = self._net.project(symbol, features, steps_to_read(valid))
        return self._net.mix({symbol: x}, {symbol: valid})[symbol]

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Put zeros where a stream is missing, fuse and grade."""
        blank = self._net.head.prototype.weight.new_zeros(*valid.shape, WIDTH)
        streams = {}
        for column, m in enumerate(self.task.modalities):
            rows = available[:, column, None, None]
            x = torch.where(rows, encoded[m], 0.0) if m in encoded else blank
            streams[self.task.symbols[m]] = x
        return self._net.grade(streams, steps_to_read(valid)).score

    def parameters(self) -> int:
        """Return the number of parameters without the heads that stage 1 leaves behind."""
        return sum(
            p.numel()
            for name, p in self._net.named_parameters()
            if not name.startswith("own_heads.")
        )

    def _condition(self) -> Tensor:
        """Return (M,) bool, the streams that stage 2 may show.

        Raises:
            UsageError: a stream that the task does not have.
        """
        named = str(self.settings["condition"])
        symbols = [self.task.symbols[m] for m in self.task.modalities]
        wanted = named.split("+") if named else symbols
        unknown = [symbol for symbol in wanted if symbol not in symbols]
        if unknown:
            raise UsageError(
                f"The 'condition' setting of momke names '{unknown[0]}', but {self.task.dataset} "
                f"has {', '.join(symbols)}. Join some of these: --set condition={symbols[0]}"
            )
        return torch.tensor([symbol in wanted for symbol in symbols])

    @property
    def _net(self) -> MoMKENet:
        return cast(MoMKENet, self.net)
