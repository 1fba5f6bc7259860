"""What a check finds, as data: the questions, the answers, causes, and where a result is wrong. No sentences.

Read `protocol` first (what is asked), then `findings` (the kinds of answers) and `causes` (why a result is wrong).
"""
