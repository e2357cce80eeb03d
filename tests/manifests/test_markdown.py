"""Markdown tables that every renderer draws alike."""

from __future__ import annotations

from manifests.markdown import markdown_table


def test_figures_stand_to_the_right_and_every_row_on_a_line_of_its_own() -> None:
    table = markdown_table(("class", "pairs"), [("mel", "12"), ("", "3")], numeric=(1,))
    assert table == "| class | pairs |\n| --- | ---: |\n| mel | 12 |\n|  | 3 |"


def test_a_table_without_rows_keeps_its_headings() -> None:
    assert markdown_table(("class", "pairs"), []) == "| class | pairs |\n| --- | --- |"
