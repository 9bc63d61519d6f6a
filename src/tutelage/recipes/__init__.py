"""Whole jobs: each recipe module reads top to bottom as examples, teacher, targets, students,
evaluation, report.
"""
