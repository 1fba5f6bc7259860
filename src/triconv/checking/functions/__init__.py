"""The derivatives of any function against its own values, or against those of another: no convolution, no operator.

`directional` finds a derivative along a direction from values alone, and `function_check` asks and judges.
"""
