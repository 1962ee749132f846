"""A second evaluator of decisions, written from docs/spec alone.

It shares no code and no design with the evaluator in Go. Both must give equal answers to the
vectors in docs/spec/vectors and to random cases.
"""
