"""ActionMAE: what is hidden is written by a masked autoencoder that reads what is shown.

Paper: Woo, Lee, Park, Nugroho, Kim, *Towards Good Practices for Missing Modality Robust Action
Recognition*, AAAI 2023.  Official repository: ``sangminwoo/ActionMAE``, read as described in the
specification; licence not recorded.  Written from its equations, no line is taken from it.

    h_m = E(P_m X_m)                                          for every stream m that is shown   (1)
    y = Enc([μ ; h_m + e_m + sine(t)]),  hidden and padded steps are no keys                     (2)
    z = W Dec([y where shown, τ + e_m + sine(t) where hidden])                                   (3)
    o_m = h_m where shown, z_m where hidden;  score = grades(C([o_1; …; o_M]))                   (4)
    L = L_task + α L_div + mean (z_m − LN(h_m))² over streams that exist and were hidden         (5)

μ are four memory tokens, τ one mask token, e_m the embedding of a stream, LN a layer norm without
parameters, and its argument is not trained through.  Published is one token for each stream, from
a video network trained with it; here a stream's T steps are its tokens, and E, P, C and the grade
head are those of the incomplete-data methods (our adaptation; no AQA paper says how it ported
ActionMAE, so published AQA numbers are of unknown ports, and may have the errors below).

Released errors, corrected here, each a switch:

- ``left_packed``: at test what is shown is moved to the first slots and left there, so that only
  prefixes of the streams' order come out right: with the first and third shown, the third is read
  in the second's place.
- ``no_positions``: e_m and sine(t) are not added, so that all that is hidden is written alike.
- ``reads_memory``: with nothing hidden the decoder is skipped, and streams are read from where the
  memory tokens are.
- ``attached_targets``: (5) also trains its targets, which the encoder can shrink.
- ``recon_observed``: (4) takes z_m for what is shown as well.  A choice rather than an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aqabench.baselines.modality_dropout import draw_weighted
from aqabench.data.batch import Batch
from aqabench.errors import UsageError
from aqabench.method.base import Task, TorchMethod
from aqabench.method.card import MethodCard
from aqabench.methods._actionmae_blocks import TokenAutoencoder
from aqabench.nn.fusion import WIDTH, FusionCore, steps_to_read
from aqabench.nn.grade_head import Grades
from aqabench.nn.losses import grade_loss
from aqabench.nn.masks import draw_shown

POLICIES = ("uniform", "size")


@dataclass(frozen=True)
class Switches:
    """Released behaviours; all off is the corrected form."""

    left_packed: bool = False
    no_positions: bool = False
    reads_memory: bool = False
    attached_targets: bool = False
    recon_observed: bool = False


class ActionMAENet(FusionCore):
    """The core, and the autoencoder that writes what it is not shown."""

    def __init__(
        self, widths: Mapping[str, int], layers: int, heads: int, p: float, switches: Switches
    ) -> None:
        """Build the untrained network; ``layers`` and ``heads`` are the core's."""
        super().__init__(widths, layers, heads, p)
        self.switches = switches
        self.mae = TokenAutoencoder(
            len(widths), p, not switches.no_positions, switches.recon_observed
        )

    def complete(self, h: Tensor, shown: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Equation 4: return o and z, both (B, M, T, 256), the latter where something is hidden.

        Args:
            h: (B, M, T, 256), 0 where hidden.
            shown: (B, M) bool.
            valid: (B, T) bool.
        """
        full, switches = shown.all(1), self.switches
        rows = ~full
        if switches.recon_observed or switches.reads_memory:
            rows = torch.ones_like(full)
        if not bool(rows.any()):
            return h, h
        written = self.mae(h[rows], shown[rows], valid[rows])
        taken = written.streams
        if not switches.recon_observed:
            taken = torch.where(shown[rows, :, None, None], h[rows].to(taken.dtype), taken)
        if switches.reads_memory:
            taken = torch.where(full[rows, None, None, None], written.misread, taken)
        blank = h.to(taken.dtype)
        return blank.index_put((rows,), taken), blank.index_put((rows,), written.streams)

    def grade_slots(self, slots: Tensor, keep: Tensor | None) -> Grades:
        """Fuse the slots (B, M, T, 256) to what the grade head reads, and grade."""
        return self.grade(dict(zip(self.in_proj, slots.unbind(1), strict=True)), keep)


class ActionMAE(TorchMethod):
    """ActionMAE with its slots and positions put right; every released error is a setting."""

    card = MethodCard(
        name="actionmae",
        title="ActionMAE (AAAI 2023), re-implemented, slots and positions corrected",
        kind="method",
        summary=(
            "A masked autoencoder over the steps of all streams writes the encodings of what is "
            "missing from what is there; the fusion reads both."
        ),
        missing=(
            "Written after the encoder by the autoencoder, at test as in training, which shows a "
            "random non-empty subset of what a sample has and learns to write what it hid, never "
            "what does not exist."
        ),
        paper=(
            "Woo, Lee, Park, Nugroho, Kim: Towards Good Practices for Missing Modality Robust "
            "Action Recognition, AAAI 2023"
        ),
        code="sangminwoo/ActionMAE",
        licence="not recorded when it was read",
        differs=(
            "For scores from clip features: a stream's steps are its tokens, a shared encoder "
            "instead of a network per stream, fusion and grade head instead of summed logits, the "
            "recipe of the incomplete-data methods. Streams keep their slots, positions are added, "
            "memory tokens are not read as streams, targets are not trained; each is a setting."
        ),
        citation="""@inproceedings{woo2023actionmae,
  author    = {Woo, Sangmin and Lee, Sumin and Park, Yeonju and Nugroho, Muhammad Adi and
               Kim, Changick},
  title     = {Towards Good Practices for Missing Modality Robust Action Recognition},
  booktitle = {AAAI},
  year      = {2023}
}""",
        claims=("ActionMAE",),
        settings={
            "policy": "uniform",
            "reconstruction": 1.0,
            "left_packed": False,
            "no_positions": False,
            "reads_memory": False,
            "attached_targets": False,
            "recon_observed": False,
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
        switches={
            "slots: what is shown moves to the first": {"left_packed": True},
            "positions are left out": {"no_positions": True},
            "memory tokens are read as streams": {"reads_memory": True},
            "targets are trained": {"attached_targets": True},
            "observed streams are written as well": {"recon_observed": True},
        },
        search={
            "lr": ("log", 5e-5, 1e-3),
            "dropout": ("linear", 0.0, 0.6),
            "reconstruction": ("log", 0.1, 10.0),
            "policy": ("choice", "uniform", "size"),
        },
        min_modalities=2,
        contract_settings={"batch_size": 4, "layers": 1, "lr": 1e-3},
    )

    @property
    def batch_matters(self) -> bool:
        """Where memory tokens are misread depends on the batch's padding."""
        return bool(self.settings["reads_memory"])

    def build(self, task: Task) -> nn.Module:
        """Return the untrained network.

        Raises:
            UsageError: no such policy.
        """
        policy = str(self.settings["policy"])
        if policy not in POLICIES:
            raise UsageError(
                f"The 'policy' setting of actionmae must be {' or '.join(POLICIES)}. "
                f"Got '{policy}' instead. Give one: --set policy={POLICIES[0]}"
            )
        chosen = {f.name: cast(bool, self.settings[f.name]) for f in fields(Switches)}
        return ActionMAENet(
            {task.symbols[m]: width for m, width in task.modalities.items()},
            cast(int, self.settings["layers"]),
            cast(int, self.settings["heads"]),
            cast(float, self.settings["dropout"]),
            Switches(**chosen),
        )

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Hide something, then the task, the diversity of the queries, and what was written."""
        assert batch.score is not None
        net, available = self._net, batch.available
        if self.settings["policy"] == "size":
            shown = draw_weighted(available, generator, lambda some, of: 1 / math.comb(of, some))
        else:
            shown = draw_shown(available, generator)
        hidden = available & ~shown
        if net.switches.attached_targets:
            whole = self._slots(self.encode_rows(batch, available), available, batch.valid)
            h = torch.where(shown[..., None, None], whole, 0.0)
        else:
            h = self._slots(self.encode_rows(batch, shown), shown, batch.valid)
            whole = self._as_at_test(batch, hidden)
        slots, z = net.complete(h, shown, batch.valid)
        grades = net.grade_slots(slots, steps_to_read(batch.valid))
        task, alpha, weight = (
            cast(float, self.settings[k]) for k in ("task_weight", "alpha", "reconstruction")
        )
        terms = grade_loss(grades, batch.score, task, alpha)
        if bool(hidden.any()):
            there = hidden[..., None] & batch.valid[:, None]  # (B, M, T)
            target = functional.layer_norm(whole[there], (WIDTH,))  # (N, 256)
            terms["reconstruction"] = weight * functional.mse_loss(z[there], target)
        return terms

    def _as_at_test(self, batch: Batch, rows: Tensor) -> Tensor:
        """Return the encodings (B, M, T, 256) of ``rows`` (B, M), nothing learned from them."""
        net = self._net.eval()
        with torch.no_grad():
            slots = self._slots(self.encode_rows(batch, rows), rows, batch.valid)
        net.train()
        return slots

    def projections(self) -> Mapping[str, nn.Module]:
        """Return the streams' projections."""
        return {m: self._net.in_proj[self.task.symbols[m]] for m in self.task.modalities}

    def encode(self, modality: str, features: Tensor, valid: Tensor) -> Tensor:
        """Project and encode one stream."""
        return self._net.encode(self.task.symbols[modality], features, steps_to_read(valid))

    def score(self, encoded: Mapping[str, Tensor], available: Tensor, valid: Tensor) -> Tensor:
        """Write what is missing, fuse and grade."""
        h = self._slots(encoded, available, valid)
        if self._net.switches.left_packed:
            h, available = pack_left(h, available)
        slots, _ = self._net.complete(h, available, valid)
        return self._net.grade_slots(slots, steps_to_read(valid)).score

    def _slots(self, encoded: Mapping[str, Tensor], shown: Tensor, valid: Tensor) -> Tensor:
        """Return (B, M, T, 256), each stream in its own slot and 0 where it is not shown."""
        blank = self._net.mae.mask.new_zeros(*valid.shape, WIDTH)
        slots = [
            torch.where(shown[:, k, None, None], encoded[m], 0.0) if m in encoded else blank
            for k, m in enumerate(self.task.modalities)
        ]
        return torch.stack(slots, 1)

    @property
    def _net(self) -> ActionMAENet:
        return cast(ActionMAENet, self.net)


def pack_left(h: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Move what is shown to the first slots, in its order, as the release does at test.

    Args:
        h: (B, M, T, 256).
        shown: (B, M) bool.

    Returns:
        The same, moved.
    """
    order = torch.argsort((~shown).int(), dim=1, stable=True)  # (B, M)
    moved = torch.take_along_dim(h, order[..., None, None], 1)
    return moved, torch.take_along_dim(shown, order, 1)
