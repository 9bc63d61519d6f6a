"""Steps of a classifier student: rows, their order, word dropout, the cost of a batch."""
