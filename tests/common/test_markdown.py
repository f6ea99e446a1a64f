from earlyexit.common.markdown import table


def test_words_to_the_left_and_figures_to_the_right() -> None:
    assert table(["name", "n"], [["a", "1"], ["b", "2"]]) == ["| name | n |", "|---|---:|", "| a | 1 |", "| b | 2 |"]
    assert table(["x", "y", "n"], [], labels=2) == ["| x | y | n |", "|---|---|---:|"]
