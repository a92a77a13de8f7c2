"""Time is told by kinds of layers."""

from benchmarks.device_profile import operation_names, time_by_kind


def test_time_counts_for_the_layer_that_an_instruction_came_from():
    program = """
      %fusion.1 = f32[2]{0} fusion(%p), metadata={op_name="jit(step)/attentions_0/attn1/mul"}
      ROOT %dot.2 = f32[2]{0} dot(%p, %p), metadata={op_type="d" op_name="x/motion_modules_0/norm"}
      %copy.3 = f32[2]{0} copy(%p)
    """
    operations = [("fusion.1", 5.0), ("dot.2", 2.0), ("copy.3", 1.0), ("fusion.1", 5.0)]

    spent = time_by_kind(operations, operation_names(program))

    assert spent == {"self- and reference attention": 10.0, "motion modules": 2.0, "others": 1.0}
