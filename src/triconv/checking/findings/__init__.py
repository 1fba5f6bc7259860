"""What a check finds, as data: the questions, the answers, causes, and where a result is wrong. No sentences.

Read `protocol` first (what is asked), then `findings` (the kinds of answers), `causes` (names of mistakes) and
`diagnosis_data` (why and where a result is wrong, with numbers).
"""
