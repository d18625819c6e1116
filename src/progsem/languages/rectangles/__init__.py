"""Rectangles: a program is four bounds, `[T,D,L,R]`, and is right if it tells the points inside from those outside.

The field has rows and columns from 0 to 5. A point (i, j) is inside where T <= i <= D and L <= j <= R; D and R may be
6, where they leave nothing out. An input is a list of points, and the output the same list, each said to be inside or
outside.
"""
