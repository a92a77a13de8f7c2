from aa_jax.training.collectives import Collective, arrays_of, collectives_of

HLO = """
%body (x: f32[4]) -> f32[4] {
  %g = bf16[8,2]{1,0} all-gather(%p), dimensions={0}
  %inner = (s32[]) while(%t), condition=%c2, body=%inner_body, backend_config={"known_trip_count":{"n":"3"}}
}

%inner_body (x: f32[4]) -> f32[4] {
  %a = f32[2,2]{1,0} all-to-all(%p), dimensions={0}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %r = (f32[], f32[5]{0}, /*index=2*/f32[4]{0}) all-reduce(%a, %b, %c), to_apply=%add
  %w = (s32[]) while(%t), condition=%c, body=%body, backend_config={"known_trip_count":{"n":"4"}}
  %d = f32[9]{0} all-reduce-done(%s)
}
"""  # noqa: E501


def test_collectives_in_loops_count_per_trip():
    assert collectives_of(HLO) == (
        Collective("all-gather", 4, 4 * 16 * 2),
        Collective("all-reduce", 1, (1 + 5 + 4) * 4),
        Collective("all-to-all", 12, 12 * 4 * 4),
    )


def test_the_results_of_one_operation_are_told_apart():
    assert arrays_of(HLO) == [("all-gather", [16]), ("all-to-all", [4]), ("all-reduce", [1, 5, 4])]
