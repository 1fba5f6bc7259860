"""The verdict on one answer: `probes` are the questions that have right answers, and `judge` compares.

Exact data are compared bit for bit (`judge`), wide data tell the bits that were kept (`kept_bits`), and numbers that must be
rounded are held against a bound (`rounding`). Of a wrong result, `wrong_result` says where it is wrong and why.
"""
