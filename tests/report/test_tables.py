from orl_jax.report.tables import RULE, markdown, plain


def test_plain_columns_are_aligned() -> None:
    rows = [["task", "n", "best"], RULE, ["counting", "9", "RL"], [""], ["duration"], ["all", "12"]]
    assert plain(rows, texts={0, 2}) == [
        "task       n  best",
        "------------------",
        "counting   9  RL",
        "",
        "duration",
        "all       12",
    ]


def test_markdown_is_aligned_and_says_which_columns_are_numbers() -> None:
    assert markdown(["task", "n"], [["counting", "9"], ["all", "1,234"]]) == [
        "| task     |     n |",
        "| :------- | ----: |",
        "| counting |     9 |",
        "| all      | 1,234 |",
    ]


def test_a_bar_in_a_cell_is_escaped_once() -> None:
    assert markdown(["a"], [["x | y"], [r"x \| y"]])[2:] == [r"| x \| y |"] * 2


def test_a_table_without_rows_is_its_head() -> None:
    assert markdown(["a", "b"], []) == ["| a  |  b |", "| :- | -: |"]
