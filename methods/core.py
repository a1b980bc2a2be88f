"""CoRe: regress how much better a video is than exemplars whose scores are known.

Paper: Yu, Rao, Zhao, Lu, Zhou, *Group-aware Contrastive Regression for Action Quality Assessment*,
ICCV 2021.  Official repository: ``yuxumin/CoRe`` at ``f7881a9``; no licence seen.  Written from a
specification of it, no line is taken from it.

    pair = [φ(exemplar) ; φ(query) ; s_e / θ]                                    (1)
    log P(leaf), o(leaf) = Tree(pair),  leaf [l, r) an interval of s_q − s_e     (2)
    loss = −log P(true leaf) + Σ_leaves mean (o − (Δ − l)/(r − l))²              (3)
    ŝ_q = mean over exemplars of s_e + l + (r − l) o, of the likeliest leaf      (4)

Tree, leaves and (3) are in ``_core_tree.py``.  Published for short clips, φ the mean of a video
network's windows; here φ is the pooled vector of the shared encoder (``_pooled.py``), θ = 1 on
normalised scores, and videos of one class are of equal difficulty.

Missing streams are not in the paper.  A query under the subset S of streams is compared with what
an exemplar has of S, because two vectors of unlike streams differ in more than quality; with all
that an exemplar has where that is none of S, or where ``exemplar=complete``.  Training is the same:
each sample is the query of one other sample of its batch, and its exemplar the other way round.

Exemplars are training samples, one from each of ten score deciles (the most complete, drawn by the
seed among equals).  Their windows are buffers of the network: the state scores alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Task
from aqabench.method.card import MethodCard
from aqabench.methods._core_tree import (
    Leaves,
    RegressionTree,
    bounds_of_groups,
    decode,
    load_official,
    tree_loss,
)
from aqabench.methods._pooled import WIDTH, PooledMethod

__all__ = ["CoRe", "Leaves", "RegressionTree", "choose_exemplars", "load_official"]

EXEMPLARS = ("shared", "complete")


class CoRe(PooledMethod):
    """Contrastive regression on the shared encoder."""

    card = MethodCard(
        name="core",
        title="CoRe (ICCV 2021), head on the shared encoder",
        kind="method",
        summary=(
            "Regresses the score difference to exemplars with known scores: a tree finds the "
            "interval, then the place in it. The score is the mean over ten exemplars."
        ),
        missing=(
            "Ours, since the paper has one stream. Query and exemplar show the same streams, as "
            "far as the exemplar has them (exemplar=complete: it shows all it has); a learned "
            "vector stands for an absent one after the encoder. Training shows a random non-empty "
            "subset of each sample (modality_dropout=false: all of it)."
        ),
        paper=(
            "Yu et al.: Group-aware Contrastive Regression for Action Quality Assessment, ICCV 2021"
        ),
        code="yuxumin/CoRe at f7881a9",
        licence="none seen in the repository",
        differs=(
            "The head alone is published work: it reads the mean of the fused sequence of the "
            "shared encoder, 256 numbers, not a fine-tuned video network. Exemplars are fixed by "
            "the seed, not drawn at test; groups come from all pairs of training scores. One "
            "learning rate for encoder and head (published: 1e-4 and 1e-3), batch, epochs and "
            "weight decay of the encoder (published: 1 or 2, 200, 0)."
        ),
        citation=(
            "@inproceedings{yu2021group, title={Group-aware Contrastive Regression for Action "
            "Quality Assessment}, author={Yu, Xumin and Rao, Yongming and Zhao, Wenliang and Lu, "
            "Jiwen and Zhou, Jie}, booktitle={ICCV}, year={2021}}"
        ),
        claims=("CoRe",),
        settings={
            "optimizer": "adam",
            "lr": 2e-4,
            "weight_decay": 1e-4,
            "batch_size": 32,
            "epochs": 300,
            "layers": 3,
            "heads": 2,
            "dropout": 0.3,
            "modality_dropout": True,
            "exemplars": 10,
            "exemplar": "shared",
            "depth": 5,
            "expectation": False,
        },
        published={"fs1000": {"lr": 1e-4}},
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "exemplar": ("choice", "shared", "complete"),
            "expectation": ("choice", False, True),
        },
        min_modalities=2,
        contract_settings={"batch_size": 8, "layers": 1},
    )

    _bank: Mapping[str, Tensor] | None = None
    """Encoded exemplars by symbol (K, T, 256) under the present weights; None until asked for."""

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network, with room for the exemplars.

        Raises:
            UsageError: a setting that names one of several ways names none of them.
        """
        self.one_of("exemplar", EXEMPLARS)
        depth = cast(int, self.settings["depth"])
        net = self.with_head(task, RegressionTree(2 * WIDTH + 1, depth=depth))
        count, steps = self._count, len(range(0, task.clip_length, task.stride))
        net.register_buffer("bounds", torch.linspace(-1, 1, 2 ** (depth - 1) + 1))
        net.register_buffer("exemplar_score", torch.zeros(count))
        net.register_buffer("exemplar_valid", torch.ones(count, steps, dtype=torch.bool))
        shown = torch.ones(count, len(task.modalities), dtype=torch.bool)
        net.register_buffer("exemplar_available", shown)
        for column, width in enumerate(task.modalities.values()):
            net.register_buffer(f"exemplar{column}", torch.zeros(count, steps, width))
        self._bank = None
        return net

    def fit(self, train: Split, context: FitContext) -> None:
        """Choose exemplars by the seed, then train with the shared loop."""
        generator = context.generator("exemplars")
        self._chosen = choose_exemplars(train.score, train.available, self._count, generator)
        super().fit(train, context)

    def prepare(self, train: Split) -> None:
        """Keep the exemplars with the weights, and let training scores say what the leaves are."""
        rows, buffer = self._chosen, self.net.get_buffer
        start, length = train.cut(rows, "centre", self.task.clip_length)
        at, valid = train.steps_of(rows, start, length)  # (K, T)
        index = train.begin[rows, None] + torch.where(valid, at, 0)
        available = train.available[rows]
        for column, flat in enumerate(train.flat.values()):
            there = (valid & available[:, column, None])[..., None].to(flat.device)
            x = flat[index.to(flat.device)].float()  # (K, T, D)
            buffer(f"exemplar{column}").copy_(torch.where(there, x, 0.0))
        buffer("exemplar_score").copy_(train.score[rows])
        buffer("exemplar_valid").copy_(valid)
        buffer("exemplar_available").copy_(available)
        buffer("bounds").copy_(bounds_of_groups(train.score, len(buffer("bounds")) - 1))

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Compare each sample with another one of its batch, and the other with it (3)."""
        assert batch.score is not None
        self._bank = None  # the weights are about to change
        shown = self.shown(batch, generator)  # (B, M)
        partner = torch.empty(len(batch), dtype=torch.long)
        order = torch.randperm(len(batch), generator=generator)
        partner[order] = order.roll(1)  # one cycle: nobody is compared with itself
        partner = partner.to(shown.device)
        features = self.by_symbol(batch.features)
        if self.settings["exemplar"] == "complete":
            encoded = self.body.encode_where(features, batch.available, batch.valid)
            query, whole = self._pooled(encoded, (shown, batch.available), batch.valid)
            queries, exemplars = (query, query[partner]), (whole[partner], whole)
        else:
            common = _common(shown, batch.available[partner])  # what the partners show
            seen = shown.clone()
            seen[partner] |= common
            encoded = self.body.encode_where(features, seen, batch.valid)
            own = torch.arange(len(batch), device=shown.device)
            query, other = self._pooled(encoded, (shown, common), batch.valid, (own, partner))
            queries, exemplars = (query, other), (other, query)
        known = batch.score[partner], batch.score
        said = self._tree(pair_up(torch.cat(exemplars), torch.cat(queries), torch.cat(known)))
        difference = torch.cat([batch.score, batch.score[partner]]) - torch.cat(known)
        return tree_loss(said, difference, self.net.get_buffer("bounds"))

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Compare with all exemplars, each showing what it shares with the query (4)."""
        query = self.body.pool(self.by_symbol(encoded), available, valid)  # (B, 256)
        known = self.net.get_buffer("exemplar_score")  # (K,)
        scores = torch.empty_like(query[:, 0])
        for pattern in torch.unique(available, dim=0):
            rows = (available == pattern).all(1)
            theirs = self._exemplars(pattern)  # (K, 256)
            count = int(rows.sum())
            pairs = pair_up(
                theirs.repeat(count, 1),
                query[rows].repeat_interleave(self._count, 0),
                known.repeat(count),
            )  # (R K, 513)
            apart = decode(
                self._tree(pairs),
                self.net.get_buffer("bounds"),
                bool(self.settings["expectation"]),
            )
            scores[rows] = (known + apart.view(count, -1)).mean(1)
        return scores

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Build the network and load weights and exemplars."""
        super().load_state(state)
        self._bank = None

    def _exemplars(self, pattern: Tensor) -> Tensor:
        """Return the exemplars' vectors (K, 256) for a query that shows ``pattern`` (M,)."""
        buffer, body = self.net.get_buffer, self.body
        available, valid = buffer("exemplar_available"), buffer("exemplar_valid")
        if self._bank is None:
            features = {m: buffer(f"exemplar{c}") for c, m in enumerate(body.in_proj)}
            self._bank = body.encode_where(features, available, valid)
        whole = self.settings["exemplar"] == "complete"
        shown = available if whole else _common(pattern.expand_as(available), available)
        return body.pool(self._bank, shown, valid)

    def _pooled(
        self,
        encoded: Mapping[str, Tensor],
        shown: tuple[Tensor, Tensor],
        valid: Tensor,
        rows: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the vectors (B, 256) of two views of a batch, of which batch norms see one batch.

        Args:
            encoded: symbol -> (B, T, 256).
            shown: what each view shows, (B, M).
            valid: (B, T) bool.
            rows: which samples each view is of, (B,); all in order by default.
        """
        first, second = rows or (torch.arange(len(valid), device=valid.device),) * 2
        both = torch.cat([first, second])
        streams = {m: x[both] for m, x in encoded.items()}
        a, b = self.body.pool(streams, torch.cat(shown), valid[both]).chunk(2)
        return a, b

    def _tree(self, pairs: Tensor) -> Leaves:
        said: Leaves = cast(RegressionTree, self.body.head)(pairs)
        return said

    @property
    def _count(self) -> int:
        return cast(int, self.settings["exemplars"])


def pair_up(exemplar: Tensor, query: Tensor, known: Tensor) -> Tensor:
    """Return Eq. 1, (N, 513): vectors of exemplars and queries (N, 256), exemplars' scores (N,)."""
    return torch.cat([exemplar, query, known[:, None]], -1)


def _common(shown: Tensor, available: Tensor) -> Tensor:
    """Return (N, M), what an exemplar has of what is shown; all it has where that is nothing."""
    common = shown & available
    return torch.where(common.any(1, keepdim=True), common, available)


def choose_exemplars(
    score: Tensor, available: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """Choose one sample from each of ``count`` equal parts of the samples in order of score.

    Args:
        score: (n,) of the training samples.
        available: (n, M) bool; of a part, those that have most streams are drawn from.
        count: of exemplars K; samples are repeated where there are fewer.
        generator: draws among equals.

    Returns:
        (K,) rows.
    """
    order = torch.argsort(score, stable=True)
    streams = available.cpu().sum(1)[order]
    tickets = torch.rand(len(order), generator=generator)
    chosen = []
    for k in range(count):
        low = k * len(order) // count
        part = slice(low, max((k + 1) * len(order) // count, low + 1))
        best = (streams[part] + tickets[part]).argmax()  # a ticket is worth less than a stream
        chosen.append(order[part][best])
    return torch.stack(chosen)
