"""The divergences, one file each: the plain form that reads like its formula, and the closed form
that the chunked loss computes with.

p is the teacher, q the student, both softened by the loss temperature; every plain value is one a
position, in nats, times the square of that temperature. Nothing here masks, averages or shifts: see
`losses.plain`. Each has its float64 definition in `losses.reference`, which the tests hold both
forms to. `losses.table` says which divergences there are and finds them.
"""
