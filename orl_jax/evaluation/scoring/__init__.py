"""Scoring of predictions that are in a file: functions of texts, without jax.

predictions  reads the file              text_match  against accepted answers
video_mme    letters of multiple choice  submission  Video-MME's own form
official     every benchmark's own form  records     what these are made of
verdict      what of a judge's reply counts
judging      asks a served model about every item, and nothing twice
qa_judge     right or wrong, by a judge  generation  five dimensions, by a judge
cells        means with intervals        paired      two files, item by item
protocols    all of it by name           table       what the terminal shows
"""
