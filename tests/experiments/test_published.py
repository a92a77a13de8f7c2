from aa_jax.experiments import published


def test_tables_hold_the_paper_s_rows():
    paper = published.load()
    assert [table.number for table in paper.tables] == [1, 2, 3, 4, 5, 6]
    fashion, dances, talks = paper.tables[:3]
    assert fashion.rows["Animate Anyone"] == {
        "ssim": 0.931, "psnr": 38.49, "lpips": 0.044, "fvd": 81.6,
    }  # fmt: skip
    assert dances.rows["SD-I2V"]["fvd"] == 225.5
    assert talks.rows["TPSMM"]["lpips"] == 0.157
    assert fashion.rows["MRAA"]["psnr"] is None  # a dash


def test_the_paper_s_own_row_is_the_same_in_all_tables_of_a_dataset():
    for table in published.load().of("ubc_fashion"):
        assert table.rows["Animate Anyone"]["fvd"] == 81.6


def test_all_rows_of_a_table_have_the_same_metrics():
    paper = published.load()
    for table in paper.tables:
        (keys,) = {tuple(row) for row in table.rows.values()}
        assert set(keys) <= set(paper.columns)
