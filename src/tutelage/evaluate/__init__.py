"""What a student is worth: quality and cost beside the teacher's, and what simple methods reach.

`classes` judges rows, `tokens` judges documents, `cost` times and weighs either. In come answers to
the same test data from every model, and callables that answer; out comes evaluation.json.
"""
