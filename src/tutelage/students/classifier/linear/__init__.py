"""The linear student: n-grams of words and characters, and one weight of each for every class."""
