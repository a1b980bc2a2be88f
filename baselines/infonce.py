"""InfoNCE: pull the streams of one video together first, then learn to score.

    u_m = n(c(W_m mean_{t∈q} E(P_m(x_m))))      for quarter q of a video's window; c takes away the
                                                 batch mean of the stream, n is the Euclidean norm
    l(m, n) = −log softmax_j(⟨u_m^i, u_n^j⟩ / τ)_i, and the same with m and n exchanged
    L_con = mean over pairs of streams of the mean of both over samples that have both

First stage, a share of the budget: L_con alone; what there is is contrasted, scores are not read.
Second stage: the recipe of modality dropout, with ``contrast_weight`` · L_con beside it.

Quarters give a batch of 32 videos 128 rows to tell apart.  Other quarters of the same video are
negatives of half weight (log ½ beside their logits).  Without the centring, one encoder for all
streams lets the offset between streams rule every logit.  τ is learned within [0.01, 0.5].

Sources: the loss is that of van den Oord, Li, Vinyals, *Representation Learning with Contrastive
Predictive Coding*, arXiv:1807.03748, between modalities as in CLIP (Radford et al., ICML 2021,
arXiv:2103.00020).  No code was read.

Refuses: a stream that a sample does not have, on either side of a pair.  A batch of the first stage
in which no two samples have the same two streams has nothing to contrast, and teaches the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.baselines.early_fusion import EarlyFusion
from aqabench.baselines.modality_dropout import TokenNet
from aqabench.data.batch import Batch, Split
from aqabench.method.base import FitContext, Task
from aqabench.method.card import MethodCard
from aqabench.method.staged import StagedMethod
from aqabench.nn.fusion import WIDTH, steps_to_read
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown
from aqabench.nn.streams import PerStream

SHARED = 128
"""Numbers of the space in which streams meet."""
TEMPERATURES = 0.01, 0.5
SAME_VIDEO = 0.5
"""Weight of a negative from another part of the same video."""


class ContrastNet(TokenNet):
    """Modality dropout's network, and maps of its streams into one space."""

    def __init__(
        self,
        widths: Mapping[str, int],
        layers: int,
        heads: int,
        dropout: float,
        temperature: float = 0.07,
    ) -> None:
        """Build the untrained network; ``temperature`` is where τ starts."""
        super().__init__(widths, layers, heads, dropout)
        self.to_shared = PerStream({m: nn.Linear(WIDTH, SHARED) for m in widths})
        self.log_temperature = nn.Parameter(torch.tensor(temperature).log())

    def contrast(
        self,
        encoded: Mapping[str, Tensor],
        available: Tensor,
        valid: Tensor,
        segments: int = 1,
        likeness: Tensor | None = None,
    ) -> Tensor | None:
        """Return L_con, or None where there is nothing to contrast.

        Args:
            encoded: symbol -> (B, T, 256), finite everywhere.
            available: (B, M) bool.
            valid: (B, T) bool.
            segments: parts q of a window.
            likeness: (B, B) > 0, how much of a positive another video is; only itself by default.

        Returns:
            (), or None.
        """
        means, exists = segment_means(encoded, valid, segments)  # (B, Q, 256) each; (B, Q)
        temperature = self.log_temperature.exp().clamp(*TEMPERATURES)
        losses = []
        for (i, m), (j, n) in combinations(enumerate(self.in_proj), 2):
            both = available[:, i] & available[:, j]
            if int(both.sum()) < 2:
                continue
            rows = exists & both[:, None]  # (B, Q)
            video, part = torch.nonzero(rows, as_tuple=True)  # (R,) each
            u, v = (self._shared(s, means[s][rows]) for s in (m, n))  # (R, 128)
            logits = u @ v.T / temperature  # (R, R)
            same_video = video[:, None] == video[None]
            other_part = part[:, None] != part[None]
            logits = logits + torch.where(same_video & other_part, SAME_VIDEO, 1.0).log()
            positive = (same_video if likeness is None else likeness[video][:, video]) * ~other_part
            target = positive / positive.sum(1, keepdim=True)  # symmetric rows and columns
            losses += [functional.cross_entropy(x, target.float()) for x in (logits, logits.T)]
        return torch.stack(losses).mean() if losses else None

    def _shared(self, modality: str, means: Tensor) -> Tensor:
        mapped = self.to_shared[modality](means).float()  # (R, 128)
        return functional.normalize(mapped - mapped.mean(0), dim=-1)


def segment_means(
    encoded: Mapping[str, Tensor], valid: Tensor, segments: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Average each of equal parts of a window over the steps that exist.

    Args:
        encoded: symbol -> (B, T, 256), finite everywhere.
        valid: (B, T) bool.
        segments: parts Q, at most as many as steps.

    Returns:
        Symbol -> (B, Q, 256), and (B, Q) bool, which parts have a step at all.
    """
    steps = valid.shape[1]
    count = min(segments, steps)
    part = torch.arange(steps, device=valid.device) * count // steps  # (T,)
    inside = part == torch.arange(count, device=valid.device)[:, None]  # (Q, T)
    weight = (inside & valid[:, None]).float()  # (B, Q, T)
    number = weight.sum(-1, keepdim=True)
    share = weight / number.clamp_min(1)
    return {m: torch.bmm(share.to(x.dtype), x) for m, x in encoded.items()}, number[..., 0] > 0


class InfoNCE(StagedMethod, EarlyFusion):
    """Cross-modal contrast, then early fusion on random subsets."""

    card = MethodCard(
        name="infonce",
        title="Cross-modal InfoNCE, then regression",
        kind="baseline",
        summary=(
            "First brings encodings of a video's streams together and those of other videos "
            "apart, without scores; then learns to score as modality dropout does."
        ),
        missing=(
            "Streams are contrasted where a sample has both. Scoring is trained on a random "
            "non-empty subset of what a sample has, with a learned vector after the encoder for "
            "what is not shown. Nothing hidden is reconstructed, so incomplete training data will "
            "do; where every sample has one stream there is nothing to contrast."
        ),
        paper=(
            "van den Oord, Li, Vinyals: Representation Learning with Contrastive Predictive "
            "Coding, arXiv:1807.03748; between modalities: Radford et al.: Learning Transferable "
            "Visual Models From Natural Language Supervision, ICML 2021, arXiv:2103.00020"
        ),
        differs=(
            "The loss only, on the core of the incomplete-data methods: quarters of a window for "
            "a larger batch (segments=1: whole windows), other quarters of a video with half "
            "weight, vectors centred per stream, temperature clamped."
        ),
        citation=(
            "@article{oord2018representation, title={Representation Learning with Contrastive "
            "Predictive Coding}, author={van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol}, "
            "journal={arXiv preprint arXiv:1807.03748}, year={2018}}"
        ),
        settings={
            "first_stage": 0.3,
            "segments": 4,
            "temperature": 0.07,
            "contrast_weight": 0.1,
            "soft": False,
            "bandwidth": 0.1,
            "probe": False,
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
            "first_stage": ("linear", 0.1, 0.5),
            "contrast_weight": ("choice", 0.0, 0.1, 1.0),
            "segments": ("choice", 1, 4),
            "soft": ("choice", False, True),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1, "first_stage": 0.1},
    )

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network for the widths of the streams."""
        return ContrastNet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            cast(float, self.settings["temperature"]),
        )

    def learn(self, train: Split, context: FitContext) -> None:
        """Train in two stages; nothing is frozen afterwards."""
        super().learn(train, context)
        self.net.requires_grad_(True)

    def begin(self, stage: int) -> None:
        """Train everything; with ``probe``, what encodes streams in the first stage only.

        Tokens rest in the first stage, in which they stand for nothing: weight decay would wear
        them away.
        """
        self._net.tokens.requires_grad_(stage == 1)
        frozen = stage == 1 and bool(self.settings["probe"])
        for part in (self._net.in_proj, self._net.encoder):
            part.requires_grad_(not frozen)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Contrast in the first stage; in the second the score, and the contrast beside it."""
        assert batch.score is not None
        net, keep = self._net, steps_to_read(batch.valid)
        if self.stage == 1 and self.settings["probe"]:
            net.in_proj.eval()
            net.encoder.eval()
        encoded = {}
        for column, (m, features) in enumerate(batch.features.items()):
            symbol = self.task.symbols[m]
            rows = batch.available[:, column]
            encoded[symbol] = net.encode_rows(symbol, features, rows, keep)  # (B, T, 256)
        likeness, segments = None, cast(int, self.settings["segments"])
        if self.settings["soft"]:
            apart = (batch.score[:, None] - batch.score).abs()
            likeness = torch.exp(-apart / cast(float, self.settings["bandwidth"]))
        contrast = net.contrast(encoded, batch.available, batch.valid, segments, likeness)
        if self.stage == 0 and contrast is not None:
            return {"contrast": contrast}
        shown = draw_shown(batch.available, generator)  # (B, M)
        streams = {
            m: torch.where(shown[:, column, None, None], x, net.constant(m).to(x.dtype))
            for column, (m, x) in enumerate(encoded.items())
        }
        task, alpha = (cast(float, self.settings[k]) for k in ("task_weight", "alpha"))
        terms = grade_loss(net.grade(streams, keep), batch.score, task, alpha)
        weight = cast(float, self.settings["contrast_weight"])
        if contrast is not None and weight and not self.settings["probe"]:
            terms["contrast"] = weight * contrast
        return terms

    @property
    def _net(self) -> ContrastNet:
        return cast(ContrastNet, self.net)
