"""Settings of the manifests package: what prepare is asked to do with a source."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    """A settings model: unknown names are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TableColumns(Frozen):
    """Column names of a CSV or Parquet table; where none is given, the usual ones are tried."""

    image: str | None = None
    mask: str | None = None
    dx: str | None = Field(None, description="the class")
    group: str | None = Field(None, description="lesion or patient, the only one then: its pictures stay in one split")
    split: str | None = None
    id: str | None = None
    age_group: str | None = None
    sex: str | None = None
    site: str | None = None
    skin_tone: str | None = None


class MaskSettings(Frozen):
    """What becomes of rows without a mask, where prepare.task insists on nothing."""

    find: bool = Field(True, description="a segmenter finds the masks that are missing; false leaves them missing")
    own: int = Field(
        200, ge=20, description="masked training pairs from which on the segmenter is trained on them, not shipped"
    )
    several: Literal["auto", "union", "majority", "first"] = Field(
        "auto",
        description="of several masks of one picture: auto joins those that lie apart and puts those that agree to the "
        "vote",
    )
    least_dice: float = Field(0.7, gt=0, lt=1, description="agreement with a given mask below which a found one fails")
    doubtful: float = Field(
        0.05, gt=0, lt=1, description="share of found masks that may fail; those of less confidence teach no adapter"
    )


class PrepareSettings(Frozen):
    """How a source becomes a real manifest."""

    source: str = Field("auto", description="source layout by name, or auto to recognise it")
    task: Literal["auto", "pairs", "classification", "segmentation"] = Field(
        "auto", description="what a row must have: class and mask, class only, or mask only"
    )
    columns: TableColumns = TableColumns()
    masks: MaskSettings = MaskSettings()
    classes: tuple[str, ...] | dict[str, str | None] = Field(
        (),
        description="the classes to expect, any other is an error; or a mapping that renames and merges classes, and "
        "leaves out those mapped to null; empty: all as they are",
    )
    licence: str | None = Field(None, description="licence of the data, where the source does not state it")
    size: int = Field(128, ge=32, le=2048, description="side of the stored square pairs, in pixels")
    split: Literal["official", "grouped", "folds"] = Field(
        "official", description="grouped and folds ignore official splits; official needs them, else it is grouped"
    )
    keep_splits_of: str | None = Field(
        None, description="an earlier manifest of these data: its pairs stay in their splits, as new ones come in"
    )
    folds: int = Field(5, ge=3, le=50, description="for split=folds: how many")
    fold: int = Field(0, ge=0, description="for split=folds: which one is the test split; the next is validation")
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="0 holds none out, to train a base and no more")
    test_fraction: float = Field(0.2, ge=0, lt=1, description="0 holds none out, to train a base and no more")
    min_pairs: int = Field(8, ge=1, description="a class with fewer training pairs is named in the summary")
    duplicates: bool = Field(True, description="search near-duplicates and keep each cluster in one split")
    max_pixels: int = Field(50_000_000, ge=1024, description="a larger picture is set aside undecoded")
    follow_links: bool = Field(False, description="accept symbolic links that lead out of the dataset's folder")
    workers: int = Field(2, ge=1, le=64, description="threads that decode and check")
    seed: int = 0
    strict: bool = Field(False, description="any rejected row, missing mask or leak is an error")

    @property
    def finds_masks(self) -> bool:
        """Whether missing masks are found, if somebody is there to find them."""
        return self.masks.find and self.task == "auto"
