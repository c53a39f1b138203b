"""The report that people cite: models side by side on benchmarks, from files of predictions.

evaluations  what scripts/evaluate.py left, by name of the model
verdicts     what a judge has said about the answers
measures     a number per item; which measure is the headline, and why
published    the figures of the paper
cells        means, differences and tests by task type and other groups
benchmarks   one data set and split: its models, its tables
examples     items that one model has right and another wrong
pictures     bars, radar
notes        what is said below a table
report       writes all
page         benchmarks.html    markdown  benchmarks.md    summary  the first table, for all three

No jax here, and nobody is asked: it is a function of files.
"""
