"""Students that classify: recurrent networks and encoders, fresh or with weights, and the fast way
to ask them.
"""
