"""Generated pairs by fixed index ranges: candidates are drawn and judged shard by shard, then each class is settled.

A candidate depends on run seed, class and index alone, so a shard is the same whoever draws it and whenever.
Candidate shards wait in a folder of their own; the manifest gets each class's candidates in index order up to the
one that fills the class, so the result does not depend on how many were drawn beyond it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from augment.balance import UNREAD, ClassOutcome
from augment.fine_detail import FineDetail
from augment.prompts import prompt_for
from augment.sampling import PairSampler
from augment.settings import SamplingSettings
from augment.ways.drawing import WaySources, draft_of, draw_candidates, finished
from augment.ways.plan import FROM_TEXT, Origin, WayPlan
from augment.ways.shard import origins_in, pack, unpack, verdicts_in
from manifests.format.schema import ATTRIBUTES, PairRow, path_name
from manifests.format.writing import ManifestWriter
from manifests.pairs import PairArrays
from manifests.png import encode_mask, encode_png
from manifests.progress import Progress, no_progress
from manifests.storage.base import Storage

SOURCE = "evenderm"
_ROWS_PER_SHARD = 512
REPEAT = "generated_duplicate"


@dataclass(frozen=True)
class Verdict:
    """What the gates say of one candidate; reject_reason None means accepted.

    scores: by names of manifests.schema.SCORES, each in [0, 1], higher is better; reviewed_by, review: of readers.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    nearest_real_id: str | None = None
    nearest_similarity: float | None = None
    reject_reason: str | None = None
    reviewed_by: str | None = None
    review: str | None = None


Judge = Callable[[PairArrays, str, Sequence[Origin]], Sequence[Verdict]]
Readers = Callable[[str, np.ndarray], Mapping[str, str | None]]
"""What people said of a pair that passed every other gate, by its id and image (H, W, 3): `reviewed_by`, `review`,
and the `reject_reason`, None where it passes."""


class Seen(Protocol):
    """Remembers the images added so far."""

    def add(self, images: np.ndarray) -> Sequence[bool]:
        """images: uint8 (B, H, W, 3) -> whether each repeats an earlier one."""
        ...


@dataclass(frozen=True)
class ClassJob:
    """What one class's generated pairs are made from; two equal jobs make equal bytes.

    wanted: accepted pairs to reach; limit: candidates after which the class gives up; digests: of base, adapter
    and judge ("" where the gates are off); detail: share of fine detail that is taken from real pairs, and the digest
    of those ("" where none is); readers_digest: of what people said of the pairs ("" where nobody is asked); plan:
    the ways to draw; drawn: whether a program drew the real pairs.
    """

    dx: str
    label: int
    wanted: int
    limit: int
    seed: int
    shard_size: int
    sampling: SamplingSettings
    base_digest: str
    adapter_digest: str
    judge_digest: str
    licence: str
    detail: float = 0.0
    detail_digest: str = ""
    readers_digest: str = ""
    plan: WayPlan = FROM_TEXT
    drawn: bool = False

    @property
    def key(self) -> str:
        """Digest of all that a candidate depends on; how many are wanted, and who refused some, is not among it."""
        left_out = ("wanted", "limit", "sampling", "readers_digest")
        content = {name: value for name, value in asdict(self).items() if name not in left_out}
        content["sampling"] = self.sampling.model_dump(mode="json")
        if self.plan == FROM_TEXT:  # candidates from text are those that they were before there were ways
            del content["plan"]
        if not self.drawn:
            del content["drawn"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]

    @property
    def shards(self) -> int:
        """Candidate shards up to the limit."""
        return math.ceil(self.limit / self.shard_size)

    def name(self, shard: int) -> str:
        """Where a candidate shard lies in its storage."""
        return f"{self.key}/lesion={path_name(self.dx)}/part-{shard:05d}.safetensors"


def pair_seed(seed: int, dx: str, index: int) -> int:
    """The seed of one candidate, in [0, 2**63)."""
    digest = hashlib.sha256(f"{seed}/{dx}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def is_drawn(job: ClassJob, shard: int, candidates: Storage) -> bool:
    """Whether the candidates of an index range are there."""
    return candidates.size(job.name(shard)) is not None


def draw_shard(
    job: ClassJob,
    shard: int,
    sampler: PairSampler,
    judge: Judge | None,
    candidates: Storage,
    progress: Progress = no_progress,
    detail: FineDetail | None = None,
    people: Sequence[Mapping[str, str]] = (),
    sources: WaySources | None = None,
) -> None:
    """Draws and judges the candidates of one index range, unless they are there already.

    detail: where fine detail is taken from; the group of a pair is then that of the real one it was taken from.
    people: attributes of the class's real training pairs; a candidate's prompt tells those that its seed picks.
    sources: the real pairs that ways other than text begin at.
    """
    if is_drawn(job, shard, candidates):
        return
    indices = range(shard * job.shard_size, (shard + 1) * job.shard_size)
    seeds = [pair_seed(job.seed, job.dx, index) for index in indices]
    attributes = [people[seed % len(people)] for seed in seeds] if people else []
    prompts = [prompt_for(job.dx, known, job.drawn) for known in attributes or [{}] * len(seeds)]
    drafts = [draft_of(job.plan, sources, job.seed, job.dx, index) for index in indices]
    drawn = draw_candidates(sampler, drafts, prompts, seeds, job.sampling.batch, progress)
    ids = [f"{SOURCE}:{job.dx}-{job.key[:8]}-{index:07d}" for index in indices]
    images, origins, groups = finished(drawn, drafts, indices, ids, sources, detail)
    labels = np.zeros(len(ids), dtype=np.int64)
    pairs = PairArrays(ids, images, drawn.masks, labels, (job.dx,), groups, attributes)
    verdicts = judge(pairs, job.dx, origins) if judge else [Verdict()] * len(pairs)
    told = [{**asdict(verdict), "scores": dict(verdict.scores)} for verdict in verdicts]
    for fields in told:  # no reader has seen it yet
        del fields["reviewed_by"], fields["review"]
    candidates.write(job.name(shard), pack(pairs, told, origins))


class Settlement:
    """The candidates of a class with their final verdicts, in index order, up to the one that fills the class.

    It goes on from where it stood as more shards are drawn. A candidate that passed the gates and nearly repeats an
    earlier one, as `seen` tells, is rejected for that, and one that `readers` refuse for that.
    """

    def __init__(
        self, job: ClassJob, candidates: Storage, seen: Seen | None = None, readers: Readers | None = None
    ) -> None:
        self.job = job
        self._candidates, self._seen, self._readers = candidates, seen, readers
        self._verdicts: list[list[Verdict]] = []  # final ones, by shard
        self._looked_at = self._accepted = 0
        self._reasons: Counter[str] = Counter()

    def outcome(self) -> ClassOutcome:
        """How far the class is, and which shards to draw next (none if it is filled or has given up).

        The next shards follow from the acceptance rate so far, so that they can be drawn side by side.
        """
        self._advance()
        job, missing = self.job, tuple[int, ...]()
        if self._filled < job.wanted:
            rate = max(self._filled / self._looked_at, 0.1) if self._looked_at else 1.0
            more = math.ceil((job.wanted - self._filled) / rate / job.shard_size)
            span = range(len(self._verdicts), min(len(self._verdicts) + more, job.shards))
            missing = tuple(n for n in span if not is_drawn(job, n, self._candidates))
        return ClassOutcome(job.dx, job.wanted, self._looked_at, self._accepted, dict(self._reasons), missing)

    def verdicts(self) -> Iterator[tuple[PairArrays, int, Verdict, Origin]]:
        """Each settled candidate: the pairs of its shard, its place among them, what became of it, and its origin."""
        self._advance()
        for shard, verdicts in enumerate(self._verdicts):
            content = self._candidates.read(self.job.name(shard))
            pairs, origins = unpack(content, self.job.dx), origins_in(content)
            for index, verdict in enumerate(verdicts):
                yield pairs, index, verdict, origins[index]

    @property
    def _filled(self) -> int:
        """Places of the class that are taken, by accepted pairs and by those that wait for a reader."""
        return self._accepted + self._reasons[UNREAD]

    def _advance(self) -> None:
        job = self.job
        while self._filled < job.wanted and len(self._verdicts) < job.shards:
            shard = len(self._verdicts)
            if not is_drawn(job, shard, self._candidates):
                return
            content = self._candidates.read(job.name(shard))
            pairs = None if self._seen is None and self._readers is None else unpack(content, job.dx)
            described = verdicts_in(content)
            self._verdicts.append([])
            for index, fields in enumerate(described):
                if self._filled >= job.wanted or self._looked_at >= job.limit:
                    break
                self._settle(Verdict(**fields), pairs, index)

    def _settle(self, verdict: Verdict, pairs: PairArrays | None, index: int) -> None:
        if verdict.reject_reason is None and pairs is not None:
            if self._seen is not None and self._seen.add(pairs.images[index : index + 1])[0]:
                verdict = replace(verdict, reject_reason=REPEAT)
            elif self._readers is not None:
                said: Mapping[str, Any] = self._readers(pairs.pair_ids[index], pairs.images[index])
                verdict = replace(verdict, **said)
        self._verdicts[-1].append(verdict)
        self._looked_at += 1
        self._accepted += verdict.reject_reason is None
        self._reasons.update([verdict.reject_reason] if verdict.reject_reason else [])


def write_class(settlement: Settlement, writer: ManifestWriter) -> int:
    """Writes the settled candidates of a class, rejected ones among them, as manifest shards; returns their number."""
    job = settlement.job
    rows: list[PairRow] = []
    shards = 0
    for pairs, index, verdict, origin in settlement.verdicts():
        rows.append(_row(job, pairs, index, verdict, origin))
        if len(rows) == _ROWS_PER_SHARD:
            writer.write_shard(job.dx, shards, rows)
            rows, shards = [], shards + 1
    if rows:
        writer.write_shard(job.dx, shards, rows)
        shards += 1
    return shards


def _row(job: ClassJob, pairs: PairArrays, index: int, verdict: Verdict, origin: Origin) -> PairRow:
    pair_id = pairs.pair_ids[index]
    number = int(pair_id.rsplit("-", 1)[1])
    attributes = pairs.attributes_of(index)
    return PairRow(
        pair_id=pair_id,
        image_png=encode_png(pairs.images[index]),
        mask_png=encode_mask(pairs.masks[index]),
        dx=job.dx,
        split="train",
        group_id=pairs.group_ids[index],
        source=SOURCE,
        licence=job.licence,
        **dict[str, Any]((name, attributes.get(name)) for name in ATTRIBUTES),
        prompt=prompt_for(job.dx, attributes, job.drawn),
        seed=pair_seed(job.seed, job.dx, number),
        guidance=job.sampling.guidance,
        steps=job.sampling.steps,
        sampler=job.sampling.sampler,
        base_digest=job.base_digest,
        adapter_digest=job.adapter_digest,
        scores=verdict.scores,
        nearest_real_id=verdict.nearest_real_id,
        nearest_similarity=verdict.nearest_similarity,
        accepted=verdict.reject_reason is None,
        reject_reason=verdict.reject_reason,
        reviewed_by=verdict.reviewed_by,
        review=verdict.review,
        **asdict(origin),
    )
