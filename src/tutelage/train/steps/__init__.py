"""What one optimizer step is, for each kind of student: see `train.step.Step`."""
