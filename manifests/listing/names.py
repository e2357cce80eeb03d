"""Names that publishers use: columns of tables, folders that are no classes, splits, and cells that tell nothing."""

from __future__ import annotations

import re
import unicodedata

NOT_TOLD = {
    "", "unknown", "unk", "nan", "none", "na", "n/a", "null", "-", "--", "?", ".", "#n/a", "nil", "not available",
    "unspecified", "missing", "<na>", "undefined", "unbekannt",
}  # fmt: skip
"""What a cell says, in lower case, that tells nothing."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "image": (
        "image", "image_path", "file", "file_path", "filepath", "filename", "file_name", "path", "img", "img_path",
        "image_file", "image_filename", "image_file_name", "img_file", "img_name", "img_id", "isic_id", "image_name",
        "image_id", "imageid", "ddi_file", "bcn_filename", "midas_file_name", "derm", "md5hash", "picture", "photo",
        "bild", "name", "id", "filenames", "images", "image_names", "file_names", "jpg", "png", "isic_image_id",
        "url_alphanum",
    ),
    "mask": (
        "mask", "mask_path", "mask_file", "mask_filename", "mask_file_name", "mask_name", "mask_id", "masks",
        "segmentation", "segmentation_path", "segmentation_file", "segmentation_filename", "segmentation_mask", "seg",
        "seg_path", "seg_file", "seg_filename", "lesion_mask", "annotation_path", "ground_truth", "groundtruth", "gt",
        "maske",
    ),
    "dx": (
        "dx", "class", "label", "diagnosis", "diagnostic", "class_name", "classname", "label_name", "lesion_type",
        "cell_type", "dx_name", "disease", "disease_name", "condition", "category", "finding", "diagnose", "klasse",
        "diagnosis_full", "clinical_diagnosis", "pathology", "histopathology", "ground_truth_label", "lesion_class",
        "labels", "target_name", "nine_partition_label", "three_partition_label", "iddx", "benign_malignant",
        "malignant", "is_malignant", "target", "malignancy", "melanoma", "is_melanoma", "y", "class_id", "label_id",
    ),
    "patient": ("patient_id", "patient", "patientid", "patient_number", "subject", "subject_id", "person_id", "pid"),
    "lesion": (
        "group", "group_id", "lesion_id", "lesion", "lesionid", "lesion_number", "lesion_group", "case_id", "case",
        "case_num", "caseid", "midas_record_id",
    ),
    "split": ("split", "set", "subset", "partition", "fold_name", "phase", "dataset_split"),
    "id": ("id", "pair_id", "image_id"),
    "age_group": ("age_group", "age", "age_approx", "age_approximate", "age_years", "patient_age", "alter"),
    "sex": ("sex", "gender", "patient_sex", "geschlecht"),
    "site": (
        "site", "localization", "localisation", "anatom_site_general", "anatom_site_general_challenge", "anatom_site",
        "anatom_site_special", "anatomical_site", "body_site", "location", "region", "lokalisation", "body_part",
    ),
    "skin_tone": (
        "skin_tone", "fitzpatrick", "fitspatrick", "fitzpatrick_scale", "fitzpatrick_skin_type", "skin_type",
        "skin_tone_class", "phototype",
    ),
    "licence": ("copyright_license", "copyright_licence", "licence", "license"),
    "attribution": ("attribution", "credit"),
}  # fmt: skip
"""By what a column tells, its names in the order of trust; written as `plain` writes them."""

DEPTHS = ("diagnosis", "iddx")
"""Diagnoses in depths, as in diagnosis_1 to diagnosis_5: the deepest that is told of nearly all rows is the class."""
TWO_SIDED = {"benign_malignant", "malignant", "is_malignant", "target", "malignancy"}
SIDES = {"0": "benign", "0.0": "benign", "false": "benign", "1": "malignant", "1.0": "malignant", "true": "malignant"}

CODES = {
    "mel", "nv", "bcc", "ak", "akiec", "bkl", "df", "vasc", "scc", "sccka", "unk", "nev", "sek", "ack", "inf",
    "ben_oth", "mal_oth", "melanoma", "nevus", "naevus", "seborrheic_keratosis", "basal_cell_carcinoma", "benign",
    "malignant", "common_nevus", "atypical_nevus", "actinic_keratosis", "dermatofibroma", "squamous_cell_carcinoma",
}  # fmt: skip
"""Names of columns of 0 and 1 that stand for a class."""

SPLIT_NAMES = {
    **dict.fromkeys(
        ("train", "training", "tr", "trn", "trainset", "training set", "train_set", "development"), "train"
    ),
    **dict.fromkeys(("val", "valid", "validation", "dev", "valset", "validation set", "val_set"), "validation"),
    **dict.fromkeys(("test", "testing", "ts", "tst", "testset", "test set", "test_set", "holdout"), "test"),
}
_SPLIT_WORD = re.compile(
    r"(?:^|(?<=[^a-z]))(train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?:set|x|y)?(?=[^a-z]|$)", re.IGNORECASE
)
_NNUNET = re.compile(r"^(?:images|labels)(tr|ts)$", re.IGNORECASE)

_MASKS = re.compile(
    r"mask|segment|ground_?-?truth|(^|[_\W])gt([_\W]|$)|^labels?(tr|ts)?$|annotation|tschandl|^(train|val|test)_?y$|"
    r"contour",
    re.IGNORECASE,
)
_DISEASE = re.compile(
    r"melanom|na?ev(us|i)|keratos|carcinom|benign|malign|angiom|fibrom|lentig|dermatitis|vascular|psoria|acne|eczem|"
    r"moles?(?![a-z])|cancer|\b(mel|bcc|scc|bkl|akiec)\b",
    re.IGNORECASE,
)
_CONTAINERS = re.compile(
    r"^(images?|imgs?|pictures?|photos?|bilder|jpe?gs?|jpegimages|png|data|datasets?|input|output|raw|files?|all|"
    r"original|originals|resized|cropped|archive|download|folder|new folder.*|part|kaggle|dermoscopic?|clinical|"
    r"labelled|labeled|labels?|lesion_images|.*[_ -](input|data|dataset|images?|imgs?|jpe?gs?|png)|"
    r".*(images?|imgs?|img)[_ -]?(part)?[_ -]?\d*|(train|val|valid|test)[_-]?(image|x)s?|images?(tr|ts)|\d+x\d+)$",
    re.IGNORECASE,
)
MASK_ENDINGS = (
    "_segmentation", "-segmentation", "_segmented", "_mask", "-mask", " mask", "_lesion", "_seg", "_gt",
    "_groundtruth", "_annotation", "_contour", "_label",
)  # fmt: skip
"""What a mask's name has beyond its picture's, in lower case."""
NUMBER_OF_SEVERAL = re.compile(r"[_\- .](?:(?:annotator|expert|reader|rater|observer|part|obj|object)[_\- ]?)?\d{1,2}$")
"""What a mask's name ends with where a picture has several, as in a_segmentation_1 or a_reader2; in lower case."""
READERS = re.compile(r"annotator|expert|reader|rater|observer", re.IGNORECASE)
"""What folders are named after that hold the masks of one reader each."""


def plain(name: str) -> str:
    """A column's name without regard to letter case, blanks and dashes."""
    return re.sub(r"[\W_]+", "_", unicodedata.normalize("NFC", name).casefold()).strip("_")


def key(name: str) -> str:
    """A name as it is compared: letter case and the two spellings of accents do not count."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def tells_nothing(cell: str) -> bool:
    """Whether a cell stands for "not known"."""
    return cell.strip().casefold() in NOT_TOLD


def split_of(name: str) -> str | None:
    """The split that a folder or table is named after, as in train, imagesTs or ISIC_2019_Test_Input."""
    lower = name.strip().lower()
    if lower in SPLIT_NAMES:
        return SPLIT_NAMES[lower]
    if found := _NNUNET.match(lower):
        return SPLIT_NAMES[found[1]]
    words = {
        SPLIT_NAMES["val" if word.lower().startswith("val") else word.lower()] for word in _SPLIT_WORD.findall(name)
    }
    return words.pop() if len(words) == 1 else None


def names_masks(folder: str) -> bool:
    """Whether a folder is named after the masks that it holds."""
    return _MASKS.search(folder) is not None


def names_no_class(folder: str) -> bool:
    """Whether a folder's name is one of containers, splits and masks, and so tells of no class."""
    return bool(_CONTAINERS.match(folder)) or names_masks(folder) or split_of(folder) is not None


def names_disease(folder: str) -> bool:
    """Whether a folder's name is that of a class that skin lesions have."""
    return plain(folder) in CODES or _DISEASE.search(folder) is not None


def names_images(folder: str) -> bool:
    """Whether a folder is named as one that holds pictures."""
    return _CONTAINERS.match(folder) is not None and not names_masks(folder)
