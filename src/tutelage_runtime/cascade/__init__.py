"""Students in front of the service that taught them: what is sure is answered here, the rest there.

In: requests, certificates, and where the upstream is. Out: replies of either, comparisons, and
traffic that the next student can learn from.
"""
