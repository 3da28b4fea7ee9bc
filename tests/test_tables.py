"""The tables of the README are those that the stored figures give."""

import pytest

from experiments import tables


def test_readme_is_up_to_date():
    assert tables.main(tables.Config(check=True)) == 0


def test_every_table_needs_its_place():
    text = (tables.ROOT / "README.md").read_text()
    with pytest.raises(ValueError, match="table of speed W3.*but has 0"):
        tables.updated(text.replace("<!-- speed W3 -->", ""))


def test_what_stands_in_a_place_is_replaced():
    text = (tables.ROOT / "README.md").read_text()
    spoilt = text.replace("| eventax, 1 ms steps |", "| another |")
    assert spoilt != text
    assert tables.updated(spoilt) == text
