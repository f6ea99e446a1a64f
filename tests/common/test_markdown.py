from earlyexit.common.markdown import bold, millions, percent, table, thousands, times


def test_words_to_the_left_and_numbers_to_the_right() -> None:
    assert table(["name", "n"], [["a", "1"], ["", "2"]]) == ["| name | n |", "|---|---:|", "| a | 1 |", "| | 2 |"]
    assert table(["x", "y", "n"], [], labels=2) == ["| x | y | n |", "|---|---|---:|"]


def test_cells() -> None:
    assert (percent(0.1234567), percent(0.5, 1), percent(None)) == ("12.35", "50.0", "-")
    assert (times(1.544), times(None)) == ("1.54x", "-")
    assert (millions(7_582_000), millions(1_491_000, 3), millions(None)) == ("7.58", "1.491", "-")
    assert (thousands(1234567), thousands(None), bold("7")) == ("1,234,567", "-", "**7**")
