"""The verdict on one answer: `probes` are the questions that have right answers, `judge` compares, and `wrong_result` says where and
why a result is wrong.

Exact data are compared bit for bit (`judge`), wide data tell the bits that were kept (`kept_bits`), and numbers that must be
rounded are held against a bound (`rounding`).
"""
