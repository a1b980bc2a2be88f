"""Published behaviours of MCMoE that change numbers, each with a name.

The numbers Q1 to Q18 are those by which the module's comments and tests call them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from aqabench.errors import UsageError


@dataclass(frozen=True)
class Switches:
    """Published behaviours that change numbers; by default all are corrected but Q8's scale.

    Attributes:
        batch_positions: Q1, the positional code of the grade queries is indexed by the sample's
            place in the batch.
        query_positions: the correction of Q1, the code is indexed by the query.  With both off,
            every sample gets the code of place 0: the published network, each sample alone.
        constant_generator: Q2 and Q3, the generator starts from zeros, so that its output is one
            vector for all time steps; off, from a learned token plus a time code.
        zero_sum_absence: Q4, a stream whose encodings in a batch sum to exactly zero is taken for
            absent.  Rounding decides that for fresh weights, so it is off in the published form
            as well; where nothing would be left (the official code ends there) nothing is dropped.
        complete_never_shown: Q5, training never shows all modalities.
        one_mask_per_batch: Q6, all samples of a training batch hide the same modalities; needs
            complete training data.
        attached_teachers: Q7, the targets of reconstruction and alignment carry gradient; off,
            they are what the network would compute at test (running statistics, no dropout).
        elementwise_kl: Q8, alignment is averaged over channels as well, said outright; off, it is
            summed over channels and averaged over samples and steps, and so 256 times as strong.
            What the paper meant is not known, so the published strength is the default.
        teacher_statistics: Q15, the teacher's pass through the experts moves their running
            statistics, and does so last.
        padding_is_data: Q16, padded steps are projected, attended to and averaged.
        summed_reconstruction: Q18, hidden modalities are summed, so that two count twice as
            much as one; off, the mean over all hidden streams.
    """

    batch_positions: bool = False
    query_positions: bool = True
    constant_generator: bool = False
    zero_sum_absence: bool = False
    complete_never_shown: bool = False
    one_mask_per_batch: bool = False
    attached_teachers: bool = False
    elementwise_kl: bool = True
    teacher_statistics: bool = False
    padding_is_data: bool = False
    summed_reconstruction: bool = False

    @classmethod
    def published(cls, **overrides: bool) -> Switches:
        """Return the switches of the official code but Q4, apart from ``overrides``."""
        known = [f.name for f in fields(cls)]
        for name in overrides:
            if name not in known:
                raise UsageError(
                    f"MCMoE has no switch '{name}'. It has: {', '.join(known)}. See: "
                    "aqabench show mcmoe"
                )
        off = ("query_positions", "zero_sum_absence")
        everything = cls(**{name: name not in off for name in known})
        return replace(everything, **overrides)

    def __post_init__(self) -> None:
        """Refuse two positional codes at once."""
        if self.batch_positions and self.query_positions:
            raise UsageError(
                "MCMoE's grade queries take one positional code. Got batch_positions and "
                "query_positions both on; set one of them to False."
            )
