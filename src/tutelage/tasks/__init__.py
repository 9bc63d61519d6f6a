"""What differs between tasks, behind one Protocol: `task.py` says what a task does, each folder
does it.
"""
