"""Why a result is wrong: hypotheses, each of which predicts the wrong result to the last bit.

`diagnosis` has the tables, in the order in which they are tried; each other file is one kind of mistake. To add one, see
`diagnosis.py`.
"""
