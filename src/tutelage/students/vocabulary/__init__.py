"""The tokens of a student: learnt from texts or cut from the teacher's, and their first
embeddings.
"""
