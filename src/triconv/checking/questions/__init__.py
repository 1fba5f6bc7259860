"""The rows of a check, one file per kind of question.

`plain_rows` are the value and the derivatives. `training_rows` are the same, asked as in training. `sweep` and `stress` ask at
other geometries and sizes. `shrink` finds the smallest case that fails.
"""
