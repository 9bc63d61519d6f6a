"""Students cut out of their teacher: which layers, heads and channels stay, and the smaller model
made of them.
"""
