"""Sentences, tables and pages of what was found: the only room that writes for readers.

`report_data` is the content, `wording` makes the sentences, and `text_report`, `html_report` and `json_report` draw them.
"""
